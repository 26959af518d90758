package term_test

import (
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/term"
)

func TestWarningsAreCutOnATerminalOnly(t *testing.T) {
	t.Parallel()
	warnings := []string{strings.Repeat("é", 400)}
	for range 20 {
		warnings = append(warnings, "short")
	}
	if got := (term.Screen{}).Warnings(warnings); len(got) != 21 || got[0][1] != warnings[0] {
		t.Errorf("not on a terminal: %d lines, the first is %q", len(got), got[0][1])
	}
	got := (term.Screen{Width: 80}).Warnings(warnings)
	if len(got) != 11 || got[0][1] != strings.Repeat("é", 300)+"… (cut: --output json shows all)" || got[10][1] != "and 11 more: --output json shows all" {
		t.Errorf("on a terminal: %q", got)
	}
}
