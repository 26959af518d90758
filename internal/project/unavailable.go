package project

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/export"
)

// classify marks an outage of the control plane, so that the caller waits instead of
// failing the request. The end of the caller's own context is none.
func classify(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	case unavailable(err):
		return fmt.Errorf("%w: %w", export.ErrLedgerUnavailable, err)
	default:
		return err
	}
}

func unavailable(err error) bool {
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
		errors.Is(err, context.DeadlineExceeded) || // the lookup's own deadline
		errors.Is(err, pgconn.ErrConnClosed) || pgconn.Timeout(err) || pgconn.SafeToRetry(err)
}

// unavailableState picks the SQLSTATEs that pass by themselves (PostgreSQL
// documentation, appendix A).
func unavailableState(code string) bool {
	switch code {
	case "57P01", "57P02", "57P03", "57P05", "57014", // going, coming, cancelled
		"55P03", "40001", "40P01": // behind somebody's lock or write
		return true
	}
	return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "53") || strings.HasPrefix(code, "58")
}

// stale reports whether a cached statement no longer fits because a table was altered or
// the session behind it changed. pgx has forgotten the statement by then.
func stale(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "0A000" || pg.Code == "26000")
}
