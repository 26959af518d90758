package pgdump

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/spool"
)

// Config says where dumps come from and what they may take.
type Config struct {
	// DefaultDSN is the source of projects that name none: a postgres:// URL or
	// key=value pairs. The package's documentation says which parameters are used. Empty:
	// each project must name its own.
	DefaultDSN export.Secret
	// BinDirs are the folders to look for pg_dump in. Default: /usr/lib/postgresql/*/bin,
	// then the PATH without Debian's wrapper script.
	BinDirs []string
	// Timeout bounds the time that is spent waiting for one dump and its counts. The
	// clock stops while nothing is read. Default 30 minutes.
	Timeout time.Duration
	// Stall bounds the waiting without any progress: no bytes, and for the tar format
	// nothing written to its spool either. It also bounds the look at the source before
	// the dump, but not the counting, which shows no progress. It must be longer than LockWaitTimeout. Default 10 minutes.
	Stall time.Duration
	// LockWaitTimeout bounds the wait for a lock on a table, a view or anything else that
	// pg_dump meets. Default 60 seconds.
	LockWaitTimeout time.Duration
	// KillDelay is how long pg_dump may take to end after SIGTERM, before SIGKILL.
	// Default 5 seconds.
	KillDelay time.Duration
	// Spool is where pg_dump writes for format directory. Default nil: that format is refused.
	Spool *spool.Area
	// SpoolBytes bounds what lies there of one dump: above it pg_dump is paused, and a dump
	// fails when its largest tables alone need more. It is overrun by what pg_dump writes in a
	// twentieth of a second. Default 4 GiB.
	SpoolBytes int64
	// ParallelJobs bounds how many tables of one dump of format directory are dumped at a
	// time, each on a connection of its own. Default 4.
	ParallelJobs int
	// KeepWarm is how long the session beside a dump that went well is kept for the next one
	// of the same source: without it each dump waits for a new connection. The session at
	// rest is idle, with nothing of the dump left in it; at most 8 are kept, each for at most
	// 5 minutes and 50 dumps. Default 0: none is kept.
	KeepWarm time.Duration
	// Logger is told what pg_dump wrote to stderr when it fails. Default slog.Default().
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

// closeWait bounds what is still asked of a source for a dump that is over.
const closeWait = 5 * time.Second

// Dumper opens dumps with the pg_dumps installed when it was made. It is safe for
// concurrent use. With Config.KeepWarm it holds sessions open between dumps until Close.
type Dumper struct {
	config   Config
	versions []Version // never empty
	warm     *warm
}

var _ export.Dumper = (*Dumper)(nil)

// New looks for installed pg_dumps and checks the default DSN without connecting.
// ErrNoPgDump: there is none. No error quotes the DSN.
func New(c Config) (*Dumper, error) {
	c = c.withDefaults()
	if c.DefaultDSN != "" {
		if _, err := newSource(c.DefaultDSN); err != nil {
			return nil, fmt.Errorf("default source: %w", err)
		}
	}
	if c.Timeout < 0 || c.LockWaitTimeout < 0 || c.KillDelay < 0 || c.SpoolBytes < 0 || c.ParallelJobs < 0 || c.KeepWarm < 0 || c.Stall <= c.LockWaitTimeout {
		return nil, fmt.Errorf("pg_dump: times and bounds must be positive, and Stall (%s) longer than LockWaitTimeout (%s)",
			c.Stall, c.LockWaitTimeout)
	}
	d := &Dumper{config: c, versions: libpq.Discover("pg_dump", c.BinDirs), warm: &warm{keep: c.KeepWarm}}
	if len(d.versions) == 0 {
		return nil, fmt.Errorf("%w (looked in %s)", ErrNoPgDump, strings.Join(c.BinDirs, ", "))
	}
	return d, nil
}

// Close ends the sessions that are kept warm. Dumps that are open go on, and end theirs.
func (d *Dumper) Close() error {
	d.warm.close()
	return nil
}

// Open checks the source, takes a snapshot, locks the tables in ACCESS SHARE mode and starts
// pg_dump. Errors are Faults; when ctx has ended they wrap its cause. Cancelling ctx kills
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
	src, err := newSource(cmp.Or(j.Project.DSN, d.config.DefaultDSN))
	if err != nil {
		return nil, classify(err)
	}
	o := &opening{Dumper: d, source: src, job: j, names: namesOf(j, j.Attempt)}
	// A source that hangs must not hold a worker for ever.
	look, cancel := context.WithTimeoutCause(ctx, d.config.Stall, errStalled)
	defer cancel()
	p, out, err := o.prepare(look)
	if err == nil {
		// pg_dump needs some 50 ms to read the catalogue; what is for humans costs no time.
		if err = o.describe(look); err != nil {
			o.stop(p, out)
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

// check refuses a job that cannot be meant.
func check(j export.DumpJob) error {
	if len(j.Schemas) == 0 {
		return newFault(codes.SchemaNotAllowed, "no schema is named", nil)
	}
	for _, name := range j.Schemas {
		if err := checkName(name); err != nil {
			return newFault(codes.SchemaNotFound, "a schema's name is not one PostgreSQL can have", err)
		}
		// The server's own catalogue belongs to no project.
		if strings.HasPrefix(name, "pg_") || name == "information_schema" {
			return newFault(codes.SchemaNotAllowed, "schema "+printable(quotePattern(name))+" is the server's own", nil)
		}
	}
	if j.Project.Role != "" {
		if err := checkName(j.Project.Role); err != nil {
			return newFault(codes.SourceForbidden, "the project's role is not a name PostgreSQL can have", err)
		}
		// SET ROLE "none" is no role at all: the dump would run with all of the login's rights.
		if j.Project.Role == "none" {
			return newFault(codes.SourceForbidden, "the project's role cannot be none", nil)
		}
	}
	return nil
}

// opening is a dump on its way.
type opening struct {
	*Dumper
	source *source
	job    export.DumpJob
	names  attemptNames

	session *session
	survey  *survey
	version Version
	info    export.DumpInfo

	estimate *int64 // once it was asked for
	jobs     int    // of format directory
}

// prepare connects, takes the snapshot and the locks, looks at the source, and starts
// pg_dump. After an error nothing of pg_dump is left.
func (o *opening) prepare(ctx context.Context) (p *process, out io.ReadCloser, err error) {
	dsn := cmp.Or(o.job.Project.DSN, o.config.DefaultDSN)
	if o.session, err = o.warm.take(ctx, o.source, dsn, o.names.snapshot); err != nil {
		return nil, nil, fail(ctx, err)
	}
	o.session.endLostAttempts(ctx, o.config.Logger, o.job)
	if o.version, err = choose(o.versions, o.session); err != nil {
		return nil, nil, err
	}
	if err = o.session.begin(ctx, o.job.Project.Role, o.config.LockWaitTimeout); err != nil {
		return nil, nil, err
	}
	if o.job.Format == export.Directory { // its arguments depend on what is found
		if err = o.look(ctx); err != nil {
			return nil, nil, err
		}
		o.jobs = o.chooseJobs(ctx)
		s, err := o.selection(ctx)
		if err != nil {
			return nil, nil, err
		}
		return o.startSpooled(s)
	}
	// pg_dump needs some 50 ms to read the catalogue, in which the source is looked at and
	// its tables are locked. Until Open returns its output is not read.
	s, err := o.selection(ctx)
	if err != nil {
		return nil, nil, err
	}
	args, err := arguments(s)
	if err != nil {
		return nil, nil, newFault(codes.InternalError, "pg_dump's arguments could not be built", err)
	}
	if p, out, err = o.spawn(s, args); err != nil {
		return nil, nil, newFault(codes.InternalError, "pg_dump could not be started", err)
	}
	if err = o.look(ctx); err == nil && encodingFor(o.survey.encoding) != s.encoding {
		err = newFault(codes.InternalError, "the source names two encodings", nil)
	}
	if err != nil {
		o.stop(p, out)
		return nil, nil, err
	}
	return p, out, nil
}

// look finds out whether the source can be dumped as asked, and locks its tables.
func (o *opening) look(ctx context.Context) (err error) {
	if o.survey, err = o.session.examine(ctx, o.job.Schemas); err != nil {
		return err
	}
	if o.survey.followed, err = o.session.tooMany(ctx, o.survey.relations); err != nil || o.survey.followed {
		return fail(ctx, err)
	}
	err = o.session.lock(ctx, o.survey.relations)
	return o.session.blamed(ctx, o.survey.schemas, o.session.explainLocks(ctx, o.survey.relations, err))
}

// selection exports the snapshot for pg_dump.
func (o *opening) selection(ctx context.Context) (selection, error) {
	found, err := o.session.exportSnapshot(ctx, o.job.Schemas)
	return selection{
		schemas: o.job.Schemas, role: o.job.Project.Role, format: o.job.Format, client: o.version.Major,
		snapshot: found, encoding: encodingFor(o.session.encoding()), lockWait: o.config.LockWaitTimeout,
	}, err
}

// stop ends a pg_dump of which nothing was read.
func (o *opening) stop(p *process, out io.Closer) {
	p.Terminate(o.config.KillDelay)
	_ = out.Close()
}

// describe finds what a human wants to know of the dump.
func (o *opening) describe(ctx context.Context) error {
	found, err := o.session.notes(ctx, o.survey)
	if err != nil {
		return err
	}
	if o.session.bare {
		found.warnings = append(found.warnings, poolerWarning)
	}
	o.info = export.DumpInfo{
		ServerVersion: printable(o.session.version()), PgDumpVersion: o.version.Text,
		EstimatedBytes: o.estimated(ctx), Warnings: found.warnings, Needs: found.needs,
	}
	return nil
}

// estimated asks for the estimate once.
func (o *opening) estimated(ctx context.Context) int64 {
	if o.estimate == nil {
		o.estimate = new(o.session.estimate(ctx, o.survey))
	}
	return *o.estimate
}

// follow starts the counting and the clock beside pg_dump.
func (o *opening) follow(ctx context.Context, p *process, out io.ReadCloser) *dump {
	d := &dump{
		process: p, out: out, session: o.session, info: o.info,
		watch: &watch{limit: o.config.Timeout, stall: o.config.Stall}, locked: make(chan struct{}),
	}
	d.begin(ctx, o)
	return d
}

func (o *opening) spawn(s selection, args []string) (*process, io.ReadCloser, error) {
	env := append(o.source.environment(o.session, o.names.dump), outputBuffer(s.format, s.client)...)
	return startProcess(o.version.Path, args, env, o.session.Password, o.config.KillDelay)
}

// encodingFor is what a dump is written in: UTF-8, unless the database has no encoding, which
// leaves nothing to convert from. Its bytes are then kept as they are.
func encodingFor(server string) string {
	if server == noEncoding {
		return noEncoding
	}
	return "UTF8"
}

// noEncoding is PostgreSQL's name for bytes that are not looked at.
const noEncoding = "SQL_ASCII"
