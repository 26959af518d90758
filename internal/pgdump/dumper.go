package pgdump

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/spool"
)

// Config configures a Dumper.
type Config struct {
	// DefaultDSN is the source of projects without a DSN: a postgres:// URL or key=value pairs. The
	// package's documentation lists the parameters that are used. Empty: each project must have its
	// own.
	DefaultDSN export.Secret
	// PasswordCommand gives the password of each connection where the DSN has none. Default: none.
	PasswordCommand secret.Command
	// BinDirs are the folders that are searched for pg_dump. Default: /usr/lib/postgresql/*/bin,
	// then the PATH without Debian's wrapper script.
	BinDirs []string
	// Timeout bounds the wait for one dump and its counts. The clock stops while the consumer does
	// not read. Default 30 minutes.
	Timeout time.Duration
	// Stall bounds the wait without progress: no bytes read, and for the tar format none written to
	// its temporary file. It also bounds the preflight, but not the counts, which show no progress.
	// It must be longer than LockWaitTimeout. Default 10 minutes.
	Stall time.Duration
	// LockWaitTimeout bounds the wait for a lock on a table, a view or any other object that
	// pg_dump reads. Default 60 seconds.
	LockWaitTimeout time.Duration
	// KillDelay is how long pg_dump may take to end after SIGTERM, before SIGKILL.
	// Default 5 seconds.
	KillDelay time.Duration
	// Spool holds pg_dump's files for format directory. Default nil: that format is refused.
	Spool *spool.Area
	// SpoolBytes bounds the files of one dump there: above it pg_dump is paused, and a dump fails if
	// its largest tables alone need more. It is exceeded by what pg_dump writes in 50 ms. Default
	// 4 GiB.
	SpoolBytes int64
	// ParallelJobs bounds how many tables of one dump of format directory are dumped at the same
	// time, each on its own connection. Default 4.
	ParallelJobs int
	// KeepWarm is how long the session of a successful dump is kept idle for the next dump of the
	// same source, which then needs no new connection. Nothing of the dump remains in the session.
	// At most 8 are kept, each for at most 5 minutes and 50 dumps. Default 0: none is kept.
	KeepWarm time.Duration
	// Logger gets the stderr of a failed pg_dump. Default slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if len(c.BinDirs) == 0 {
		c.BinDirs = libpq.BinDirs("pg_dump")
	}
	c.Timeout = cmp.Or(c.Timeout, 30*time.Minute)
	c.Stall = cmp.Or(c.Stall, 10*time.Minute)
	c.LockWaitTimeout = cmp.Or(c.LockWaitTimeout, time.Minute)
	c.KillDelay = cmp.Or(c.KillDelay, 5*time.Second)
	c.SpoolBytes = cmp.Or(c.SpoolBytes, 4<<30)
	c.ParallelJobs = cmp.Or(c.ParallelJobs, 4)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	return c
}

// closeWait bounds a query to the source after the end of a dump.
const closeWait = 5 * time.Second

// Dumper opens dumps. It finds the installed pg_dumps once, in New. It is safe for concurrent use.
// With Config.KeepWarm it keeps sessions open between dumps until Close.
type Dumper struct {
	config   Config
	versions []Version // never empty
	warm     *warm
}

var _ export.Dumper = (*Dumper)(nil)

// New finds the installed pg_dumps and checks the default DSN without connecting. ErrNoPgDump: none
// is installed. No error quotes the DSN.
func New(c Config) (*Dumper, error) {
	c = c.withDefaults()
	if c.DefaultDSN != "" {
		if _, err := libpq.Parse(c.DefaultDSN); err != nil {
			return nil, fmt.Errorf("default source: %w", err)
		}
	}
	if c.Timeout < 0 || c.LockWaitTimeout < 0 || c.KillDelay < 0 || c.SpoolBytes < 0 || c.ParallelJobs < 0 || c.KeepWarm < 0 || c.Stall <= c.LockWaitTimeout {
		return nil, fmt.Errorf("pg_dump: times and bounds must be positive, and Stall (%s) longer than LockWaitTimeout (%s)",
			c.Stall, c.LockWaitTimeout)
	}
	versions, unknown := libpq.Discover("pg_dump", c.BinDirs)
	if len(versions) == 0 {
		err := fmt.Errorf("%w (looked in %s)", ErrNoPgDump, strings.Join(c.BinDirs, ", "))
		if unknown != nil {
			err = fmt.Errorf("%w: %w", err, unknown)
		}
		return nil, err
	}
	if unknown != nil {
		c.Logger.Warn("client tools left out", "error", unknown)
	}
	return &Dumper{config: c, versions: versions, warm: &warm{keep: c.KeepWarm}}, nil
}

// Close ends the idle sessions. Open dumps continue and end their own sessions.
func (d *Dumper) Close() error {
	d.warm.close()
	return nil
}

// Open checks the source, exports a snapshot, locks the tables in ACCESS SHARE mode and starts
// pg_dump. Errors are *export.Fault; after the end of ctx they wrap its cause. Cancelling ctx kills
// the dump, also after Open has returned. The caller closes the Dump.
func (d *Dumper) Open(ctx context.Context, j export.DumpJob) (export.Dump, error) {
	if err := check(j); err != nil {
		return nil, err
	}
	if j.Format == export.Tar {
		if err := CheckTar(); err != nil {
			return nil, err
		}
	}
	src, err := d.source(j.Project.DSN)
	if err != nil {
		return nil, classify(err)
	}
	o := &opening{Dumper: d, source: src, job: j, names: namesOf(j, j.Attempt)}
	// A hanging source must not block a worker for ever.
	look, cancel := context.WithTimeoutCause(ctx, d.config.Stall, errStalled)
	defer cancel()
	p, out, err := o.prepare(look)
	if err == nil {
		// pg_dump needs about 50 ms to read the catalogue, so these queries cost no extra time.
		if err = o.describe(look); err != nil {
			o.stop(p, out)
			err = o.explainLocks(look, err) // pg_dump may have taken the last ones
		}
	}
	if err != nil {
		if o.session != nil {
			o.session.close()
		}
		return nil, err
	}
	return o.follow(ctx, p, out), nil
}

// check returns a fault for a job with invalid names or schemas.
func check(j export.DumpJob) error {
	if len(j.Schemas) == 0 {
		return newFault(codes.SchemaNotAllowed, "no schema is named", nil)
	}
	for _, name := range j.Schemas {
		if err := checkName(name); err != nil {
			return newFault(codes.SchemaNotFound, "a schema's name is not one PostgreSQL can have", err)
		}
		// System schemas belong to no project.
		if strings.HasPrefix(name, "pg_") || name == "information_schema" {
			return newFault(codes.SchemaNotAllowed, "schema "+printable(quotePattern(name))+" is the server's own", nil)
		}
	}
	if j.Project.Role != "" {
		if err := checkName(j.Project.Role); err != nil {
			return newFault(codes.SourceForbidden, "the project's role is not a name PostgreSQL can have", err)
		}
		// SET ROLE "none" resets the role: the dump would run with all rights of the login.
		if j.Project.Role == "none" {
			return newFault(codes.SourceForbidden, "the project's role cannot be none", nil)
		}
	}
	return nil
}
