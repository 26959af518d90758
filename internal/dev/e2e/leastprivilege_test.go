package e2e_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
)

// leastQuery is the project query of docs/least-privilege.md.
const leastQuery = "SELECT id, name, active, schemas, role FROM pgcourier_access.projects WHERE id = $1"

// document is a file of docs.
func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// least is a platform with a worker that has the documented login.
type least struct {
	*platform
	settings []string // of the worker
}

// setupLeast makes a platform, creates the tenants as a superuser, and executes the documented SQL
// unchanged. Only one such platform can exist at a time, because roles belong to the cluster.
func setupLeast(t *testing.T, tenants string) *least {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() { // after the platform's database is gone
		conn, err := pgx.Connect(ctx, cluster.URL("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(ctx) }()
		rows, err := conn.Query(ctx, "SELECT rolname::text FROM pg_roles WHERE starts_with(rolname::text, 'pgcourier_') OR starts_with(rolname::text, 'own_')")
		if err != nil {
			t.Fatal(err)
		}
		roles, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		for _, role := range roles {
			if _, err := conn.Exec(ctx, "DROP ROLE "+pgx.Identifier{role}.Sanitize()); err != nil {
				t.Error(err)
			}
		}
	})
	l := &least{platform: setup(t)}
	l.exec(tenants)
	for range 2 { // it can be repeated
		l.exec(document(t, "least-privilege.sql"))
	}
	l.exec("ALTER ROLE pgcourier_worker PASSWORD 'w'; ALTER ROLE pgcourier_owner PASSWORD 'o'")
	l.settings = []string{"DATABASE_URL=" + l.as("pgcourier_worker", "w"), "PROJECT_QUERY=" + leastQuery, "MAX_WAITING_PER_PROJECT=1000"}
	l.provision(l.settings...)
	return l
}

// as is the database's URL for a login.
func (l *least) as(login, password string) string {
	u, err := url.Parse(cluster.URL(l.database))
	if err != nil {
		l.t.Fatal(err)
	}
	u.User = url.UserPassword(login, password)
	return u.String()
}

// migrate runs `migrate` as the ledger's owner.
func (l *least) migrate() {
	l.t.Helper()
	if _, stderr, code := l.cliWith([]string{"DATABASE_URL=" + l.as("pgcourier_owner", "o")}, "migrate"); code != 0 {
		l.t.Fatalf("migrate: exit code %d, %s", code, stderr)
	}
}

// TestTheWholeJobRunsWithTheLeastPrivileges is not parallel with TestNoTenantGetsAnothersData:
// both make the documented roles.
func TestTheWholeJobRunsWithTheLeastPrivileges(t *testing.T) {
	if !strings.Contains(document(t, "least-privilege.md"), leastQuery) {
		t.Error("docs/least-privilege.md has another project query than this test")
	}
	l := setupLeast(t, "")
	// The SQL corrects a worker that was made by other means and inherits its grants.
	l.exec(`DO $$
DECLARE made name;
BEGIN
  ALTER ROLE pgcourier_worker INHERIT;
  FOR made IN SELECT role FROM pgcourier_access.dump_roles LOOP
    EXECUTE format('REVOKE %1$I FROM pgcourier_worker; GRANT %1$I TO pgcourier_worker', made);
    ASSERT pg_has_role('pgcourier_worker', made, 'USAGE');
  END LOOP;
END $$`)
	l.exec(document(t, "least-privilege.sql"))
	// A schema that a tenant makes later needs the SQL again; a new table in an old schema does
	// not.
	l.exec("CREATE TABLE tenant_globex.later AS SELECT 1 AS a")
	if _, stderr, code := l.cliWith(l.settings, "serve"); code == 0 || !strings.Contains(stderr, "pgcourier migrate") {
		t.Errorf("a worker before the migration: exit code %d, %s", code, stderr)
	}
	l.migrate()
	w := l.start(l.settings...)
	l.request(events.Requested{ProjectID: "acme", RequestID: "one"})
	l.request(events.Requested{ProjectID: "quoted", RequestID: "two", Format: events.FormatTar})
	l.request(events.Requested{ProjectID: "globex", RequestID: "three", Format: events.FormatCustom})
	l.completed("acme", "one")
	l.completed("quoted", "two")
	if c := l.completed("globex", "three"); c.Tables != 2 {
		t.Errorf("%d tables of globex, want the later one too", c.Tables)
	}
	// Policies are not bypassed: the dump fails, once, and does not omit rows.
	l.exec("ALTER TABLE tenant_globex.parts ENABLE ROW LEVEL SECURITY")
	l.request(events.Requested{ProjectID: "globex", RequestID: "hidden"})
	l.failed("globex", "hidden", codes.Code("row_level_security"), 1)
	for _, args := range [][]string{{"list"}, {"show", "one"}, {"list", "--failed"}} {
		if stdout, stderr, code := l.cliWith(l.settings, args...); code != 0 || stdout == "" {
			t.Errorf("%v: exit code %d, %s", args, code, stderr)
		}
	}
	l.settled()
	if strings.Contains(w.logs.String(), "permission denied") {
		t.Error("the worker was denied something")
	}
	l.denied("w", "pgcourier_worker",
		"SELECT FROM tenant_globex.later", "SELECT FROM control_plane.projects", "SELECT FROM pgcourier_access.dump_roles",
		"INSERT INTO tenant_globex.later VALUES (2)", "CREATE TABLE pgcourier.mine ()", "ALTER TABLE pgcourier.requests ADD mine int",
		"CREATE SCHEMA mine", "CREATE ROLE mine", "SET ROLE postgres", "SET ROLE pgcourier_owner", "COPY (SELECT 1) TO PROGRAM 'true'")
	l.denied("o", "pgcourier_owner", "SELECT FROM tenant_globex.later", "SELECT FROM pgcourier_access.projects", "SET ROLE pgcourier_worker")
}

// TestTheAPIRunsWithTheLeastPrivileges is not parallel with the other tests of the documented roles.
func TestTheAPIRunsWithTheLeastPrivileges(t *testing.T) {
	l := setupLeast(t, "")
	l.migrate()
	for range 2 {
		l.exec(document(t, "least-privilege.sql"))
	}
	l.exec("ALTER ROLE pgcourier_api PASSWORD 'a'")
	l.start(l.settings...)
	s := l.startAPI("DATABASE_URL="+l.as("pgcourier_api", "a"), "PUBLIC_URL=http://backups.example.org")
	tok := l.token("acme", "admin")
	const at = "/v1/projects/acme/exports"
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", at, `{"request_id":"one"}`, 202},
		{"GET", at, "", 200},
		{"PUT", "/v1/projects/acme/schedules/nightly", `{"cron":"@daily"}`, 200},
		{"DELETE", "/v1/projects/acme/schedules/nightly", "", 204},
	} {
		if status, _, text := s.call(c.method, c.path, tok, c.body); status != c.status {
			t.Errorf("%s %s: %d %s", c.method, c.path, status, text)
		}
	}
	l.outcomes++
	l.completed("acme", "one")
	eventually(t, "it is shown as completed", func() bool { _, e, _ := s.call("GET", at+"/one", tok, ""); return e.State == "completed" })
	if status, text := s.withLink(at+"/one", tok); status != 200 {
		t.Errorf("a link: %d %s", status, text)
	}
	l.event(events.TypeLinkIssued, "acme", "one")
	if status, _, text := s.call("POST", at+"/one/verify", tok, ""); status != 202 {
		t.Errorf("a verification: %d %s", status, text)
	}
	// The login may not make tokens, and the answer says so.
	if status, _, text := s.call("POST", "/v1/projects/acme/tokens", tok, `{"scopes":["read"]}`); status != 501 || !strings.Contains(text, "least-privilege.sql") {
		t.Errorf("a token: %d %s", status, text)
	}
	pages := s.console(t, l.token("*", "admin"), "", "exports", "exports/acme/one", "schedules", "notifications", "retention", "health", "tokens", "audit")
	if strings.Contains(pages[0], "does not answer") || !strings.Contains(pages[4], "none parked") || !strings.Contains(pages[2], "Link issued") || !strings.Contains(pages[2], "Verification asked for") {
		t.Errorf("the console lacks a right: %s %s", pages[0], pages[2])
	}
	if status, _, text := s.call("DELETE", at+"/one", tok, ""); status != 202 {
		t.Errorf("%d %s", status, text)
	}
	eventually(t, "a sweeper deleted it", func() bool { _, e, _ := s.call("GET", at+"/one", tok, ""); return e.Removed != "" })
	for _, w := range l.workers {
		if strings.Contains(w.logs.String(), "permission denied") {
			t.Error("a process was denied something")
		}
	}
	l.denied("a", "pgcourier_api",
		"SELECT FROM tenant_globex.parts", "SELECT FROM control_plane.projects", "SELECT FROM pgcourier_access.projects",
		"UPDATE pgcourier.requests SET removed_at = now()", "DELETE FROM pgcourier.requests", "INSERT INTO pgcourier.attempts (attempt) VALUES (1)",
		"INSERT INTO pgcourier.api_tokens (token_id) VALUES ('x')", "UPDATE pgcourier.api_tokens SET revoked_at = NULL", "UPDATE pgcourier.api_tokens SET scopes = '{admin}'",
		"UPDATE pgcourier.api_calls SET subject = 'x'", "UPDATE pgcourier.removal_orders SET done_at = now()", "DELETE FROM pgcourier.removal_orders",
		"CREATE TABLE pgcourier.mine ()", "CREATE SCHEMA mine", "SET ROLE pgcourier_worker", "SET ROLE pgcourier_owner", "COPY (SELECT 1) TO PROGRAM 'true'")
	l.denied("w", "pgcourier_worker", "INSERT INTO pgcourier.retention_rules (projects, policy, set_by) VALUES ('*', 'last=1', 'x')", "SELECT FROM pgcourier.api_tokens", "INSERT INTO pgcourier.api_tokens (token_id) VALUES ('x')", "SELECT FROM pgcourier.api_calls")
}

