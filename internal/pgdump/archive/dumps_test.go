package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
)

// source is the input of the tests: real dumps of a real server.
type source struct {
	rich  map[export.Format][]byte // of testdata/rich.sql
	rows  map[export.Table]int64   // count(*) of its tables
	tiny  map[export.Format][]byte // of two tables, a function and large objects
	large map[export.Format][]byte // of some megabytes of rows
	sizes map[export.Table]int64   // count(*) of the large one's tables
}

var dumped source

var formats = []export.Format{export.SQL, export.Tar, export.Custom, export.Directory}

const tinySchema = `
create schema t;
create table t.a(id int, t text);
insert into t.a values (1, E'x\\.'), (2, null), (3, E'a\nb');
create table t.empty();
create function t.f() returns text language sql as $$ select 'COPY x FROM stdin;
\.
' $$;
select lo_from_bytea(0, 'x'), lo_from_bytea(0, '');`

const largeSchema = `
create schema l;
create table l.short(a int);
insert into l.short select * from generate_series(1, 30000);
create table l.wide(a int, b text, c text);
insert into l.wide select g, repeat(md5(g::text), 5), null from generate_series(1, 2500) g;
create table l.backslashes(a text, b bytea);
insert into l.backslashes select repeat(E'\\.\n', g % 7), decode(md5(g::text), 'hex') from generate_series(1, 2500) g;`

// makeDumps fills dumped.
func makeDumps(ctx context.Context, c *pgcluster.Cluster) error {
	rich, err := os.ReadFile("testdata/rich.sql")
	if err != nil {
		return err
	}
	if dumped.rich, dumped.rows, err = dumps(ctx, c, "rich", string(rich)); err != nil {
		return err
	}
	if dumped.tiny, _, err = dumps(ctx, c, "tiny", tinySchema); err != nil {
		return err
	}
	dumped.large, dumped.sizes, err = dumps(ctx, c, "large", largeSchema)
	return err
}

// dumps loads a schema into a database of its own and dumps it in each format.
func dumps(ctx context.Context, c *pgcluster.Cluster, name, schema string) (map[export.Format][]byte, map[export.Table]int64, error) {
	if err := execute(ctx, "postgres", "create database "+name); err != nil {
		return nil, nil, err
	}
	if err := execute(ctx, name, schema); err != nil {
		return nil, nil, err
	}
	all := make(map[export.Format][]byte)
	for _, f := range formats {
		var err error
		if all[f], err = pgDump(ctx, c, name, f); err != nil {
			return nil, nil, err
		}
	}
	rows, err := countRows(ctx, c.URL(name))
	return all, rows, err
}

func pgDump(ctx context.Context, c *pgcluster.Cluster, database string, f export.Format) ([]byte, error) {
	u, err := url.Parse(c.URL(database))
	if err != nil {
		return nil, err
	}
	var dir string
	if f == export.Directory {
		parent, err := os.MkdirTemp("", "seal")
		if err != nil {
			return nil, err
		}
		defer func() { _ = os.RemoveAll(parent) }()
		dir = filepath.Join(parent, "dump")
	}
	args := map[export.Format][]string{
		export.SQL: {"-Fp"}, export.Tar: {"-Ft"}, export.Custom: {"-Fc", "-Z0"},
		export.Directory: {"-Fd", "-Z0", "-j2", "--no-blobs", "--file=" + dir},
	}[f]
	args = append(args, "--no-owner", "--no-acl", "--no-password")
	cmd := exec.CommandContext(ctx, filepath.Join(c.BinDir, "pg_dump"), args...)
	password, _ := u.User.Password()
	cmd.Env = []string{
		"PGHOST=" + u.Hostname(), "PGPORT=" + u.Port(), "PGUSER=" + u.User.Username(),
		"PGPASSWORD=" + password, "PGDATABASE=" + database, "LC_ALL=C",
	}
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("pg_dump: %w", err)
	}
	if dir != "" {
		return directoryTar(dir)
	}
	return out, nil
}

// directoryTar is a directory archive as an export has it: toc.dat comes last.
func directoryTar(dir string) ([]byte, error) {
	names, err := filepath.Glob(filepath.Join(dir, "[0-9]*.dat"))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range append(names, filepath.Join(dir, "toc.dat")) {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Name: filepath.Base(name), Size: int64(len(data)), Mode: 0o600}); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	err = w.Close() // writes the end
	return b.Bytes(), err
}

// countRows returns the server's count of each table that has rows of its own.
func countRows(ctx context.Context, dsn string) (_ map[export.Table]int64, err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	rows, err := conn.Query(ctx, `select nspname, relname from pg_class c join pg_namespace n on n.oid = relnamespace
		where relkind = 'r' and nspname !~ '^pg_' and nspname <> 'information_schema'`)
	if err != nil {
		return nil, err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowToStructByPos[export.Table])
	if err != nil {
		return nil, err
	}
	counts := make(map[export.Table]int64)
	for _, t := range tables {
		var n int64
		sql := "select count(*) from only " + pgx.Identifier{t.Schema, t.Name}.Sanitize()
		if err := conn.QueryRow(ctx, sql).Scan(&n); err != nil {
			return nil, err
		}
		counts[t] = n
	}
	return counts, nil
}

// sameRows compares contents with the server's counts.
func sameRows(t testing.TB, got export.Contents, want map[export.Table]int64) {
	t.Helper()
	for table, n := range want {
		if have, ok := got.Tables[table]; !ok || have != n {
			t.Errorf("%+v: %d rows (in the dump: %t), the server counts %d", table, have, ok, n)
		}
	}
	for table := range maps.Keys(got.Tables) {
		if _, ok := want[table]; !ok {
			t.Errorf("%+v: the server has no such table", table)
		}
	}
}
