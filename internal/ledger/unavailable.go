package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
)

// call runs do with the call's own deadline and classifies its error. It repeats do after a
// serialization failure or a deadlock, so do must be safe to repeat.
func (l *Ledger) call(ctx context.Context, what string, do func(context.Context) error) error {
	const tries = 5 // a deadlock's victim has its locks released before the next try
	bounded, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	for try := 1; ; try++ {
		err := do(bounded)
		if !again(err) || try == tries || !pause(bounded, try) {
			err = classify(ctx, what, err)
			if errors.Is(err, export.ErrLedgerUnavailable) {
				now := time.Now()
				l.outage.Store(&now)
			}
			return err
		}
	}
}

// afterOutage reports whether the database was unavailable shortly before. After an outage an
// expired lease does not prove that its owner is gone. Owners renew every third of a lease;
// they get half a lease to do so before another request of their project may run.
func (l *Ledger) afterOutage() bool {
	seen := l.outage.Load()
	return seen != nil && time.Since(*seen) < l.lease/2
}

// pause waits a few jittered milliseconds, more with each try. It returns false if ctx ended.
func pause(ctx context.Context, try int) bool {
	t := time.NewTimer(rand.N(time.Duration(try) * 10 * time.Millisecond)) //nolint:gosec // jitter, not a secret
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func again(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "40001" || pg.Code == "40P01")
}

// classify wraps err with the failed operation, and with export.ErrLedgerUnavailable if the
// database is unreachable or refuses all sessions. The end of the caller's own context is not an
// outage.
func classify(ctx context.Context, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w: %w", what, context.Cause(ctx), err)
	case errors.Is(err, errReadOnly) || controlplane.Unavailable(err):
		return fmt.Errorf("%s: %w: %w", what, export.ErrLedgerUnavailable, err)
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}
