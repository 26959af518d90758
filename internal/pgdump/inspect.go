package pgdump

import (
	"context"

	"github.com/pgcourier/pgcourier/internal/export"
)

// Inspect runs the preflight of Open: the login, pg_dump's version, the role, the schemas and the
// rights on every table. It holds no locks, plans no query of a table, and starts no pg_dump. Its error is
// the Fault with which a request would fail.
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
	var coded []string
	for _, r := range o.survey.counted() {
		if r.owned && !r.plannable() {
			coded = append(coded, r.show())
		}
	}
	o.info.Warnings = append(o.info.Warnings, lines("rows are counted by COPY, which takes longer, because to plan a query of these tables would call functions of their indexes or statistics", coded)...)
	return o.info, nil
}
