package pgdump_test

import (
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/pgtest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/pgdump"
)

// withLocks starts a server with so many locks for each transaction, and small settings otherwise.
func withLocks(t *testing.T, locks string) *pgcluster.Cluster {
	t.Helper()
	return pgtest.Start(t, pgcluster.Config{InMemory: true, Settings: map[string]string{
		"max_locks_per_transaction": locks, "max_connections": "20", "max_worker_processes": "0", "autovacuum_max_workers": "1", "max_wal_senders": "0",
	}})
}

// manyTables makes a schema with tables, in transactions of few locks.
func manyTables(t *testing.T, dsn, schema string, hundreds int) {
	t.Helper()
	execute(t, dsn, "CREATE SCHEMA "+schema)
	for i := range hundreds {
		execute(t, dsn, fmt.Sprintf("DO $$ BEGIN FOR i IN 1 .. 100 LOOP EXECUTE format('CREATE TABLE %s.t%d_%%s AS SELECT 1 AS a', i); END LOOP; END $$", schema, i))
	}
}

// A server's lock table has room for a limited number of tables. pg_dump locks each; a second lock
// of ours would halve what can be exported. Every database that plain pg_dump can dump with room to
// spare can be exported.
func TestAsManyTablesAsPgDumpLocksCanBeExported(t *testing.T) {
	t.Parallel()
	few := withLocks(t, "64")
	dsn := few.URL("postgres")
	var schemas []string
	for i := 0; ; i++ {
		next := fmt.Sprintf("s%d", i)
		manyTables(t, dsn, next, map[bool]int{true: 7, false: 3}[i == 0])
		args := []string{"--schema=s*", dsn}
		if err := exec.CommandContext(t.Context(), few.BinDir+"/pg_dump", args...).Run(); err != nil {
			break
		}
		if len(schemas) > 0 {
			dump := open(t, pgdump.Config{}, job(dsn, export.Custom, schemas...))
			if _, err := io.Copy(io.Discard, dump); err != nil {
				t.Fatalf("with %d schemas: %v", len(schemas), err)
			}
			rows, err := dump.Rows(t.Context())
			if err != nil || len(rows) != 400+300*len(schemas) {
				t.Fatalf("with %d schemas: %d tables counted, %v", len(schemas), len(rows), err)
			}
			if err := dump.Close(); err != nil {
				t.Fatal(err)
			}
		}
		schemas = append(schemas, next)
	}
	if len(schemas) < 3 {
		t.Fatalf("pg_dump dumps %d schemas only", len(schemas))
	}
}

// Without our locks a table can be emptied before pg_dump has locked it.
func TestAManyTablesDumpNoticesARewrite(t *testing.T) {
	t.Parallel()
	few := withLocks(t, "64")
	dsn := few.URL("postgres")
	manyTables(t, dsn, "s", 10)
	execute(t, dsn, "CREATE TABLE s.large AS SELECT repeat(md5(i::text), 1000) AS a FROM generate_series(1, 512) AS i")
	dump := open(t, pgdump.Config{}, job(dsn, export.SQL, "s"))
	// pg_dump has all locks before it writes. Its 16 MB do not fit into pipe and buffers, so it has not ended.
	read(t, dump, 1000)
	conn := connect(t, dsn)
	if _, err := conn.Exec(t.Context(), "SET lock_timeout = 1; TRUNCATE s.t0_1"); err == nil {
		t.Error("a table could be emptied while pg_dump runs")
	}
	if _, err := io.Copy(io.Discard, dump); err != nil {
		t.Fatal(err)
	}
	if rows, err := dump.Rows(t.Context()); err != nil || len(rows) != 1001 {
		t.Errorf("%d tables, %v", len(rows), err)
	}
}

// A group's tables are limited too: the members beyond the limit are dumped alone.
func TestAGroupLocksNoMoreThanItsShare(t *testing.T) {
	t.Parallel()
	few := withLocks(t, "64")
	dsn := few.URL("postgres")
	var jobs []export.DumpJob
	for i := range 6 {
		manyTables(t, dsn, fmt.Sprintf("s%d", i), 2)
		jobs = append(jobs, job(dsn, export.Custom, fmt.Sprintf("s%d", i)))
	}
	grouped := 0
	for i, e := range together(t, groups(t, pgdump.Config{}, pgdump.GroupConfig{}), jobs...) {
		whole(t, jobs[i].Schemas[0], export.Custom, e, e.grouped)
		if e.grouped {
			grouped++
		}
	}
	if grouped != 2 {
		t.Errorf("%d of 6 projects of 200 tables were dumped together, want 2", grouped)
	}
}

func TestALockTableThatIsTooSmallIsNamed(t *testing.T) {
	t.Parallel()
	few := withLocks(t, "10")
	dsn := few.URL("postgres")
	manyTables(t, dsn, "s", 40)
	dump, err := dumper(t, pgdump.Config{}).Open(t.Context(), job(dsn, export.SQL, "s"))
	if err == nil {
		err = readUntilError(t, dump)
		_ = dump.Close()
	}
	f := fault(t, err, codes.SourceUnavailable)
	contains(t, fmt.Sprintf("message (of %v)", f.Err), f.Message, "4000 tables are to be locked, max_locks_per_transaction is 10 with 20 sessions; set it to 402")
}

// The query for references has a limit: it must end also with many objects beside extensions that
// bring operator families.
func TestManyObjectsAreLookedThrough(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, `
CREATE EXTENSION citext; CREATE EXTENSION btree_gist; CREATE EXTENSION hstore; CREATE EXTENSION cube; CREATE EXTENSION ltree; CREATE EXTENSION intarray;
CREATE SCHEMA s; CREATE TABLE s.t (a citext);
DO $$ BEGIN FOR i IN 1 .. 40000 LOOP EXECUTE format('CREATE FUNCTION s.f%s() RETURNS int LANGUAGE sql RETURN %s', i, i); END LOOP; END $$`)
	info, err := dumper(t, pgdump.Config{}).Inspect(t.Context(), job(dsn, export.SQL, "s"))
	if err != nil {
		t.Fatal(err)
	}
	contains(t, "warnings", fmt.Sprint(info.Warnings), "extensions are needed and left out: citext in schema public")
	if warnings := fmt.Sprint(info.Warnings); strings.Contains(warnings, "in time") {
		t.Error(warnings)
	}
}
