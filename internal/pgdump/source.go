package pgdump

import (
	"cmp"
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

// source is the server of a dump.
type source struct {
	*libpq.Source
	// prompt: pg_dump's output is read at once, independent of the storage.
	prompt bool
}

// source returns the server of a DSN. An empty one is Config.DefaultDSN.
func (d *Dumper) source(dsn export.Secret) (*source, error) {
	s, err := libpq.Parse(cmp.Or(dsn, d.config.DefaultDSN))
	if err != nil {
		return nil, err
	}
	return &source{Source: s.WithPasswordCommand(d.config.PasswordCommand)}, nil
}

// options are the server settings of every session on the source. From about 2,000 tenants on,
// PostgreSQL plans pg_dump's query for the dependencies of materialized views as a merge join that
// takes minutes. Without merge joins the output is identical. pg_dump does not reset the setting.
//
// Names are resolved in pg_catalog only, because tenants own the objects of their schemas: a function
// count(boolean) in public would go before PostgreSQL's own.
//
// With the keepalives the server notices within half a minute that the machine of an idle session is
// gone: 15 s of silence, then three probes 5 s apart. tcp_user_timeout is not set: it would also end
// the session of a dump that waits for a slow storage, because the kernel treats a closed receive
// window like silence.
const options = "-c search_path= -c enable_mergejoin=off -c tcp_keepalives_idle=15 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"

// promptOption is for a pg_dump that writes to a spool on this machine: if it reads nothing for half a
// minute, the machine is gone.
const promptOption = " -c tcp_user_timeout=30000"

// jitOff switches JIT compilation off for pg_dump; begin does it for the session. With some thousand
// tables the planner compiles the catalogue queries, which costs more than it saves. Measured: 203 ms
// with, 171 ms without, for one schema of 500 with ten tables each.
const jitOff = " -c jit=off"

// livenessOption makes a server notice within half a second that its client is gone, also while it
// waits for a lock or counts. Not every platform supports it.
const livenessOption = "client_connection_check_interval"

// session is a connection to the source.
type session struct {
	*libpq.Session
	conn *pgx.Conn // the Session's
	// liveness: the server accepts livenessOption.
	liveness bool
	pooled   bool // a pooler is in between, in session mode
	bare     bool // options did not reach the server

	home  *warm // keeps it idle; nil: none
	dsn   export.Secret
	since time.Time // of the connection
	uses  int
	alarm *time.Timer // ends the idle session
}

// connect opens a session on the first server that answers and satisfies target_session_attrs. The
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

// version returns the server's version, for instance "15.18".
func (s *session) version() string { return s.Version() }

func (s *session) major() int { return s.Major() }

// encoding returns the encoding of the database.
func (s *session) encoding() string { return s.conn.PgConn().ParameterStatus("server_encoding") }

// close ends the session and waits for its goroutines.
func (s *session) close() { s.Close() }

// environment returns the environment of pg_dump. It names the server of the session, because a
// snapshot is valid on one server only.
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
