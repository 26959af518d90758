package pgdump

import (
	"cmp"
	"context"
	"io"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

// opening is a dump that is being prepared.
type opening struct {
	*Dumper
	source *source
	job    export.DumpJob
	names  attemptNames

	session *session
	survey  *survey
	version Version
	info    export.DumpInfo

	estimate *int64 // nil: not queried yet
	jobs     int    // of format directory
}

// prepare connects, exports the snapshot, checks the source, takes the locks and starts pg_dump. After
// an error no pg_dump runs.
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
	// pg_dump needs about 50 ms to read the catalogue. During that time the session checks the source
	// and locks its tables. Its output is not read before Open returns.
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
		return nil, nil, o.explainLocks(ctx, err)
	}
	return p, out, nil
}

// look checks whether the source can be dumped as requested, and locks its tables.
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

// stop ends a pg_dump before its output is read.
func (o *opening) stop(p *process, out io.Closer) {
	p.Terminate(o.config.KillDelay)
	_ = out.Close()
}

// describe collects the estimate, the warnings and the needs of the dump.
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

// estimated returns the estimate; the first call queries it.
func (o *opening) estimated(ctx context.Context) int64 {
	if o.estimate == nil {
		o.estimate = new(o.session.estimate(ctx, o.survey))
	}
	return *o.estimate
}

// follow starts the counts and the clock beside pg_dump.
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
	return startProcess(o.version.Path, args, env, o.session.Password)
}

// encodingFor returns the encoding of a dump: UTF-8, or SQL_ASCII for a database without an encoding,
// because nothing can be converted from it.
func encodingFor(server string) string {
	if server == noEncoding {
		return noEncoding
	}
	return "UTF8"
}

// noEncoding is PostgreSQL's encoding for unchecked bytes.
const noEncoding = "SQL_ASCII"
