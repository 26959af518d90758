package restore_test

import (
	"archive/tar"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/internal/dev/faketool"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// cluster is shared by all tests; each has databases of its own.
var cluster *pgcluster.Cluster

// spoolDir is every Restorer's, unless the test names another.
var spoolDir string

// sourceSQL is the source of most tests: a partitioned table, odd names, and a function that is
// called when the index is built.
const sourceSQL = `
CREATE SCHEMA tenant;
CREATE TABLE tenant.parts (id int, kind text) PARTITION BY LIST (kind);
CREATE TABLE tenant.parts_a PARTITION OF tenant.parts FOR VALUES IN ('a');
CREATE TABLE tenant.parts_b PARTITION OF tenant.parts FOR VALUES IN ('b');
INSERT INTO tenant.parts SELECT i, CASE WHEN i % 3 = 0 THEN 'a' ELSE 'b' END FROM generate_series(1, 3000) i;
CREATE TABLE tenant."it's ""odd"" $x$" (v text, s bigserial);
INSERT INTO tenant."it's ""odd"" $x$" (v) SELECT md5(i::text) || E'\\ \t ü' FROM generate_series(1, 500) i;
CREATE TABLE tenant.empty (v int);
CREATE FUNCTION tenant.twice(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 2 * i; END';
CREATE INDEX ON tenant.parts (tenant.twice(id));
CREATE MATERIALIZED VIEW tenant.kinds AS SELECT kind, count(*) FROM tenant.parts GROUP BY kind;`

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if cluster, err = pgcluster.Start(context.Background(), pgcluster.Config{InMemory: true}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if spoolDir, err = os.MkdirTemp("", "restore-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	// os.Remove removes an empty folder only: no restore may leave anything.
	if err := os.Remove(spoolDir); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := cluster.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var databases atomic.Int64

// database makes a database, runs sql in it and returns its name.
func database(t testing.TB, sql string) string {
	t.Helper()
	name := fmt.Sprintf("t%d", databases.Add(1))
	execute(t, "postgres", "CREATE DATABASE "+name)
	execute(t, name, sql)
	return name
}

func execute(t testing.TB, database, sql string) {
	t.Helper()
	conn := connect(t, database)
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func connect(t testing.TB, database string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), cluster.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func value[T any](t *testing.T, database, sql string) T {
	t.Helper()
	var v T
	conn := connect(t, database)
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return v
}

// dump runs pg_dump as the exporter does.
func dump(t testing.TB, database string, f export.Format, schemas ...string) []byte {
	t.Helper()
	args := []string{"--format=" + map[export.Format]string{export.SQL: "plain", export.Tar: "tar", export.Custom: "custom", export.Directory: "directory"}[f], "--no-owner", "--no-acl"}
	dir := filepath.Join(t.TempDir(), "dump")
	switch f {
	case export.Custom:
		args = append(args, "--compress=0")
	case export.Directory:
		args = append(args, "--compress=0", "--jobs=2", "--file="+dir)
	default:
	}
	for _, s := range schemas {
		args = append(args, `--schema="`+s+`"`)
	}
	cmd, err := cluster.Client(t.Context(), database, "pg_dump", args...)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("pg_dump: %v: %s", err, stderr.String())
	}
	if f == export.Directory {
		return directoryTar(t, dir)
	}
	return out
}

// directoryTar is a directory archive as an export has it: toc.dat comes last.
func directoryTar(t testing.TB, dir string) []byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "[0-9]*.dat"))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range append(names, filepath.Join(dir, "toc.dat")) {
		data, err := os.ReadFile(name)
		if err == nil {
			err = w.WriteHeader(&tar.Header{Name: filepath.Base(name), Size: int64(len(data)), Mode: 0o600})
		}
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// kind is the form of a stored export.
type kind struct {
	format      export.Format
	compression seal.Compression
	identity    *age.X25519Identity
}

// stored is an export in memory. Each opening returns the next of its readings; the last one is
// repeated.
type stored struct {
	restore.Export
	bytes  []byte
	opened atomic.Int64
}

// sealed makes an export of a dump.
func sealed(t testing.TB, plain []byte, k kind, schemas ...string) *stored {
	t.Helper()
	o := seal.Options{Compression: k.compression}
	x := &stored{}
	a := &export.Artifact{Format: k.format, Compression: k.compression, Encryption: seal.Unencrypted, Schemas: schemas, PgDumpVersion: pgDumpVersion(t)}
	if k.identity != nil {
		o.Recipients, a.Encryption, x.Identities = []age.Recipient{k.identity.Recipient()}, seal.Age, []age.Identity{k.identity}
	}
	s, err := seal.New(bytes.NewReader(plain), o)
	if err != nil {
		t.Fatal(err)
	}
	if x.bytes, err = io.ReadAll(s); err != nil {
		t.Fatal(err)
	}
	sum := s.Summary()
	a.SizeBytes, a.StoredBytes, a.SHA256 = sum.PlainBytes, sum.StoredBytes, sum.SHA256
	contents, err := archive.Check(bytes.NewReader(plain), k.format)
	if err != nil {
		t.Fatal(err)
	}
	a.Tables, a.Rows = len(contents.Tables), contents.Rows()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	x.Manifest = export.Manifest{Version: 1, Key: "acme/r.1", Outcome: export.Outcome{State: export.Completed, Artifact: a}}
	x.readings(func([]byte) io.Reader { return bytes.NewReader(x.bytes) })
	return x
}

// readings replaces the readings of each opening.
func (x *stored) readings(next ...func([]byte) io.Reader) {
	x.opened.Store(0)
	x.Open = func(context.Context) (io.ReadCloser, error) {
		n := x.opened.Add(1)
		return io.NopCloser(next[min(int(n), len(next))-1](bytes.Clone(x.bytes))), nil
	}
}

func whole(b []byte) io.Reader { return bytes.NewReader(b) }

func pgDumpVersion(t testing.TB) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(cluster.BinDir, "pg_dump"), "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))[2]
}

func target(t *testing.T, database string) restore.Target {
	t.Helper()
	s, err := libpq.Parse(secret.String(cluster.URL(database)))
	if err != nil {
		t.Fatal(err)
	}
	return restore.Target{Source: s}
}

func restorer(c restore.Config) *restore.Restorer {
	c.Logger = slog.New(slog.DiscardHandler)
	if c.SpoolDir == "" {
		c.SpoolDir = spoolDir
	}
	return restore.New(c)
}

// tool is a folder with a script under the name of a client tool; others are the real ones.
func tool(t *testing.T, which, script string) []string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"psql", "pg_restore"} {
		if err := os.Symlink(filepath.Join(cluster.BinDir, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, which)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	faketool.Install(t, path, "#!/bin/sh\n"+script)
	return []string{dir}
}

func passwordOf(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(cluster.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	return password
}

// group lists the processes of a group.
func group(t *testing.T, id int) []string {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); len(f) > 2 && f[2] == strconv.Itoa(id) && f[0] != "Z" {
			found = append(found, string(b))
		}
	}
	return found
}

// connectTo is connect for a database of any name.
func connectTo(t *testing.T, s *libpq.Source) *pgx.Conn {
	t.Helper()
	ses, err := s.Connect(t.Context(), map[string]string{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ses.Close)
	return ses.Conn
}
