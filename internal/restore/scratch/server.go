package scratch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// Server is the server on which exports are rehearsed: the one of a URL, or a temporary one on this
// machine, in the sandbox if there is one. A dump is a program, so it runs as a login without
// superuser rights on a temporary server too: the login may create databases, bypass policies, and
// change some harmless settings. It is safe for concurrent use. The caller closes it.
type Server struct {
	url     secret.String
	command secret.Command
	in      *Sandbox

	mu      sync.Mutex
	scratch restore.Scratch
	stop    func() error // nil: nothing was opened
	locks   int          // of the temporary server, for each session
}

// NewServer returns a Server. command gives the password for a URL that holds none. The first call of
// For starts it.
func NewServer(url secret.String, command secret.Command, in *Sandbox) *Server {
	return &Server{url: url, command: command, in: in}
}

const (
	// One transaction locks all tables of an export, and few sessions are needed. The least is space
	// for 100,000 locks, about 40 MB.
	sessions, leastLocks = 25, 4096
	// locksOfTable are those of a table, its TOAST with its index, a sequence, and many indexes.
	locksOfTable = 16
)

// For returns the server with space for the locks of so many tables. A temporary server that is too
// small is replaced by a larger one: no rehearsal may run on it then.
func (s *Server) For(ctx context.Context, tables int) (restore.Scratch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	locks := max(leastLocks, tables*locksOfTable/sessions)
	if s.stop != nil && (s.url != "" || locks <= s.locks) {
		return s.scratch, nil
	}
	if s.stop != nil {
		stop := s.stop
		s.stop = nil
		if err := stop(); err != nil {
			return restore.Scratch{}, fmt.Errorf("stop the temporary server, which is too small: %w", err)
		}
	}
	scratch, stop, err := s.open(ctx, locks)
	if err != nil {
		return restore.Scratch{}, err
	}
	s.scratch, s.stop, s.locks = scratch, stop, locks
	return scratch, nil
}

// Close stops a temporary server.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop == nil {
		return nil
	}
	stop := s.stop
	s.stop = nil
	return stop()
}

func (s *Server) open(ctx context.Context, locks int) (scratch restore.Scratch, stop func() error, err error) {
	if s.url != "" {
		server, err := libpq.Parse(s.url)
		if err != nil {
			return restore.Scratch{}, nil, config.Errorf("PGCOURIER_VERIFY_SCRATCH_URL: %w", err)
		}
		scratch.Server = server.WithPasswordCommand(s.command)
		return scratch, func() error { return nil }, nil
	}
	c := pgcluster.Config{Settings: map[string]string{
		"max_connections": strconv.Itoa(sessions), "max_locks_per_transaction": strconv.Itoa(locks),
	}}
	if s.in != nil {
		c.Wrap = s.in.server
	}
	cluster, err := pgcluster.Start(ctx, c)
	if err != nil {
		return restore.Scratch{}, nil, fmt.Errorf("start a temporary server (or set PGCOURIER_VERIFY_SCRATCH_URL to a server for rehearsals): %w", err)
	}
	scratch.Admin, err = libpq.Parse(secret.String(cluster.URL("postgres")))
	if err == nil {
		scratch.Server, err = makeLogin(ctx, scratch.Admin)
	}
	if err != nil {
		return restore.Scratch{}, nil, errors.Join(err, cluster.Stop())
	}
	return scratch, cluster.Stop, nil
}

// harmlessSettings grants a role the right to change settings that functions of exports set, and that
// by default only a superuser may change. Servers before 15 have no such right.
func harmlessSettings(role string) string {
	return `DO $$ BEGIN
  IF pg_catalog.to_regclass('pg_catalog.pg_parameter_acl') IS NOT NULL THEN
    GRANT SET ON PARAMETER session_replication_role, lc_messages, log_statement, log_duration, log_min_messages, log_min_error_statement,
      log_min_duration_statement, track_functions, track_io_timing, deadlock_timeout, lo_compat_privileges TO ` + role + `;
  END IF;
END $$`
}

// makeLogin creates the login of the rehearsals. It bypasses row-level security, so that it can fill
// materialized views over tables with forced policies.
func makeLogin(ctx context.Context, admin *libpq.Source) (*libpq.Source, error) {
	const name = "scratch"
	password := rand.Text()
	conn, err := admin.Connect(ctx, map[string]string{})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// The password is letters and digits. A server that logs statements would log it, but this
	// server is removed with its log.
	for _, statement := range []string{
		"CREATE ROLE " + name + " LOGIN CREATEDB BYPASSRLS PASSWORD '" + password + "'",
		harmlessSettings(name),
	} {
		if _, err := conn.Conn.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol); err != nil {
			return nil, fmt.Errorf("create the scratch login: %w", err)
		}
	}
	return admin.WithLogin(name, password), nil
}
