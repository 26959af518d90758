package pgdump

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
)

// refusedOptions is the SQLSTATE with which PgBouncer refuses the startup parameter options.
const refusedOptions = "08P01"

// poolerWait bounds the wait for a second connection of a pooler.
const poolerWait = 5 * time.Second

// backend asks for the server's process behind a session, and whether it has our options.
func (s *session) backend(ctx context.Context) (pid uint32, options bool, err error) {
	results, err := s.conn.PgConn().Exec(ctx, `
SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('enable_mergejoin')`).ReadAll()
	if err != nil {
		return 0, false, fmt.Errorf("set up the session: %w", err)
	}
	row := results[0].Rows[0]
	_, err = fmt.Sscan(string(row[0]), &pid)
	return pid, string(row[1]) == "off", err
}

// meetPooler finds out whether a pooler is in front of the source: it makes up the number of the
// process that a client may cancel. In session mode a session keeps its server's process; what
// options would have set is set now. In the other modes it does not: the settings that pg_dump
// makes before its transaction would be others' and its own would be lost, so that a dump could
// be wrong without a word.
func (s *session) meetPooler(ctx context.Context, src *source, params map[string]string) error {
	pid, options, err := s.backend(ctx)
	if err != nil || pid == s.conn.PgConn().PID() && options {
		return err
	}
	s.pooled, s.bare = true, !options
	wait, cancel := context.WithTimeout(ctx, poolerWait)
	defer cancel()
	other, err := src.Connect(wait, params)
	if err != nil {
		return noSecond(ctx, err)
	}
	second := &session{Session: other, conn: other.Conn}
	defer second.close()
	for range 3 { // another client may come between
		first, _, err := s.backend(wait)
		if err != nil {
			return noSecond(ctx, err)
		}
		next, _, err := second.backend(wait)
		if err != nil {
			return noSecond(ctx, err)
		}
		if first == next {
			return newFault(codes.SourcePooled, "a pooler in transaction or statement mode is in front of the source: name the server itself, or a pool in session mode", nil)
		}
	}
	if s.bare {
		return s.script(ctx, "SET enable_mergejoin = off")
	}
	return nil
}

// noSecond is why a second connection could not be had.
func noSecond(ctx context.Context, err error) error {
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return newFault(codes.SourceUnavailable, "the pooler in front of the source has no second connection, which pg_dump needs", err)
	}
	return fmt.Errorf("the source: %w", err)
}

// poolerWarning is said of a dump through a pooler that hands no settings on.
const poolerWarning = "the source is reached through a pooler, which gives pg_dump no settings: " +
	"with some thousand tenants it takes minutes, and the server is slow to notice that it is gone"
