package pgdump_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// rich has everything that determines whether and how a table's rows are in a dump.
func rich(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("testdata/rich.sql")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRowsEqualTheStreams(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, rich(t))
	want := map[export.Table]int64{
		{Schema: "s", Name: "plain"}: 1000, {Schema: "s", Name: "empty"}: 0, {Schema: "s", Name: "zero"}: 2,
		{Schema: "s", Name: "generated"}: 2, {Schema: "s", Name: "all generated"}: 1,
		{Schema: "s", Name: "range_1"}: 3, {Schema: "s", Name: "stray_partition"}: 1,
		{Schema: "s", Name: "parent"}: 1, {Schema: "s", Name: "child"}: 2,
		{Schema: "s", Name: "unlogged"}: 1, {Schema: "s", Name: "configuration"}: 2,
		{Schema: "s", Name: "all configuration"}: 3,
		{Schema: "s", Name: `Odd "name" \ ☃`}:    1, {Schema: "s", Name: "needy"}: 1,
		{Schema: "s", Name: "wide"}: 3, {Schema: "s", Name: "identity"}: 2,
		{Schema: `Ten*ant "x"`, Name: "own"}: 5,
	}
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			dump := open(t, pgdump.Config{}, job(dsn, f, "s", `Ten*ant "x"`))
			contents, err := archive.Check(dump, f)
			if err != nil {
				t.Fatal(err)
			}
			rows, err := dump.Rows(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(rows, contents.Tables) {
				t.Errorf("counted %v\nin the stream %v", rows, contents.Tables)
			}
			// The hash of an enum depends on the database: only the sum is known.
			hash := []export.Table{{Schema: "s", Name: "hash 0"}, {Schema: "s", Name: "hash 1"}}
			if n := rows[hash[0]] + rows[hash[1]]; n != 12 {
				t.Errorf("%d rows in the hash partitions, want 12", n)
			}
			delete(rows, hash[0])
			delete(rows, hash[1])
			if !maps.Equal(rows, want) {
				t.Errorf("counted %v\nwant %v", rows, want)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, rich(t))
	got := open(t, pgdump.Config{}, job(dsn, export.SQL, "s")).Info().Warnings
	want := []string{
		`the rows of foreign tables are left out: "s"."foreign"`,
		`partitions in other schemas are left out with their rows: "other"."range_2"`,
		`partitions of tables in other schemas need those to be restored: table other.range`,
		`objects of other schemas are needed and left out: function other.f(), server nowhere, ` +
			`table other.base, type other.mood`,
		`extensions are needed and left out: plpgsql in schema pg_catalog`,
		`the database holds large objects, which a dump of schemas leaves out`,
	}
	if len(got) != len(want) {
		t.Fatalf("warnings = %q\nwant %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("warning %d = %q\nwant %q", i, got[i], want[i])
		}
	}
}

func TestATableThatPostgreSQLDoesNotRestoreIsWarnedOf(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, `CREATE SCHEMA s;
CREATE TABLE s.plain (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE s.plain_1 PARTITION OF s.plain DEFAULT`)
	var want []string
	conn := connect(t, dsn)
	_, err := conn.Exec(t.Context(), "CREATE TABLE s.excluding (id int, at date, EXCLUDE (id WITH =, at WITH =)) PARTITION BY RANGE (at)")
	switch refusal, ok := errors.AsType[*pgconn.PgError](err); {
	case ok && refusal.Code == "0A000": // a server before 17 has no such table
	case err != nil:
		t.Fatal(err)
	default:
		execute(t, dsn, "CREATE TABLE s.excluding_1 PARTITION OF s.excluding DEFAULT")
		want = []string{`PostgreSQL refuses to restore partitioned tables with an exclusion constraint or WITHOUT OVERLAPS: "s"."excluding"`}
	}
	if got := open(t, pgdump.Config{}, job(dsn, export.SQL, "s")).Info().Warnings; !slices.Equal(got, want) {
		t.Errorf("warnings = %q\nwant %q", got, want)
	}
}

// A snapshot is one moment: rows that are written after Open are in neither the stream nor the
// counts.
func TestRowsAreThoseOfTheSnapshot(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, large)
	dump := open(t, pgdump.Config{}, job(dsn, export.SQL, "big"))
	execute(t, dsn, "INSERT INTO big.t SELECT generate_series(1, 500); DELETE FROM big.small")
	contents, err := archive.Check(dump, export.SQL)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := dump.Rows(t.Context())
	if err != nil || !maps.Equal(rows, contents.Tables) || contents.Rows() != 40001 {
		t.Errorf("counted %v, %v; in the stream %v; want 40001 rows", rows, err, contents.Tables)
	}
}

