package pgdump_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// dumpAll is a whole plain dump as text.
func dumpAll(t *testing.T, j export.DumpJob) string {
	t.Helper()
	b, err := io.ReadAll(open(t, pgdump.Config{}, j))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOpenTakesExactlyTheNamedSchemas(t *testing.T) {
	t.Parallel()
	names := []string{
		"foo", "foo*", "foo_x", "foobar", "Foo", `Ten*ant "x"`, "-n", "--file=x", "a.b", "a|b",
		"$x^", "line\nbreak", "back\\slash", "Zürich ☃", "sp ace", "(?i)foo", strings.Repeat("n", 63),
	}
	var sql strings.Builder
	for i, name := range names {
		q := `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
		fmt.Fprintf(&sql, "CREATE SCHEMA %s; CREATE TABLE %s.mark AS SELECT 'mark-%d-'::text;", q, q, i)
	}
	dsn := database(t, cluster, sql.String())
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dump := open(t, pgdump.Config{}, job(dsn, export.SQL, name))
			text, err := io.ReadAll(dump)
			if err != nil {
				t.Fatal(err)
			}
			for k := range names {
				if got := strings.Contains(string(text), fmt.Sprintf("mark-%d-", k)); got != (k == i) {
					t.Errorf("rows of schema %q in the dump of %q: %t", names[k], name, got)
				}
			}
			rows, err := dump.Rows(t.Context())
			if want := (export.Table{Schema: name, Name: "mark"}); err != nil || len(rows) != 1 || rows[want] != 1 {
				t.Errorf("rows = %v, %v; want one in %q", rows, err, want)
			}
		})
	}
}

func TestOpenDumpsSeveralSchemas(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, `CREATE SCHEMA a; CREATE TABLE a.one(); CREATE SCHEMA b; CREATE TABLE b.two();
		CREATE SCHEMA c; CREATE TABLE c.three()`)
	text := dumpAll(t, job(dsn, export.SQL, "b", "a"))
	contains(t, "dump", text, "CREATE TABLE a.one")
	contains(t, "dump", text, "CREATE TABLE b.two")
	if strings.Contains(text, "three") {
		t.Error("the dump holds a schema that was not named")
	}
}

func TestOpenOfAnEmptySchemaIsWhole(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, "CREATE SCHEMA empty")
	dump := open(t, pgdump.Config{}, job(dsn, export.SQL, "empty"))
	contents, err := archive.Check(dump, export.SQL)
	if err != nil || len(contents.Tables) != 0 {
		t.Fatalf("contents = %v, %v; want no tables", contents, err)
	}
	rows, err := dump.Rows(t.Context())
	if err != nil || len(rows) != 0 {
		t.Errorf("rows = %v, %v; want none", rows, err)
	}
}

func TestInfo(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, `CREATE SCHEMA s;
		CREATE TABLE s.fresh AS SELECT i, repeat('x', 500) p FROM generate_series(1, 2000) i;
		CREATE TABLE s.analysed AS SELECT i, repeat('x', 500) p FROM generate_series(1, 4000) i;
		ANALYZE s.analysed`)
	info := open(t, pgdump.Config{}, job(dsn, export.SQL, "s")).Info()
	versions := dumper(t, pgdump.Config{}).Versions()
	if !strings.HasPrefix(info.ServerVersion, strconv.Itoa(versions[len(versions)-1].Major)) || strings.Contains(info.ServerVersion, " ") {
		t.Errorf("server version = %q", info.ServerVersion)
	}
	if !slices.ContainsFunc(versions, func(v pgdump.Version) bool { return v.Text == info.PgDumpVersion }) {
		t.Errorf("pg_dump version = %q, want one of %v", info.PgDumpVersion, versions)
	}
	// The space of a growing table beyond its rows differs between versions.
	var want int64
	err := connect(t, dsn).QueryRow(t.Context(), `SELECT pg_table_size('s.fresh') + 8192 * relpages
		FROM pg_class WHERE oid = 's.analysed'::regclass`).Scan(&want)
	if err != nil {
		t.Fatal(err)
	}
	if rows := int64(6000 * 500); info.EstimatedBytes != want || want < rows || want > 2*rows {
		t.Errorf("estimate = %d, want %d, which is %d of rows and a bit", info.EstimatedBytes, want, rows)
	}
	if len(info.Warnings) != 0 {
		t.Errorf("warnings = %q, want none", info.Warnings)
	}
}

func TestRoleIsTakenForTheLookAndTheDump(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, simple)
	// From version 16 on the grant stores the login's attribute at the time of the grant.
	login := reader(t, dsn, `ALTER ROLE $login NOINHERIT;
		CREATE ROLE "tenant of $login" NOLOGIN; GRANT "tenant of $login" TO $login;
		GRANT USAGE ON SCHEMA s TO "tenant of $login"; GRANT SELECT ON s.t, s.q TO "tenant of $login"`)
	u, err := url.Parse(login)
	if err != nil {
		t.Fatal(err)
	}
	j := job(login, export.SQL, "s")
	_, err = dumper(t, pgdump.Config{}).Open(t.Context(), j)
	fault(t, err, codes.SourceForbidden)
	j.Project.Role = "tenant of " + u.User.Username()
	contents, err := archive.Check(open(t, pgdump.Config{}, j), export.SQL)
	if err != nil || contents.Rows() != 3 {
		t.Errorf("contents = %v, %v; want 3 rows", contents, err)
	}
}

func TestOpenWaitsForALockNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, simple)
	conn := connect(t, dsn)
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE s.t IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	_, err := dumper(t, pgdump.Config{LockWaitTimeout: 100 * time.Millisecond}).Open(t.Context(), job(dsn, export.SQL, "s"))
	f := fault(t, err, codes.LockTimeout)
	contains(t, "message", f.Message, `another session holds "s"."t" for too long: its transaction began `)
	noSessionIsLeft(t, dsn)
}

func TestOpenGivesUpAServerThatHangs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // connections are accepted, and nothing is answered
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	j := job("postgres://u:pw@"+l.Addr().String()+"/d", export.SQL, "s")

	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, export.ErrSuperseded)
	defer cancel()
	if _, err := dumper(t, pgdump.Config{}).Open(ctx, j); !errors.Is(err, export.ErrSuperseded) {
		t.Errorf("error = %v, want the context's cause", err)
	}
	impatient := pgdump.Config{LockWaitTimeout: 10 * time.Millisecond, Stall: 50 * time.Millisecond}
	_, err = dumper(t, impatient).Open(t.Context(), j)
	fault(t, err, codes.DumpStalled)

	j.Project.DSN += "?connect_timeout=1&sslmode=disable"
	_, err = dumper(t, pgdump.Config{}).Open(t.Context(), j)
	fault(t, err, codes.SourceUnavailable)
}

func TestVersionMismatchNamesBoth(t *testing.T) {
	t.Parallel()
	dir := script(t, `echo "pg_dump (PostgreSQL) 9.6.24"`, "")
	_, err := dumper(t, pgdump.Config{BinDirs: []string{dir}}).Open(t.Context(), job(cluster.URL("postgres"), export.SQL, "s"))
	f := fault(t, err, codes.VersionMismatch)
	contains(t, "message", f.Message, "the newest pg_dump here is 9.6.24")
	contains(t, "message", f.Message, "the source runs PostgreSQL 1")
}

func TestAPgDumpNewerThanAnyKnownIsUsedWhereItMustBe(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, simple)
	newer := fake(t, "exec "+filepath.Join(cluster.BinDir, "pg_dump")+` "$@"`)
	for _, c := range []struct {
		dirs []string
		want bool
	}{{append(newer, cluster.BinDir), false}, {newer, true}} {
		dump := open(t, pgdump.Config{BinDirs: c.dirs}, job(dsn, export.Custom, "s"))
		contents, err := archive.Check(dump, export.Custom)
		if got := strings.HasPrefix(dump.Info().PgDumpVersion, "99."); got != c.want || err != nil || contents.Rows() != 3 {
			t.Errorf("pg_dump %s in %q: %v, %v", dump.Info().PgDumpVersion, c.dirs, contents, err)
		}
	}
}

func TestNewNeedsAPgDump(t *testing.T) {
	t.Parallel()
	_, err := pgdump.New(pgdump.Config{BinDirs: []string{t.TempDir()}})
	if !errors.Is(err, pgdump.ErrNoPgDump) {
		t.Errorf("error = %v, want ErrNoPgDump", err)
	}
}
