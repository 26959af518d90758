package pgdump_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// tenantsSQL makes a worker that may take the dump roles of two tenants and inherits neither. When the
// worker calls the function of the first tenant, that takes the role of the second and waits for the
// advisory lock that a row of the second names; if it cannot read that row, for the lock 1. It keeps no
// lock: its session can outlive the call, and the next guarded waits for both locks.
const tenantsSQL = `
ALTER ROLE $login NOINHERIT; CREATE ROLE $login_owner; CREATE ROLE $login_a; CREATE ROLE $login_b; GRANT $login_a, $login_b TO $login;
CREATE SCHEMA b; CREATE TABLE b.t (lock bigint); INSERT INTO b.t VALUES (2); GRANT USAGE ON SCHEMA b TO $login_b; GRANT SELECT ON b.t TO $login_b;
CREATE SCHEMA a AUTHORIZATION $login_owner; CREATE SCHEMA c; GRANT USAGE ON SCHEMA a, c TO PUBLIC; GRANT CREATE ON SCHEMA public TO $login_owner;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO $login_owner', current_database()); END $$;
CREATE FUNCTION a.f(text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE key bigint := 1;
BEGIN
  IF session_user <> '$login' THEN RETURN 1; END IF;
  BEGIN
    PERFORM set_config('role', '$login_b', true);
    key := (SELECT lock FROM b.t);
  EXCEPTION WHEN others THEN key := 1; END;
  PERFORM pg_advisory_lock_shared(key);
  PERFORM pg_advisory_unlock_shared(key);
  RETURN 1;
END $$;
ALTER FUNCTION a.f OWNER TO $login_owner;
`

// readAsTenant has each table of the schemas a and c owned by the tenant or by a superuser, and readable
// by the first tenant's dump role.
const readAsTenant = `; GRANT SELECT ON ALL TABLES IN SCHEMA a, c TO $login_a`

