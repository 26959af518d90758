package pgdump_test

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/pgdump"
)

// cluster is shared by all tests except those that stop a server; each has databases of its own.
var cluster *pgcluster.Cluster

func TestMain(m *testing.M) {
	if os.Getenv(initVariable) != "" {
		if err := beInit(); err != nil {
			fmt.Println(err)
		}
		return
	}
	if dsn := os.Getenv(workerVariable); dsn != "" {
		beWorker(dsn)
		return
	}
	if dsn := os.Getenv(fillVariable); dsn != "" {
		os.Exit(fillSpool(dsn))
	}
	flag.Parse()
	if flag.Lookup("test.fuzzworker").Value.String() == "true" {
		os.Exit(m.Run()) // it is killed in the end, and needs no server
	}
	var err error
	if cluster, err = pgcluster.Start(context.Background(), pgcluster.Config{InMemory: true}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	pgdump.SetReferenceWait("1min") // a busy machine may take more than the 5 s
	code := m.Run()
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

// database makes an empty database, runs sql in it and returns its URL.
func database(t *testing.T, c *pgcluster.Cluster, sql string) string {
	t.Helper()
	name := fmt.Sprintf("t%d", databases.Add(1))
	admin := c.URL("postgres")
	execute(t, admin, "CREATE DATABASE "+name)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		conn, err := pgx.Connect(ctx, admin)
		if err != nil {
			return // the test's own cluster is gone
		}
		defer func() { _ = conn.Close(ctx) }()
		_, _ = conn.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
	})
	dsn := c.URL(name)
	if sql != "" {
		execute(t, dsn, sql)
	}
	return dsn
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func execute(t testing.TB, dsn, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

var formats = []export.Format{export.SQL, export.Tar, export.Custom, export.Directory}

// dumper is a Dumper with defaults for the tests.
func dumper(t *testing.T, c pgdump.Config) *pgdump.Dumper {
	t.Helper()
	if c.Spool == nil {
		c.Spool = area(t, t.TempDir())
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	d, err := pgdump.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// job is a dump of schemas of a database.
func job(dsn string, f export.Format, schemas ...string) export.DumpJob {
	return export.DumpJob{
		Project: export.Project{ID: "acme", DSN: export.Secret(dsn)}, Schemas: schemas, Format: f,
	}
}

// open starts a dump that the test's end closes.
// anyID returns the ID of a request that no other test has: an attempt ends the sessions of earlier
// ones on the whole cluster.
func anyID() export.ID { return export.ID{Project: "acme", Request: rand.Text()} }

func open(t *testing.T, c pgdump.Config, j export.DumpJob) export.Dump {
	t.Helper()
	dump, err := dumper(t, c).Open(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dump.Close() })
	return dump
}

// fault returns the Fault in err, which must have this code.
func fault(t *testing.T, err error, code codes.Code) export.Fault {
	t.Helper()
	f, ok := errors.AsType[*export.Fault](err)
	if !ok || f.Code != code {
		t.Fatalf("error = %v, want a fault with code %s", err, code)
	}
	return *f
}

// readUntilError reads to the end and returns its error, which must not be io.EOF.
func readUntilError(t *testing.T, r io.Reader) error {
	t.Helper()
	n, err := io.Copy(io.Discard, r)
	if err == nil {
		t.Fatalf("the dump ended well after %d bytes", n)
	}
	if _, again := r.Read(make([]byte, 1)); again == nil || again.Error() != err.Error() {
		t.Fatalf("second error = %v, want %v again", again, err)
	}
	return err
}

// eventually waits for a condition outside this process.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Minute) // of a test that fails
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(5 * time.Millisecond) // between two looks at another process
	}
}

// group lists the processes of a group, except those that only wait to be reaped.
func group(t *testing.T, id int) (found []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:])) // state, parent, group
		if fields[0] != "Z" && fields[2] == strconv.Itoa(id) {
			found = append(found, string(b))
		}
	}
	return found
}

// noSessionIsLeft waits for the end of our dumps' sessions on a database. It uses one connection:
// the server ends a connection with a delay, and accepts a limited number.
func noSessionIsLeft(t *testing.T, dsn string) {
	t.Helper()
	conn := connect(t, dsn)
	eventually(t, "no session is left", func() bool { return sessions(t, conn) == 0 })
	_ = conn.Close(t.Context())
}

// sessions counts the sessions of our dumps on a connection's database.
func sessions(t *testing.T, conn *pgx.Conn) int {
	t.Helper()
	var n int
	err := conn.QueryRow(t.Context(), `
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'pgcourier%'`).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// large is a table whose dump fills every buffer many times.
const large = `
CREATE SCHEMA big;
CREATE TABLE big.t AS SELECT i, repeat('x', 1000) AS pad FROM generate_series(1, 40000) i;
CREATE TABLE big.small AS SELECT 1 AS a;`

// read takes some bytes, so that the dump is under way.
func read(t *testing.T, d io.Reader, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(d, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func contains(t *testing.T, what, s, substr string) {
	t.Helper()
	if !strings.Contains(s, substr) {
		t.Errorf("%s = %q, want %q in it", what, s, substr)
	}
}