func TestRowsEndsWithItsContextAndWithTheDump(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, large)
	dump := open(t, pgdump.Config{}, job(dsn, export.SQL, "big"))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(export.ErrSuperseded)
	if _, err := dump.Rows(ctx); err != nil && !errors.Is(err, export.ErrSuperseded) {
		t.Errorf("rows: %v, want the cause", err)
	}
	if err := dump.Close(); err != nil {
		t.Fatal(err)
	}
	if rows, err := dump.Rows(t.Context()); err == nil && len(rows) != 2 {
		t.Errorf("rows after Close = %v without an error", rows)
	}
}

// A database without an encoding cannot be converted: its bytes are kept.
func TestADatabaseWithoutEncodingIsKeptAsItIs(t *testing.T) {
	t.Parallel()
	execute(t, cluster.URL("postgres"), "DROP DATABASE IF EXISTS ascii")
	execute(t, cluster.URL("postgres"), "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
	dsn := cluster.URL("ascii")
	execute(t, dsn, `CREATE SCHEMA s; CREATE TABLE s.t (a text); INSERT INTO s.t VALUES (E'\xff\xfe')`)
	dump := open(t, pgdump.Config{}, job(dsn, export.SQL, "s"))
	var text bytes.Buffer
	contents, err := archive.Check(io.TeeReader(dump, &text), export.SQL)
	if err != nil || contents.Rows() != 1 || !bytes.Contains(text.Bytes(), []byte("\xff\xfe\n")) {
		t.Errorf("contents = %v, %v; want one row with its bytes", contents, err)
	}
}

// Counting stays so many tables behind, continues at once with the tables that are due, and with
// all tables once pg_dump has ended or the counting was cancelled.
func TestTrail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dumped, exited := make(chan struct{}, 9), make(chan struct{})
		trail := pgdump.NewTrail(dumped, exited, 2)
		due := make(chan int)
		ask := func(ctx context.Context, most int) { go func() { due <- trail.Wait(ctx, most) }() }
		finish := func(files int) {
			for range files {
				dumped <- struct{}{}
			}
			synctest.Wait()
		}
		none := func(when string) {
			t.Helper()
			select {
			case n := <-due:
				t.Errorf("%s: %d tables are due", when, n)
			default:
			}
		}
		want := func(when string, want int) {
			t.Helper()
			if n := <-due; n != want {
				t.Errorf("%s: %d tables are due, want %d", when, n, want)
			}
		}
		ask(t.Context(), 64)
		finish(0)
		none("before the first file")
		finish(2)
		none("after as many files as are dumped at once")
		finish(1)
		want("after one more", 1)
		finish(3)
		ask(t.Context(), 2)
		want("after three more, at most two", 2)
		ask(t.Context(), 64)
		want("the third of them", 1)
		ctx, cancel := context.WithCancel(t.Context())
		ask(ctx, 64)
		finish(0)
		none("while nothing is finished")
		cancel()
		want("after it was cancelled", 64)
		close(exited)
		ask(t.Context(), 7)
		want("after pg_dump's end", 7)
	})
}

// The number of tables that are counted at a time is the number that pg_dump does not dump at the
// same time, the largest first.
func TestCountingStaysBehindTheDump(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, many(5)+`INSERT INTO big.t3 SELECT * FROM big.t3; ANALYZE`)
	open(t, pgdump.Config{BinDirs: fake(t, `for a; do case "$a" in --file=*) cd "${a#--file=}";; esac; done
printf '\\.\n' >7.dat; printf '\\.\n' >8.dat; printf '\\.\n' >9.dat; exec sleep 1000`)}, parallel(dsn, 2, "big"))
	conn := connect(t, dsn)
	var query string
	eventually(t, "something is counted", func() bool {
		err := conn.QueryRow(t.Context(), `
SELECT query FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgcourier%'`).Scan(&query)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(query, "count(*) FROM ONLY")
	})
	if want := `SELECT 0, count(*) FROM ONLY "big"."t3"; `; !strings.Contains(query, want) || strings.Count(query, "FROM ONLY") != 1 {
		t.Errorf("three files are finished, two tables are dumped at once: counted with %q, want %q", query, want)
	}
}

