package pgdump

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
)

// refusedOptions is PgBouncer's SQLSTATE for a refused startup parameter options.
const refusedOptions = "08P01"

// poolerWait bounds the wait for a second connection of a pooler.
const poolerWait = 5 * time.Second

// backend returns the process id of the session's backend, and whether it has the session's options.
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

// meetPooler detects a pooler in front of the source: a pooler invents the process id that a client
// gets for cancels. In session mode a session keeps its backend, and meetPooler sets the settings of
// options now. In the other modes it does not keep it: pg_dump's settings could be lost or reach other
// clients, and the dump could be wrong without an error. So these modes are refused.
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
	for range 3 { // another client may use the backend in between
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
		return s.script(ctx, "SET search_path = ''", "SET enable_mergejoin = off")
	}
	return nil
}

// noSecond returns the fault for a second connection that could not be opened.
func noSecond(ctx context.Context, err error) error {
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return newFault(codes.SourceUnavailable, "the pooler in front of the source has no second connection, which pg_dump needs", err)
	}
	return fmt.Errorf("the source: %w", err)
}

// poolerWarning is the warning of a dump through a pooler that does not pass on settings.
const poolerWarning = "the source is reached through a pooler, which does not pass on pg_dump's settings: " +
	"with some thousand tenants a dump takes minutes, and the server is slow to notice a lost client"
