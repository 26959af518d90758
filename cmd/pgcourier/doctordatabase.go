package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/doctor"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/retention"
)

const databaseURL = "PGCOURIER_DATABASE_URL"

// checkClients looks for PostgreSQL's client tools and their published faults.
func (x *examination) checkClients(_ context.Context, r *doctor.Report) {
	for _, tool := range append([]string{"pg_dump"}, restoreTools...) {
		found := x.discover(tool)
		if len(found) == 0 {
			f := doctor.Finding{State: doctor.Warning, Found: "no " + tool + " here: restores cannot run", Mend: "install postgresql-client, or set PGCOURIER_PG_BIN_DIR"}
			if tool == "pg_dump" && x.config.Exporting() {
				f.State, f.Found = doctor.Fault, "no pg_dump here: exports cannot run"
			}
			r.Add(tool, f)
			continue
		}
		var faulty []string
		var mends []string
		for _, f := range libpq.Examine(x.toolDirs(), tool) {
			var ids []string
			for _, a := range f.Advisories {
				ids = append(ids, a.ID)
			}
			faulty = append(faulty, fmt.Sprintf("%s in %s has %s", f.Version.Text, f.Version.Path, strings.Join(ids, ", ")))
			mend := "install " + f.Mends + " or a later release"
			if f.Mends == "" {
				mend = fmt.Sprintf("replace PostgreSQL %d by a newer major version", f.Version.Major)
			}
			mends = append(mends, mend)
		}
		switch {
		case len(faulty) == 0 || x.config.ClientCheck == config.ClientsOff:
			var all []string
			for _, v := range found {
				all = append(all, v.Text+" in "+v.Path)
			}
			r.OK(tool, "%s", strings.Join(slices.Compact(all), ", "))
		default:
			f := doctor.Finding{State: doctor.Warning, Found: strings.Join(faulty, "; "), Mend: strings.Join(mends, "; ") + ": see docs/hostile-source.md"}
			if x.config.ClientCheck == config.ClientsRefuse {
				f.State = doctor.Fault // no worker starts with it
			}
			r.Add(tool, f)
		}
	}
}

// checkDatabase looks at the control plane's database: the login, the ledger, the project
// query, the clock.
func (x *examination) checkDatabase(ctx context.Context, r *doctor.Report) {
	if x.pool == nil {
		if errors.Is(x.dbless, errNoDatabase) && !x.config.Exporting() {
			r.Skip("", "not set up, and the roles here need none")
			return
		}
		r.Add("", doctor.Finding{State: doctor.Fault, Found: x.dbless.Error(), Mend: "set " + databaseURL + " to the database of the control plane and the ledger"})
		return
	}
	conn, err := x.pool.Acquire(ctx)
	if err == nil {
		defer conn.Release()
		err = x.checkServer(ctx, conn, r)
	}
	if err != nil {
		r.Add("", databaseTrouble(err))
		for _, part := range []string{"ledger", "query"} {
			r.Skip(part, "the database cannot be used")
		}
		return
	}
	x.checkLedger(ctx, conn, r)
	err = project.New(x.pool, x.config.ProjectQuery).Check(ctx)
	switch {
	case err == nil:
		r.OK("query", "the project query has the columns it must have")
	case errors.Is(err, project.ErrQuery):
		r.Add("query", doctor.Finding{State: doctor.Fault, Found: err.Error(), Mend: "correct PGCOURIER_PROJECT_QUERY, or grant the login what it reads: see docs/architecture.md and docs/least-privilege.md"})
	default:
		r.Add("query", databaseTrouble(err))
	}
}

// checkServer looks at the server and the login.
func (x *examination) checkServer(ctx context.Context, conn *pgxpool.Conn, r *doctor.Report) error {
	var login, readOnly string
	var superuser bool
	err := conn.QueryRow(ctx, `SELECT current_user::text, current_setting('is_superuser') = 'on', current_setting('transaction_read_only')`).Scan(&login, &superuser, &readOnly)
	if err != nil {
		return err
	}
	asked := x.now()
	var theirs time.Time
	if err := conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&theirs); err != nil {
		return err
	}
	half := x.now().Sub(asked) / 2
	pg := conn.Conn().PgConn()
	version, _, _ := strings.Cut(pg.ParameterStatus("server_version"), " ")
	if readOnly == "on" {
		r.Add("", doctor.Finding{State: doctor.Fault, Found: "PostgreSQL " + version + " takes no writes: it is a standby, or default_transaction_read_only is on",
			Mend: "name the primary in " + databaseURL + ", or several hosts with target_session_attrs=read-write"})
	} else {
		r.OK("", "PostgreSQL %s, database %s, login %s", version, conn.Conn().Config().Database, login)
	}
	if superuser {
		r.Add("login", doctor.Finding{State: doctor.Warning, Found: "the login " + login + " is a superuser", Mend: "give the worker a login with the rights it needs: " + leastPrivilege})
	} else {
		r.OK("login", "%s is no superuser", login)
	}
	x.checkPgDump(version, r)
	r.Add("clock", doctor.Skew("the database's", theirs.Sub(asked.Add(half)), half))
	if secure, ok := pg.Conn().(*tls.Conn); ok && len(secure.ConnectionState().PeerCertificates) > 0 {
		r.Add("certificate", doctor.Certificate(secure.ConnectionState().PeerCertificates[0], x.now()))
	}
	return nil
}

