package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
	"github.com/pgcourier/pgcourier/internal/pgversion"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/secret"
)

const databaseURL = "PGCOURIER_DATABASE_URL"

// checkDatabase looks at the control plane's database: the login, the ledger, the project
// query, the clock.
func (x *examiner) checkDatabase(ctx context.Context, r *Report) {
	if x.pool == nil {
		if errors.Is(x.poolErr, errNoDatabase) && !x.Settings.Exporting() {
			r.Skip("", "not set up, and the roles here need none")
			return
		}
		r.Add("", Finding{State: Fault, Found: x.poolErr.Error(), Fix: "set " + databaseURL + " to the database of the control plane and the ledger"})
		return
	}
	conn, err := x.pool.Acquire(ctx)
	if err == nil {
		defer conn.Release()
		err = x.checkServer(ctx, conn, r)
	}
	if err != nil {
		r.Add("", databaseFinding(err))
		for _, part := range []string{"connections", "ledger", "query"} {
			r.Skip(part, "the database cannot be used")
		}
		return
	}
	x.checkConnections(ctx, conn.Conn(), r)
	x.checkLedger(ctx, conn, r)
	err = project.New(x.pool, x.Settings.ProjectQuery).Check(ctx)
	switch {
	case err == nil:
		r.OK("query", "the project query has the columns it must have")
	case errors.Is(err, project.ErrQuery):
		r.Add("query", Finding{State: Fault, Found: err.Error(), Fix: "correct PGCOURIER_PROJECT_QUERY, or grant the login what it reads: see docs/architecture.md and docs/least-privilege.md"})
	default:
		r.Add("query", databaseFinding(err))
	}
	x.checkRestoreQuery(ctx, r)
}

// checkRestoreQuery looks at where restores by event go, if a restorer or the query is set up.
func (x *examiner) checkRestoreQuery(ctx context.Context, r *Report) {
	const part = "restore-query"
	if x.Settings.RestoreQuery == "" {
		if x.Settings.Serves(config.RoleRestorer) {
			r.Add(part, Finding{State: Warning, Found: "PGCOURIER_RESTORE_QUERY is not set: every restore by event is refused", Fix: "set it: see docs/restore-as-event.md"})
		}
		return
	}
	err := project.NewRestores(x.pool, x.Settings.RestoreQuery).Check(ctx)
	switch {
	case err == nil:
		r.OK(part, "the restore query has the columns it must have")
	case errors.Is(err, project.ErrRestoreQuery):
		r.Add(part, Finding{State: Fault, Found: err.Error(), Fix: "correct PGCOURIER_RESTORE_QUERY, or grant the login what it reads: see docs/restore-as-event.md"})
	default:
		r.Add(part, databaseFinding(err))
	}
}

// checkServer looks at the server and the login.
func (x *examiner) checkServer(ctx context.Context, conn *pgxpool.Conn, r *Report) error {
	var login, readOnly string
	var superuser bool
	err := conn.QueryRow(ctx, `SELECT current_user::text, current_setting('is_superuser') = 'on', current_setting('transaction_read_only')`).Scan(&login, &superuser, &readOnly)
	if err != nil {
		return err
	}
	asked := x.Now()
	var theirs time.Time
	if err := conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&theirs); err != nil {
		return err
	}
	half := x.Now().Sub(asked) / 2
	pg := conn.Conn().PgConn()
	if behind, err := controlplane.Pooled(ctx, x.pool); err == nil && behind {
		r.Add("pooler", Finding{
			State: Warning, Found: "a pooler is in front of the database: the ledger works through it, a source in transaction mode cannot be dumped",
			Fix: "name the server itself in " + databaseURL + " if projects have no dsn: then they are dumped from this database",
		})
	}
	version, _, _ := strings.Cut(pg.ParameterStatus("server_version"), " ")
	if readOnly == "on" {
		r.Add("", Finding{State: Fault, Found: "PostgreSQL " + version + " takes no writes: it is a standby, or default_transaction_read_only is on",
			Fix: "name the primary in " + databaseURL + ", or several hosts with target_session_attrs=read-write"})
	} else {
		r.OK("", "PostgreSQL %s, database %s, login %s", version, conn.Conn().Config().Database, login)
	}
	if superuser {
		r.Add("login", Finding{State: Warning, Found: "the login " + login + " is a superuser", Fix: "give the worker a login with the rights it needs: " + leastPrivilege})
	} else {
		r.OK("login", "%s is no superuser", login)
	}
	x.checkPgDump(version, r)
	r.Add("clock", Skew("the database's", theirs.Sub(asked.Add(half)), half))
	if secure, ok := pg.Conn().(*tls.Conn); ok && len(secure.ConnectionState().PeerCertificates) > 0 {
		r.Add("certificate", Certificate(secure.ConnectionState().PeerCertificates[0], x.Now()))
	}
	return nil
}

