package main

import (
	"context"
	"fmt"

	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/term"
)

// absent is the error for an export that no destination has. With DATABASE_URL it says when
// and why it was deleted; a ledger that cannot be asked is no fault of its own here.
func (l *exports) absent(ctx context.Context, id string, missing error) error {
	if l.config.DatabaseURL == "" {
		return missing
	}
	var found []string
	err := service.WithLedger(ctx, l.config, func(ctx context.Context, led *ledger.Ledger, _ *project.Projects) error {
		gone, err := led.Gone(ctx, id)
		for _, g := range gone {
			why := "by hand"
			if g.Reason != "" {
				why = "by retention: " + g.Reason
			}
			found = append(found, fmt.Sprintf("%s was deleted at %s, %s", g.ID, term.Time(&g.RemovedAt), term.Sanitize(why)))
		}
		return err
	})
	if err != nil || len(found) == 0 {
		return missing
	}
	return exitf(exitNotFound, "no export %q is stored: %s", id, found[0])
}
