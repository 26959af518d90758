package archive_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

var cluster *pgcluster.Cluster

// tenants are schemas of the database "tenants", made from testdata/tenant.sql, each with every
// kind of object. A parser with faults mistakes their names.
var tenants = []string{
	"acme", "Acme", "acme_2", `quote"d`, "single'quote", "line\nbreak", "-- comment", `back\slash`, "sp ace ", ".", "*",
	`"`, "$1", "Grüße 東京", "SCHEMA acme", "public; DROP TABLE x",
}

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.fuzzworker").Value.String() == "true" {
		os.Exit(m.Run()) // it is killed in the end, and needs no server
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	if cluster, err = pgcluster.Start(ctx, pgcluster.Config{InMemory: true}); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, cluster.Stop(), goleak.Find()) }()
	tenant, err := os.ReadFile("testdata/tenant.sql")
	if err != nil {
		return 1, err
	}
	across, err := os.ReadFile("testdata/across.sql")
	if err != nil {
		return 1, err
	}
	var script strings.Builder
	script.WriteString("CREATE ROLE reader;")
	for _, name := range tenants {
		script.WriteString(strings.ReplaceAll(string(tenant), "TENANT", pgx.Identifier{name}.Sanitize()))
	}
	script.WriteString(`CREATE SCHEMA nothing; CREATE SCHEMA odds;
		CREATE MATERIALIZED VIEW odds.unpopulated AS SELECT 1 AS a WITH NO DATA;
		CREATE TABLE public.t (a int); COMMENT ON SCHEMA public IS 'everybody''s';`)
	script.WriteString(string(across))
	if err := execute(ctx, "postgres", "CREATE DATABASE tenants"); err != nil {
		return 1, err
	}
	if err := execute(ctx, "tenants", script.String()); err != nil {
		return 1, err
	}
	if err := makeDumps(ctx, cluster); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

func execute(ctx context.Context, database, sql string) error {
	conn, err := pgx.Connect(ctx, cluster.URL(database))
	if err != nil {
		return err
	}
	_, err = conn.PgConn().Exec(ctx, sql).ReadAll()
	return errors.Join(err, conn.Close(ctx))
}

// tool runs one of PostgreSQL's and returns what it wrote.
func tool(t testing.TB, in io.Reader, database, name string, args ...string) []byte {
	t.Helper()
	cmd, err := cluster.Client(t.Context(), database, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	var out, words bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &words
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v: %s", filepath.Base(cmd.Path), err, words.String())
	}
	return out.Bytes()
}

func selected(args []string, schemas ...string) []string {
	for _, name := range schemas {
		args = append(args, "--schema="+pgx.Identifier{name}.Sanitize())
	}
	return args
}

// dumpGroup is one archive of all these schemas, and its index.
func dumpGroup(t testing.TB, args []string, schemas ...string) (*bytes.Reader, *archive.Index) {
	t.Helper()
	b := tool(t, nil, "tenants", "pg_dump", selected(append([]string{"--format=custom", "--compress=0", "--strict-names"}, args...), schemas...)...)
	return bytes.NewReader(b), indexOf(t, b)
}

func indexOf(t testing.TB, b []byte) *archive.Index {
	t.Helper()
	x := archive.NewIndexer()
	if _, err := x.Write(b); err != nil {
		t.Fatal(err)
	}
	index, err := x.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// apart makes each schema a project of its own.
func apart(schemas []string) (projects [][]string) {
	for _, name := range schemas {
		projects = append(projects, []string{name})
	}
	return projects
}

func split(t testing.TB, r io.ReaderAt, x *archive.Index, projects [][]string) []*archive.Part {
	t.Helper()
	parts, err := archive.Split(r, x, projects)
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

// changing is the difference between two dumps of the same content: a random key.
var changing = regexp.MustCompile(`(?m)^\\(un)?restrict \w+$`)

func script(b []byte) string { return string(changing.ReplaceAll(b, []byte(`\${1}restrict`))) }

// differ returns the place where two texts differ.
func differ(t *testing.T, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Fatalf("line %d of %d:\n got %q\nwant %q\nafter %q", i+1, len(w), g[i:min(i+6, len(g))], w[i:min(i+6, len(w))], g[max(0, i-6):i])
		}
	}
	t.Fatalf("%d lines, want %d", len(g), len(w))
}
