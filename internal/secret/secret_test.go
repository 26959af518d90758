package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/secret"
)

func TestASecretNeverPrints(t *testing.T) {
	t.Parallel()
	type holder struct{ Password secret.String }
	h := holder{Password: "canary-7f3a"}
	var buf bytes.Buffer
	log := slog.New(slog.NewTextHandler(&buf, nil))
	log.Info("dump", "secret", h.Password, "struct", h)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&buf, verb, h)
		fmt.Fprintf(&buf, verb, h.Password)
	}
	fmt.Fprintln(&buf, h.Password, fmt.Errorf("connect with %v", h.Password))
	if err := json.NewEncoder(&buf).Encode(h); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"canary-7f3a", fmt.Sprintf("%x", "canary-7f3a")} {
		if strings.Contains(buf.String(), form) {
			t.Errorf("the secret was printed as %q in:\n%s", form, buf.String())
		}
	}
	if got := h.Password.Reveal(); got != "canary-7f3a" {
		t.Errorf("Reveal() = %q", got)
	}
}