// A count(*) can fail, wait or be wrong where pg_dump's COPY is right. Planning it inlines the
// functions of indexes and statistics and locks every index, and an index may lack entries. The
// functions get their unqualified names last: from 17 on CREATE INDEX and ANALYZE refuse them.
func TestRowsAreCountedWherePlanningFails(t *testing.T) {
	t.Parallel()
	cases := map[string]string{
		"an index on a function of an extension": `
CREATE EXTENSION cube; CREATE EXTENSION earthdistance;
CREATE TABLE app.places (id int PRIMARY KEY, lat float8, lng float8);
INSERT INTO app.places SELECT i, i % 90, i % 180 FROM generate_series(1, 100) i;
CREATE INDEX ON app.places USING gist (ll_to_earth(lat, lng))`,
		"a partial index with an unqualified helper": `
CREATE FUNCTION app.helper(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0';
SET search_path = app;
CREATE FUNCTION live(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT app.helper($1)';
CREATE TABLE t (i int); INSERT INTO t SELECT generate_series(1, 100);
CREATE INDEX ON t (i) WHERE live(i);
CREATE OR REPLACE FUNCTION live(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT helper($1)'`,
		"extended statistics on an expression": `
CREATE FUNCTION app.helper(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0';
SET search_path = app;
CREATE FUNCTION live(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT app.helper($1)';
CREATE TABLE t (i int, j int); INSERT INTO t SELECT i, i FROM generate_series(1, 100) i;
CREATE STATISTICS st ON (live(i)), j FROM t; ANALYZE t;
CREATE OR REPLACE FUNCTION live(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT helper($1)'`,
		"an index on a function that reads another table": `
SET search_path = app;
CREATE TABLE k (i int);
CREATE FUNCTION look(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT max(i) FROM app.k';
CREATE TABLE t (i int); INSERT INTO t SELECT generate_series(1, 100);
CREATE INDEX ON t (look(i));
CREATE OR REPLACE FUNCTION look(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT max(i) FROM k'`,
		"an index that lacks entries": `
CREATE TABLE app.t (i int PRIMARY KEY, pad text); ALTER TABLE app.t ALTER pad SET STORAGE PLAIN;
INSERT INTO app.t SELECT i, repeat('x', 1900) FROM generate_series(101, 10000) i;
UPDATE pg_index SET indisready = false WHERE indrelid = 'app.t'::regclass;
INSERT INTO app.t SELECT i, repeat('x', 1900) FROM generate_series(1, 100) i;
UPDATE pg_index SET indisready = true WHERE indrelid = 'app.t'::regclass;
-- outside a transaction
VACUUM (INDEX_CLEANUP off) app.t`,
	}
	for name, sql := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := database(t, cluster, "CREATE SCHEMA app")
			for script := range strings.SplitSeq(sql, "-- outside a transaction") {
				execute(t, dsn, script)
			}
			dump := open(t, pgdump.Config{}, job(dsn, export.SQL, "app"))
			contents, err := archive.Check(dump, export.SQL)
			if err != nil {
				t.Fatal(err)
			}
			rows, err := dump.Rows(t.Context())
			if err != nil || !maps.Equal(rows, contents.Tables) || contents.Rows() < 100 {
				t.Errorf("counted %v, %v; in the stream %v; want at least 100 rows", rows, err, contents.Tables)
			}
		})
	}
}

// An index that is being rebuilt is locked; the dump and its counts do not need it.
func TestRowsAreCountedWhileAnIndexIsRebuilt(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, large+"; CREATE INDEX again ON big.t (i)")
	rebuilding := connect(t, dsn)
	if _, err := rebuilding.Exec(t.Context(), "BEGIN; REINDEX INDEX big.again"); err != nil {
		t.Fatal(err)
	}
	dump := open(t, pgdump.Config{}, job(dsn, export.SQL, "big"))
	contents, err := archive.Check(dump, export.SQL)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := dump.Rows(t.Context())
	if err != nil || !maps.Equal(rows, contents.Tables) || contents.Rows() != 40001 {
		t.Errorf("counted %v, %v; in the stream %v; want 40001 rows", rows, err, contents.Tables)
	}
}

// Counting keeps no lock on an index: many indexes would fill the server's lock table.
func TestCountingKeepsNoLockOnIndexes(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, `CREATE SCHEMA many; DO $$ BEGIN FOR i IN 1..150 LOOP
EXECUTE format('CREATE TABLE many.t%s (a int PRIMARY KEY, b int UNIQUE)', i); END LOOP; END $$`)
	dump := open(t, pgdump.Config{}, job(dsn, export.SQL, "many"))
	rows, err := dump.Rows(t.Context())
	if err != nil || len(rows) != 150 {
		t.Fatalf("counted %d tables, %v", len(rows), err)
	}
	var tables, indexes int
	err = connect(t, dsn).QueryRow(t.Context(), `
SELECT count(*) FILTER (WHERE c.relkind = 'r'), count(*) FILTER (WHERE c.relkind = 'i')
  FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a USING (pid)
 WHERE c.relnamespace = 'many'::regnamespace AND a.application_name LIKE 'pgcourier snapshot%'`).Scan(&tables, &indexes)
	if err != nil || tables != 150 || indexes != 0 {
		t.Errorf("%d tables and %d indexes are locked (%v), want 150 and none", tables, indexes, err)
	}
}
