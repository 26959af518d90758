package doctor

import (
	"slices"
	"testing"

	"github.com/pgcourier/pgcourier/internal/config"
)

func TestTheWordPgcourierIsNotMasked(t *testing.T) {
	t.Parallel()
	got := secrets(config.Config{DatabaseURL: "postgres://u:pgcourier@h/d", NATSURL: "nats://u:canary@h"})
	if slices.Contains(got, "pgcourier") || !slices.Contains(got, "canary") {
		t.Errorf("masked are %q", got)
	}
}
