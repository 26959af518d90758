package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/retention"
)

// mostProjects bounds the projects that are looked at when none is named, and recentRequests
// the requests among which they are found.
const (
	mostProjects   = 20
	recentRequests = 200
)

// recentProjects are those of the newest requests, the newest first.
func (x *examiner) recentProjects(ctx context.Context) ([]string, error) {
	l, err := x.ledger(ctx)
	if err != nil {
		return nil, err
	}
	entries, err := l.List(ctx, ledger.Filter{Limit: recentRequests})
	if err != nil {
		return nil, err
	}
	return projectsOf(entries), nil
}

// projectsOf returns the projects of requests. A request that found no project names none: its id
// may be mistyped, which is no fault of a project.
func projectsOf(entries []ledger.Entry) (ids []string) {
	for _, e := range entries {
		named := !e.Refused && e.Code != codes.ProjectNotFound
		if named && !slices.Contains(ids, e.Project) && len(ids) < mostProjects {
			ids = append(ids, e.Project)
		}
	}
	return ids
}

// checkProjects looks whether projects could be exported now, all at once: a source that hangs
// delays the finding of its own project only.
func (x *examiner) checkProjects(ctx context.Context, r *Report) {
	if x.pool == nil {
		r.Skip("", "there is no database to look them up in")
		return
	}
	ids := x.Projects
	if len(ids) == 0 {
		var err error
		if ids, err = x.recentProjects(ctx); err != nil {
			r.Skip("", "the ledger cannot be read; name one with --project")
			return
		}
	}
	if len(ids) == 0 {
		r.Skip("", "none was exported lately; name one with --project")
		return
	}
	projects := project.New(x.pool, x.Settings.ProjectQuery)
	if err := projects.Check(ctx); err != nil {
		r.Skip("", "the project query cannot be used: see database/query")
		return
	}
	dumper, err := pgdump.New(pgdump.Config{
		DefaultDSN: x.Settings.DatabaseURL, PasswordCommand: x.Settings.PasswordCommand, LockWaitTimeout: x.Settings.LockTimeout, BinDirs: x.toolDirs(), Logger: x.log,
	})
	if err != nil {
		r.Skip("", err.Error())
		return
	}
	defer func() { _ = dumper.Close() }() // always nil
	var group errgroup.Group
	group.SetLimit(mostProjects)
	for _, id := range ids {
		group.Go(func() error {
			r.Add(id, inspectProject(ctx, projects, dumper, id))
			return nil
		})
	}
	_ = group.Wait() // always nil
}

func inspectProject(ctx context.Context, projects *project.Projects, dumper *pgdump.Dumper, id string) Finding {
	p, err := projects.Lookup(ctx, id)
	if err != nil {
		return projectFinding(err)
	}
	if rules, known, err := projects.Retention(ctx, id); err == nil && known && rules != "" {
		if _, err := retention.Parse(rules); err != nil {
			return Finding{State: Fault, Found: "its retention rules: " + err.Error(), Fix: "correct the column retention of its row: see docs/retention.md"}
		}
	}
	info, err := dumper.Inspect(ctx, export.DumpJob{Project: p, Schemas: p.Schemas})
	if err != nil {
		return projectFinding(err)
	}
	found := fmt.Sprintf("PostgreSQL %s, pg_dump %s, %d schemas", info.ServerVersion, info.PgDumpVersion, len(p.Schemas))
	if p.Role != "" {
		found += ", as " + p.Role
	}
	if n := len(info.Warnings); n > 0 {
		return Finding{State: Warning, Found: found + "; " + strings.Join(info.Warnings, "; "), Fix: "see what its exports leave out"}
	}
	return Finding{State: OK, Found: found}
}

// codeFixes say what to do for a code that a project meets; docs/operate.md has the others.
var codeFixes = map[codes.Code]string{
	codes.ProjectNotFound:  "no active project has this id in the control plane: correct the id or the project's row",
	codes.SchemaNotAllowed: "the control plane names a schema of the server's own: correct the project's row",
	codes.SchemaNotFound:   "the control plane names a schema that the database does not have: create it or correct the project's row",
	codes.SourceAuthFailed: "correct the user, the password or the certificate in DATABASE_URL or in the project's dsn",
	codes.SourceForbidden:  "grant the login the role (GRANT role TO login) or the role its rights: " + leastPrivilege,
	codes.SourceNotFound:   "correct the database's name or address in the project's dsn",
	codes.RowLevelSecurity: "dump as a role without policies on these tables, or with BYPASSRLS",
	codes.VersionMismatch:  "install a pg_dump of the server's major version or newer (postgresql-client-N)",
}

// projectFinding is what a Fault of a project means.
func projectFinding(err error) Finding {
	f := export.AsFault(err)
	out := Finding{State: Fault, Found: string(f.Code) + ": " + f.Message, Fix: codeFixes[f.Code]}
	if f.Code == codes.InternalError { // its message is for events
		out.Found = err.Error()
	}
	if f.Code == codes.SourceUnavailable || errors.Is(err, export.ErrUnavailable) || unanswered(err) && !f.Code.Permanent() {
		out.State = Unreachable
		out.Fix = "is the source running, and can this machine reach it? Its address is in the project's dsn, or DATABASE_URL"
	}
	if out.Fix == "" {
		out.Fix = "see docs/operate.md for the code"
	}
	return out
}
