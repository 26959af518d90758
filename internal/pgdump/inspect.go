package pgdump

import (
	"context"

	"github.com/pgcourier/pgcourier/internal/export"
)

// Inspect runs the preflight of Open: the login, pg_dump's version, the role, the schemas and the
// rights on every table. It holds locks only while a query is planned, and starts no pg_dump. Its error
// is the Fault with which a request would fail.
func (d *Dumper) Inspect(ctx context.Context, j export.DumpJob) (export.DumpInfo, error) {
	if err := check(j); err != nil {
		return export.DumpInfo{}, err
	}
	src, err := d.source(j.Project.DSN)
	if err != nil {
		return export.DumpInfo{}, classify(err)
	}
	ses, err := src.connect(ctx, "pgcourier inspection")
	if err != nil {
		return export.DumpInfo{}, fail(ctx, err)
	}
	defer ses.close()
	o := &opening{Dumper: d, source: src, job: j, session: ses}
	if o.version, err = choose(d.versions, ses); err != nil {
		return export.DumpInfo{}, err
	}
	if err := ses.begin(ctx, j.Project.Role, d.config.LockWaitTimeout); err != nil {
		return export.DumpInfo{}, err
	}
	if o.survey, err = ses.examine(ctx, j.Schemas); err != nil {
		return export.DumpInfo{}, err
	}
	if err = o.describe(ctx); err != nil {
		return o.info, err
	}
	unplanned, err := ses.unplanned(ctx, o.survey.counted())
	o.info.Warnings = append(o.info.Warnings, lines("rows are counted by COPY, which takes longer, because no query of these tables can be planned with an empty search_path", unplanned)...)
	return o.info, fail(ctx, err)
}