// checkPgDump holds the installed versions against the server's.
func (x *examination) checkPgDump(server string, r *doctor.Report) {
	installed := x.discover("pg_dump") // the oldest major first
	if len(installed) == 0 {
		r.Skip("pg_dump", "there is none")
		return
	}
	major, newest := libpq.LeadingNumber(server), installed[len(installed)-1]
	if newest.Major < major {
		r.Add("pg_dump", doctor.Finding{
			State: doctor.Fault, Found: fmt.Sprintf("the server runs PostgreSQL %s, the newest pg_dump here is %s", server, newest.Text),
			Mend: fmt.Sprintf("install postgresql-client-%d or newer, or name its folder in PGCOURIER_PG_BIN_DIR", major),
		})
		return
	}
	i := slices.IndexFunc(installed, func(v libpq.Version) bool { return v.Major >= major })
	r.OK("pg_dump", "%s dumps the server's %s", installed[i].Text, server)
}

// mayMigrate says whether the login could bring the ledger up to date, as a worker tries to
// at its start.
const mayMigrate = `
SELECT coalesce((SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'pgcourier'),
    has_database_privilege(current_database(), 'CREATE'))`

func (x *examination) checkLedger(ctx context.Context, conn *pgxpool.Conn, r *doctor.Report) {
	l, err := x.ledger(ctx)
	switch {
	case errors.Is(err, ledger.ErrNotMigrated):
		f := doctor.Finding{State: doctor.Fault, Found: err.Error(), Mend: "run `pgcourier migrate` as the schema's owner"}
		var may bool
		if err := conn.QueryRow(ctx, mayMigrate).Scan(&may); err == nil && may {
			f.State, f.Mend = doctor.Warning, "nothing: the first worker brings it up to date, and so does `pgcourier migrate`"
		}
		r.Add("ledger", f)
		return
	case errors.Is(err, ledger.ErrSchemaTooNew):
		r.Add("ledger", doctor.Finding{State: doctor.Fault, Found: err.Error(), Mend: "update this pgcourier: a newer one has migrated the ledger"})
		return
	case err != nil:
		r.Add("ledger", databaseTrouble(err))
		return
	}
	version, err := l.SchemaVersion(ctx)
	missing, rightsErr := l.MissingRights(ctx, ledger.Uses{
		Prunes:  slices.Contains(x.config.Roles, config.RolePruner),
		Forgets: slices.Contains(x.config.Roles, config.RoleSweeper) && x.config.LedgerRetention > 0,
	})
	switch err = errors.Join(err, rightsErr); {
	case err != nil:
		r.Add("ledger", databaseTrouble(err))
	case len(missing) > 0:
		r.Add("ledger", doctor.Finding{State: doctor.Fault, Found: "the login lacks " + strings.Join(missing, ", "), Mend: "grant it: " + leastPrivilege})
	default:
		r.OK("ledger", "its schema is at version %d, and the login may use it", version)
	}
}

// ledger is the ledger as it is: nothing is migrated.
func (x *examination) ledger(ctx context.Context) (*ledger.Ledger, error) {
	if x.pool == nil {
		return nil, x.dbless
	}
	return ledger.Attach(ctx, ledger.Config{Pool: x.pool, MaxAttempts: maxAttempts})
}

// mostProjects bounds the projects that are looked at when none is named, and recentRequests
// the requests among which they are found.
const (
	mostProjects   = 20
	recentRequests = 200
)

// recentProjects are those of the newest requests, the newest first.
func (x *examination) recentProjects(ctx context.Context) ([]string, error) {
	l, err := x.ledger(ctx)
	if err != nil {
		return nil, err
	}
	entries, err := l.List(ctx, ledger.Filter{Limit: recentRequests})
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if !slices.Contains(ids, e.Project) && len(ids) < mostProjects {
			ids = append(ids, e.Project)
		}
	}
	return ids, nil
}

// checkProjects looks whether projects could be exported now, each on its own: a source that
// hangs keeps only its own project waiting.
func (x *examination) checkProjects(ctx context.Context, r *doctor.Report) {
	if x.pool == nil {
		r.Skip("", "there is no database to look them up in")
		return
	}
	ids := x.projects
	if len(ids) == 0 {
		var err error
		if ids, err = x.recentProjects(ctx); err != nil {
			r.Skip("", "the ledger cannot be read; name one with --project")
			return
		}
	}
	if len(ids) == 0 {
		r.Skip("", "none was exported of late; name one with --project")
		return
	}
	projects := project.New(x.pool, x.config.ProjectQuery)
	if err := projects.Check(ctx); err != nil {
		r.Skip("", "the project query cannot be used: see database/query")
		return
	}
	w := &worker{config: x.config, log: x.log}
	dumper, err := pgdump.New(w.dumpConfig())
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

func inspectProject(ctx context.Context, projects *project.Projects, dumper *pgdump.Dumper, id string) doctor.Finding {
	p, err := projects.Lookup(ctx, id)
	if err != nil {
		return projectTrouble(err)
	}
	if rules, known, err := projects.Retention(ctx, id); err == nil && known && rules != "" {
		if _, err := retention.Parse(rules); err != nil {
			return doctor.Finding{State: doctor.Fault, Found: "its retention rules: " + err.Error(), Mend: "correct the column retention of its row: see docs/retention.md"}
		}
	}
	info, err := dumper.Inspect(ctx, export.DumpJob{Project: p, Schemas: p.Schemas})
	if err != nil {
		return projectTrouble(err)
	}
	found := fmt.Sprintf("PostgreSQL %s, pg_dump %s, %d schemas", info.ServerVersion, info.PgDumpVersion, len(p.Schemas))
	if p.Role != "" {
		found += ", as " + p.Role
	}
	if n := len(info.Warnings); n > 0 {
		return doctor.Finding{State: doctor.Warning, Found: found + "; " + strings.Join(info.Warnings, "; "), Mend: "see what its exports leave out"}
	}
	return doctor.Finding{State: doctor.OK, Found: found}
}