// guarded watches a database for the function of tenantsSQL until stop, which returns what it did; empty:
// it was not called.
func guarded(t *testing.T, dsn string) (stop func() string) {
	t.Helper()
	conn := connect(t, dsn)
	if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_lock(1), pg_advisory_lock(2)"); err != nil {
		t.Fatal(err)
	}
	over, found := make(chan struct{}), make(chan string, 1)
	go func() {
		look := time.NewTicker(5 * time.Millisecond)
		defer look.Stop()
		for {
			var what string
			err := conn.QueryRow(t.Context(), `
SELECT coalesce(max(CASE objid WHEN 2 THEN 'it read the rows of another tenant' ELSE 'it was called' END), '') FROM pg_locks
 WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&what)
			if err == nil && what != "" {
				_, err = conn.Exec(t.Context(), "SELECT pg_advisory_unlock_all()") // it waits for them
			}
			if err != nil {
				what = err.Error()
			}
			if what != "" {
				found <- what
				return
			}
			select {
			case <-over:
				found <- ""
				return
			case <-look.C:
			}
		}
	}()
	return func() string {
		close(over)
		what := <-found
		_ = conn.Close(t.Context()) // with its locks
		return what
	}
}

// asTenant makes a job of the first tenant's dump role.
func asTenant(t *testing.T, login string, f export.Format, schemas ...string) export.DumpJob {
	t.Helper()
	j := job(login, f, schemas...)
	j.Project.Role = strings.TrimPrefix(strings.Split(login, ":")[1], "//") + "_a"
	return j
}

func TestCodeOfATenantIsNotCalled(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, "")
	login := reader(t, dsn, tenantsSQL+`
CREATE TABLE c.index (i int, x text); CREATE TABLE c.predicate (i int, x text); CREATE TABLE c.statistics (i int, x text);
CREATE INDEX ON c.index ((i + a.f('index'))); CREATE INDEX ON c.predicate (i) WHERE a.f('predicate') = 1;
CREATE STATISTICS c.st ON (i + a.f('statistics')), i FROM c.statistics; INSERT INTO c.index VALUES (1, 'x');
SET ROLE $login_owner;
CREATE EXTENSION hstore SCHEMA public; CREATE OPERATOR a.@# (PROCEDURE = a.f, RIGHTARG = text); ALTER EXTENSION hstore ADD OPERATOR a.@# (NONE, text);
RESET ROLE;
CREATE TABLE c.operator (i int, x text); CREATE INDEX ON c.operator ((i + (OPERATOR(a.@#) 'operator'::text)));
SET ROLE $login_owner;
CREATE TABLE a.index (i int, x text); CREATE TABLE a.predicate (i int, x text); CREATE TABLE a.statistics (i int, x text);
CREATE INDEX ON a.index ((i + a.f('index'))); CREATE INDEX ON a.predicate (i) WHERE a.f('predicate') = 1;
CREATE STATISTICS a.st ON (i + a.f('statistics')), i FROM a.statistics; INSERT INTO a.index VALUES (1, 'x');
CREATE SCHEMA e; CREATE TABLE e.t (i int); GRANT USAGE ON SCHEMA e TO $login_a; GRANT SELECT ON e.t TO $login_a;
RESET ROLE`+readAsTenant)

	stop := guarded(t, dsn)
	for _, f := range []export.Format{export.SQL, export.Directory} {
		dump := open(t, pgdump.Config{}, asTenant(t, login, f, "a", "c"))
		contents, err := archive.Check(dump, f)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := dump.Rows(t.Context())
		if err != nil || !maps.Equal(rows, contents.Tables) || len(rows) != 7 || contents.Rows() != 2 {
			t.Errorf("%s: counted %v, %v; in the stream %v; want 2 rows in 7 tables", f, rows, err, contents.Tables)
		}
	}
	if what := stop(); what != "" {
		t.Errorf("a function of a tenant, in an export: %s", what)
	}

	stop = guarded(t, dsn)
	for i, e := range together(t, groups(t, pgdump.Config{}, pgdump.GroupConfig{}),
		asTenant(t, login, export.Custom, "a"), asTenant(t, login, export.Custom, "e")) {
		whole(t, []string{"a", "e"}[i], export.Custom, e, true)
	}
	if what := stop(); what != "" {
		t.Errorf("a function of a tenant, in a group dump: %s", what)
	}

	stop = guarded(t, dsn)
	info, err := dumper(t, pgdump.Config{}).Inspect(t.Context(), asTenant(t, login, export.SQL, "a", "c"))
	if err != nil {
		t.Error(err)
	}
	contains(t, "warnings", strings.Join(info.Warnings, "; "), `"c"."index", "c"."predicate", "c"."statistics", "c"."operator"`)
	if what := stop(); what != "" {
		t.Errorf("a function of a tenant, in an inspection: %s", what)
	}

	// The cause of a failed pg_dump is looked for in the tables.
	stop = guarded(t, dsn)
	fault(t, readUntilError(t, open(t, pgdump.Config{BinDirs: fake(t, "exit 1")}, asTenant(t, login, export.SQL, "a", "c"))), codes.DumpFailed)
	if what := stop(); what != "" {
		t.Errorf("a function of a tenant, in an inquiry: %s", what)
	}
}

// The locks of a dump keep its tables, but neither a new index or statistics object nor a new name of a
// schema.
func TestCodeOfATenantThatComesWhileTablesAreLockedIsNotCalled(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, "")
	login := reader(t, dsn, tenantsSQL+`
CREATE TABLE c.parent (i int) PARTITION BY LIST (i); CREATE TABLE c.partition PARTITION OF c.parent DEFAULT; ALTER TABLE ONLY c.parent OWNER TO $login_owner; GRANT CREATE ON SCHEMA c TO $login_owner;
CREATE SCHEMA d AUTHORIZATION $login_owner; GRANT USAGE ON SCHEMA d TO PUBLIC; CREATE TABLE d.t (i int); GRANT SELECT ON d.t TO $login_a;
SET ROLE $login_owner; CREATE TABLE a.index (i int); CREATE TABLE a.statistics (i int); RESET ROLE`+readAsTenant)
	gate := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	turn, err := os.OpenFile(gate, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = turn.Close() }()

	stop := guarded(t, dsn)
	// Of a dump to a folder, no table is counted before a file is finished or pg_dump has ended.
	dump := open(t, pgdump.Config{BinDirs: fake(t, "read -r _ <'"+gate+"'; exit 1")}, asTenant(t, login, export.Directory, "a", "c", "d"))
	execute(t, dsn, strings.ReplaceAll(`SET ROLE $owner;
CREATE INDEX ON a.index ((i + a.f('index'))); CREATE STATISTICS a.st ON (i + a.f('statistics')), i FROM a.statistics;
CREATE INDEX ON c.parent ((i + a.f('partition')));
ALTER SCHEMA d RENAME TO e; CREATE SCHEMA d; GRANT USAGE ON SCHEMA d TO PUBLIC; CREATE TABLE d.t (i int); GRANT SELECT ON d.t TO PUBLIC;
CREATE INDEX ON d.t ((i + a.f('another table')))`, "$owner", strings.TrimSuffix(asTenant(t, login, export.SQL, "a").Project.Role, "a")+"owner"))
	if _, err := turn.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	readUntilError(t, dump) //nolint:errcheck // that of the fake
	if rows, err := dump.Rows(t.Context()); err != nil || len(rows) != 4 {
		t.Errorf("counted %v, %v; want 4 tables", rows, err)
	}
	if what := stop(); what != "" {
		t.Errorf("a function of a tenant: %s", what)
	}
}

// Before the role is taken, the session has the rights of the login.
func TestNoFunctionOfATenantHidesOneOfPostgreSQL(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, "")
	login := reader(t, dsn, tenantsSQL+`
SET ROLE $login_owner; CREATE TABLE a.t (i int);
CREATE FUNCTION public.same(bigint, boolean) RETURNS bigint LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION public.last(bigint) RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN a.f(''count''); END';
CREATE AGGREGATE public.count(boolean) (SFUNC = public.same, STYPE = bigint, INITCOND = '0', FINALFUNC = public.last);
RESET ROLE`+readAsTenant)
	stop := guarded(t, dsn)
	j := asTenant(t, login, export.SQL, "a")
	j.ID, j.Attempt = anyID(), 2
	if _, err := archive.Check(open(t, pgdump.Config{}, j), export.SQL); err != nil {
		t.Error(err)
	}
	if err := dumper(t, pgdump.Config{}).EndAttempts(t.Context(), j.Project, j.ID, 2); err != nil {
		t.Error(err)
	}
	if what := stop(); what != "" {
		t.Errorf("a function of a tenant: %s", what)
	}
}
