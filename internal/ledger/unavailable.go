package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/export"
)

// call runs do under the call's own deadline, again while the database asks for it
// (serialization failure, deadlock), and gives its error a class. do must be safe to
// repeat.
func (l *Ledger) call(ctx context.Context, what string, do func(context.Context) error) error {
	const tries = 5 // a deadlock's victim has its locks released before the next try
	bounded, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	for try := 1; ; try++ {
		err := do(bounded)
		if !again(err) || try == tries || !pause(bounded, try) {
			return classify(ctx, what, err)
		}
	}
}

// pause waits a few jittered milliseconds, more with each try; false: ctx ended.
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

// classify wraps err with what was attempted and, when the database could not be
// reached or could not serve anybody, with export.ErrLedgerUnavailable. The end of the
// caller's own context is neither.
func classify(ctx context.Context, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w: %w", what, context.Cause(ctx), err)
	case unavailable(err):
		return fmt.Errorf("%s: %w: %w", what, export.ErrLedgerUnavailable, err)
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// unavailable reports whether err says that the database cannot be used by anybody now,
// as opposed to: it refused this call.
func unavailable(err error) bool {
	if errors.Is(err, errReadOnly) {
		return true
	}
	// While connecting even a refused password is an outage: a worker that runs has
	// connected before.
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return unavailableState(pg.Code)
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || // the call's own deadline
		errors.Is(err, pgconn.ErrConnClosed) || pgconn.Timeout(err) || pgconn.SafeToRetry(err)
}

// unavailableState picks the SQLSTATEs of a server that is going, coming, full or not
// the primary any more (PostgreSQL documentation, appendix A).
func unavailableState(code string) bool {
	switch code {
	case "57P01", "57P02", "57P03", "57P05", // shut down, crash, starting, idle session ended
		"57014",          // cancelled: by an administrator or a statement_timeout
		"25006",          // read-only: a failover left us on a standby
		"25P03",          // idle in transaction for too long
		"40001", "40P01", // still, after all the tries
		"40003": // nobody knows whether the statement completed
		return true
	}
	return strings.HasPrefix(code, "08") || // connection
		strings.HasPrefix(code, "53") || // out of connections, disk, memory
		strings.HasPrefix(code, "58") // the server's own I/O
}
