package pgdump

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// source is where a dump comes from.
type source struct {
	*libpq.Source
	// prompt says that what pg_dump writes is read at once, whatever the storage does.
	prompt bool
}

func newSource(dsn export.Secret) (*source, error) {
	s, err := libpq.Parse(dsn)
	if err != nil {
		return nil, err
	}
	return &source{Source: s}, nil
}

// options are the server settings of every session on the source. From about 2,000 tenants
// on, pg_dump's query for the dependencies of materialized views is planned as a merge join
// that takes minutes; without it the output is identical. pg_dump does not reset it.
//
// With the keepalives the server notices within half a minute that the machine of an idle session
// is gone: 15 s of silence, then three probes 5 s apart. tcp_user_timeout is left alone: it
// would also end the session of a dump that waits for a slow storage, because the kernel
// counts a closed receive window like silence.
const options = "-c enable_mergejoin=off -c tcp_keepalives_idle=15 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"

// promptOption is for a pg_dump whose output goes to a spool on this machine: if it takes nothing
// for half a minute, the machine is gone.
const promptOption = " -c tcp_user_timeout=30000"

// jitOff is for pg_dump as begin is for the session: in a catalogue of some thousand tables its
// queries look dear enough to be compiled, which costs more than it brings. Measured: 203 ms
// with, 171 ms without, for one schema of 500 with ten tables each.
const jitOff = " -c jit=off"

// livenessOption makes a server notice within half a second that its client is gone, also
// while it waits for a lock or counts. Not every platform has it.
const livenessOption = "client_connection_check_interval"

// session is a connection to the source.
type session struct {
	*libpq.Session
	conn *pgx.Conn // the Session's
	// liveness says that the server accepts livenessOption.
	liveness bool
	pooled   bool // a pooler is in between, in session mode
	bare     bool // options did not reach the server

	home  *warm // where it rests; nil: nowhere
	dsn   export.Secret
	since time.Time // it is connected
	uses  int
	alarm *time.Timer // of its rest
}

// connect opens a session with the first server that answers and is of the wanted kind. The
// caller closes it.
func (s *source) connect(ctx context.Context, application string) (*session, error) {
	params := map[string]string{"application_name": application, "options": options, "client_encoding": "UTF8"}
	to, err := s.Connect(ctx, params)
	if sqlState(err) == refusedOptions {
		delete(params, "options")
		to, err = s.Connect(ctx, params)
	}
	if err != nil {
		return nil, fmt.Errorf("the source: %w", err)
	}
	ses := &session{Session: to, conn: to.Conn}
	if err := ses.meetPooler(ctx, s, params); err != nil {
		ses.close()
		return nil, err
	}
	if pgversion.Has(ses.major(), pgversion.ClientCheck) {
		_, err := ses.conn.Exec(ctx, "SET "+livenessOption+" = 500")
		if _, unsupported := errors.AsType[*pgconn.PgError](err); err != nil && !unsupported {
			ses.close()
			return nil, fmt.Errorf("set up the session: %w", err)
		}
		ses.liveness = err == nil
	}
	return ses, nil
}

// version is the server's, for instance "15.18".
func (s *session) version() string { return s.Version() }

func (s *session) major() int { return s.Major() }

// encoding is the database's, as the server said at the session's start.
func (s *session) encoding() string { return s.conn.PgConn().ParameterStatus("server_encoding") }

// close ends the session and waits until nothing of it runs here.
func (s *session) close() { s.Close() }

// environment is what pg_dump knows beside its arguments: the session's own server, because
// a snapshot belongs to one.
func (s *source) environment(ses *session, application string) []string {
	opts := options
	if ses.bare {
		return s.Environment(ses.At, ses.Address, application, "")
	}
	if s.prompt {
		opts += promptOption
	}
	if pgversion.Has(ses.major(), pgversion.JIT) {
		opts += jitOff
	}
	if ses.liveness {
		opts += " -c " + livenessOption + "=500"
	}
	return s.Environment(ses.At, ses.Address, application, opts)
}
