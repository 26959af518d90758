package term_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/term"
)

func TestAsk(t *testing.T) {
	t.Parallel()
	var answers []string
	q := term.Question{Text: "which? ", Answer: func(s string) { answers = append(answers, s) }}
	var out strings.Builder
	if err := term.Ask(strings.NewReader(" a b \r\n\nnot read"), &out, []term.Question{q, q}); err != nil {
		t.Error(err)
	}
	if strings.Join(answers, "|") != "a b|" || out.String() != "which? which? " {
		t.Errorf("answers %q to %q", answers, out.String())
	}
	if err := term.Ask(strings.NewReader("one\n"), &out, []term.Question{q, q}); !errors.Is(err, term.ErrNoAnswer) {
		t.Errorf("an input that ends too early: %v", err)
	}
}