// checkPgDump holds the installed versions against the server's.
func (x *examiner) checkPgDump(server string, r *Report) {
	installed, _ := x.discover("pg_dump") // the oldest major first; the check of the clients names those left out
	if len(installed) == 0 {
		r.Skip("pg_dump", "there is none")
		return
	}
	major, newest := libpq.LeadingNumber(server), installed[len(installed)-1]
	if newest.Major < major {
		r.Add("pg_dump", Finding{
			State: Fault, Found: fmt.Sprintf("the server runs PostgreSQL %s, the newest pg_dump here is %s", server, newest.Text),
			Fix: fmt.Sprintf("install postgresql-client-%d or newer, or name its folder in PGCOURIER_PG_BIN_DIR", major),
		})
		return
	}
	i := slices.IndexFunc(installed, func(v libpq.Version) bool { return v.Major >= major })
	found := fmt.Sprintf("%s dumps the server's %s", installed[i].Text, server)
	if pgversion.Newer(installed[i].Major) {
		r.Add("pg_dump", Finding{
			State: Warning, Found: fmt.Sprintf("%s; this pgcourier was tested up to PostgreSQL %d", found, pgversion.Newest),
			Fix: "look for a newer pgcourier, and test a restore until there is one: see docs/postgresql-versions.md",
		})
		return
	}
	r.Add("pg_dump", Finding{State: OK, Found: found})
}

// mayMigrate says whether the login could bring the ledger up to date, as a worker tries to
// at its start.
const mayMigrate = `
SELECT coalesce((SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'pgcourier'),
    has_database_privilege(current_database(), 'CREATE'))`

func (x *examiner) checkLedger(ctx context.Context, conn *pgxpool.Conn, r *Report) {
	l, err := x.ledger(ctx)
	switch {
	case errors.Is(err, ledger.ErrNotMigrated):
		f := Finding{State: Fault, Found: err.Error(), Fix: "run `pgcourier migrate` as the schema's owner"}
		var may bool
		if err := conn.QueryRow(ctx, mayMigrate).Scan(&may); err == nil && may {
			f.State, f.Fix = Warning, "nothing: the first worker migrates it, and so does `pgcourier migrate`"
		}
		r.Add("ledger", f)
		return
	case errors.Is(err, ledger.ErrSchemaTooNew):
		r.Add("ledger", Finding{State: Fault, Found: err.Error(), Fix: "update this pgcourier: a newer one has migrated the ledger"})
		return
	case err != nil:
		r.Add("ledger", databaseFinding(err))
		return
	}
	version, err := l.SchemaVersion(ctx)
	missing, rightsErr := l.MissingRights(ctx, ledger.Uses{
		Prunes:  x.Settings.Serves(config.RolePruner),
		Forgets: x.Settings.Serves(config.RoleSweeper) && x.Settings.LedgerRetention > 0,
	})
	switch err = errors.Join(err, rightsErr); {
	case err != nil:
		r.Add("ledger", databaseFinding(err))
	case len(missing) > 0:
		r.Add("ledger", Finding{State: Fault, Found: "the login lacks " + strings.Join(missing, ", "), Fix: "grant it: " + leastPrivilege})
	default:
		r.OK("ledger", "its schema is at version %d, and the login may use it", version)
	}
	if x.Settings.Serves(config.RoleRestorer) {
		x.checkKept(ctx, l, r)
	}
}

// overdue is how long after its time a kept schema is found worth a warning.
const overdue = 24 * time.Hour

// checkKept looks for schemas that restores have set aside and that should have been dropped.
func (x *examiner) checkKept(ctx context.Context, l *ledger.Ledger, r *Report) {
	const part = "restore-kept"
	due, err := l.Restores().Keeping(ctx)
	if err != nil {
		r.Add(part, databaseFinding(err))
		return
	}
	due = slices.DeleteFunc(due, func(k ledger.Kept) bool { return k.Until.After(x.Now().Add(-overdue)) })
	if len(due) == 0 {
		r.OK(part, "no schema that a restore has set aside is overdue")
		return
	}
	r.Add(part, Finding{
		State: Warning, Found: fmt.Sprintf("%d restores have set schemas aside that should have been dropped, for instance %s, due since %s", len(due), due[0].ID, due[0].Until.Format(time.DateTime+"Z")),
		Fix: "the restorer's log says why: see docs/restore-as-event.md",
	})
}

// ledger is the ledger as it is: nothing is migrated.
func (x *examiner) ledger(ctx context.Context) (*ledger.Ledger, error) {
	if x.pool == nil {
		return nil, x.poolErr
	}
	return ledger.Attach(ctx, ledger.Config{Pool: x.pool})
}

// databaseFinding is what a connection's or a query's error means. The server's own words
// name the login and the database, and never the password.
func databaseFinding(err error) Finding {
	if errors.Is(err, secret.ErrCommand) {
		return Finding{State: Fault, Found: err.Error(), Fix: "run PGCOURIER_PASSWORD_COMMAND by hand as this user: it must print one line, the password"}
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return errorFinding(err, databaseURL, "correct "+databaseURL)
	}
	f := Finding{State: Fault, Found: pg.Message + " (SQLSTATE " + pg.Code + ")"}
	switch {
	case strings.HasPrefix(pg.Code, "28"):
		f.Fix = "correct the user or the password in " + databaseURL + ", or let pg_hba.conf admit the login"
	case pg.Code == "3D000":
		f.Fix = "correct the name of the database in " + databaseURL + ", or create it"
	case pg.Code == "42501":
		f.Fix = "grant the login what it lacks: " + leastPrivilege
	case strings.HasPrefix(pg.Code, "57"), strings.HasPrefix(pg.Code, "53"), strings.HasPrefix(pg.Code, "08"):
		f.State, f.Fix = Unreachable, "look at the server's log: it takes no work now"
	default:
		f.Fix = "look at the server's log"
	}
	return f
}