// denied checks that each statement is refused for a missing right.
func (l *least) denied(password, login string, statements ...string) {
	l.t.Helper()
	conn, err := pgx.Connect(l.t.Context(), l.as(login, password))
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = conn.Close(l.ctx) }()
	for _, sql := range statements {
		_, err := conn.Exec(l.t.Context(), sql)
		if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "42501" {
			l.t.Errorf("%s may %s: %v", login, sql, err)
		}
	}
}

func TestARestorerWithNoMoreRightsThanItNeeds(t *testing.T) {
	l := setupLeast(t, "")
	l.migrate()
	l.exec(document(t, "least-privilege.sql"))
	w := l.start(l.settings...)
	l.request(events.Requested{ProjectID: "acme", RequestID: "one"})
	l.completed("acme", "one")
	l.settled()
	w.term()
	w.await()
	query := l.restoreTargets("('staging', '" + cluster.URL(l.database) + "', 'tenant_staging', NULL, '{acme}', true)")
	l.exec("ALTER ROLE pgcourier_restorer PASSWORD 'r'; GRANT USAGE ON SCHEMA control_plane TO pgcourier_restorer; GRANT SELECT ON control_plane.targets TO pgcourier_restorer")
	l.restorer(query, "DATABASE_URL="+l.as("pgcourier_restorer", "r"))
	for _, id := range []string{"r1", "r2"} {
		e := l.restored(events.RestoreRequested{ProjectID: "staging", RestoreID: id, From: events.RestoreFrom{ProjectID: "acme", RequestID: "latest"}, Mode: events.RestoreReplace})
		if e.RestoreCompleted == nil {
			t.Errorf("%s: %+v", id, e.RestoreFailed)
		}
	}
}
