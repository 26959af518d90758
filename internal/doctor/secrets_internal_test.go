package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/config"
)

func TestTheWordPgcourierIsNotMasked(t *testing.T) {
	t.Parallel()
	got := secrets(config.Config{DatabaseURL: "postgres://u:pgcourier@h/d", NATSURL: "nats://u:canary@h"}, "pgcourier", "canary2")
	if slices.Contains(got, "pgcourier") || !slices.Contains(got, "canary") || !slices.Contains(got, "canary2") {
		t.Errorf("masked are %q", got)
	}
	file := filepath.Join(t.TempDir(), "pgcourier.txt")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	found := Examine(t.Context(), Config{Settings: config.Config{DatabaseURL: "postgres://u:pgcourier@127.0.0.1:1/d", SecretFiles: []string{file}}, Only: []string{"keys"}})
	if !slices.ContainsFunc(found, func(f Finding) bool { return strings.Contains(f.Found, file) }) {
		t.Errorf("no finding names %s: %+v", file, found)
	}
}
