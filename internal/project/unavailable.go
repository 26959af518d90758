package project

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
)

// classify marks an outage of the control plane, so that the caller waits instead of
// failing the request. The end of the caller's own context is none.
func classify(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	case controlplane.Unavailable(err):
		return fmt.Errorf("%w: %w", export.ErrLedgerUnavailable, err)
	default:
		return err
	}
}

// stale reports whether a cached statement or description no longer fits because a table was
// altered or the session behind it changed. pgx has forgotten it by then.
func stale(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "0A000" || pg.Code == "26000" || pg.Code == "08P01")
}
