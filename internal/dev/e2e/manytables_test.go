package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/pgtest"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
)

var manyTables = flag.Int("many-tables", 0, "export and restore so many tables with six indexes each beside pg_dump and psql; make many-tables sets it")

// crowded makes tables with a TOAST table and six indexes, some in each transaction, because all
// would not fit into the lock table of a default server.
const crowded = `CREATE SCHEMA tenant;
CREATE PROCEDURE fill(first int, last int) LANGUAGE plpgsql AS $$ BEGIN
  FOR i IN first .. last LOOP
    EXECUTE format('CREATE TABLE tenant.t%s (id int PRIMARY KEY, a int, b text, c text, d int, e int)', i);
    EXECUTE format('CREATE INDEX ON tenant.t%1$s (a); CREATE INDEX ON tenant.t%1$s (b); CREATE INDEX ON tenant.t%1$s (c);
      CREATE INDEX ON tenant.t%1$s (d); CREATE INDEX ON tenant.t%1$s (e)', i);
    EXECUTE format('INSERT INTO tenant.t%s SELECT n, n, n::text, n::text, n, n FROM generate_series(1, 2) n', i);
    IF i % 100 = 0 THEN COMMIT; END IF;
  END LOOP;
END $$`

// A default server accepts any number of tables, and dumps as many as its lock table has room for:
// pg_dump locks each. Above that the export fails and names the setting that helps; with that, it
// completes. The restore goes into a default server.
func TestManyTables(t *testing.T) {
	if *manyTables == 0 {
		t.Skip("run by make many-tables")
	}
	m := &crowd{p: setup(t), binary: built(t), tables: *manyTables}
	m.source, m.target = defaultServer(t), defaultServer(t)
	m.fill()
	m.plain = filepath.Join(t.TempDir(), "plain.sql")
	dumps := m.pgDump()
	w := m.p.startBinary(m.binary, "CONCURRENCY=1", "PROJECT_QUERY=SELECT 'many' AS id, 'many' AS name, true AS active, ARRAY['tenant'] AS schemas, '"+m.source.URL("postgres")+"' AS dsn WHERE $1::text = 'many'")
	if !dumps {
		m.p.request(events.Requested{ProjectID: "many", RequestID: "refused", Format: events.FormatSQL})
		f := m.p.failed("many", "refused", codes.SourceUnavailable, 3)
		t.Logf("the export from a default server: %s: %s", f.Code, f.Message)
		m.enlarge(f.Message)
		if !m.pgDump() {
			t.Fatal("pg_dump fails with the setting that the export's fault names")
		}
	}
	for _, format := range []events.Format{events.FormatSQL, events.FormatCustom} {
		id := "many-" + string(format)
		begun := time.Now()
		m.p.request(events.Requested{ProjectID: "many", RequestID: id, Format: format, Compression: events.CompressionZstd})
		c := m.p.completed("many", id)
		t.Logf("export as %s: %s (dump and count %d ms), worker's peak %d MiB, %d tables, %d rows", format, time.Since(begun).Round(10*time.Millisecond), c.DurationMS, w.peak()>>20, c.Tables, c.Rows)
		if c.Tables != int64(m.tables) || c.Rows != 2*int64(m.tables) {
			t.Errorf("%s: %d rows in %d tables", format, c.Rows, c.Tables)
		}
	}
	w.term()
	w.await()
	m.restores()
}

// crowd is a test with many tables.
type crowd struct {
	p              *platform
	binary         string
	tables         int
	source, target *pgcluster.Cluster
	plain          string // pg_dump's script
}

// defaultServer starts a server with the connections and locks that initdb sets.
func defaultServer(t *testing.T) *pgcluster.Cluster {
	t.Helper()
	return pgtest.Start(t, pgcluster.Config{Settings: map[string]string{"max_connections": "100", "max_locks_per_transaction": "64"}})
}

func (m *crowd) on(c *pgcluster.Cluster, database string, use func(ctx context.Context, conn *pgx.Conn) error) {
	m.p.t.Helper()
	conn, err := pgx.Connect(m.p.ctx, c.URL(database))
	if err == nil {
		err = errors.Join(use(m.p.ctx, conn), conn.Close(m.p.ctx))
	}
	if err != nil {
		m.p.t.Fatal(err)
	}
}

func (m *crowd) fill() {
	m.p.t.Helper()
	m.on(m.source, "postgres", func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, crowded)
		const step = 1000
		for first := 1; first <= m.tables && err == nil; first += step {
			_, err = conn.Exec(ctx, fmt.Sprintf("CALL fill(%d, %d)", first, min(first+step-1, m.tables)))
		}
		return err
	})
}

// run runs a program, logs its time and the peak memory of it and its children, and returns its
// output if it failed.
func (m *crowd) run(what string, cmd *exec.Cmd) (failure string) {
	m.p.t.Helper()
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		m.p.t.Fatal(err)
	}
	ended, peak := make(chan struct{}), make(chan int64)
	go func() {
		look := time.NewTicker(20 * time.Millisecond)
		defer look.Stop()
		for most := int64(0); ; most = max(most, resident(cmd.Process.Pid)) {
			select {
			case <-ended:
				peak <- most
				return
			case <-look.C:
			}
		}
	}()
	err := cmd.Wait()
	close(ended)
	m.p.t.Logf("%s: %s, %d MiB, %v", what, time.Since(begun).Round(10*time.Millisecond), <-peak>>20, err)
	if err != nil {
		return text.String()
	}
	return ""
}

// resident returns the resident memory of a process and its children; 0 when it is gone.
func resident(pid int) (bytes int64) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			bytes = kib << 10
		}
	}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		children, _ := os.ReadFile(list)
		for child := range strings.FieldsSeq(string(children)) {
			if n, err := strconv.Atoi(child); err == nil {
				bytes += resident(n)
			}
		}
	}
	return bytes
}

// pgDump makes the plain script and reports whether pg_dump succeeded.
func (m *crowd) pgDump() bool {
	m.p.t.Helper()
	cmd, err := m.source.Client(m.p.ctx, "postgres", "pg_dump", "--schema=tenant", "--file="+m.plain)
	if err != nil {
		m.p.t.Fatal(err)
	}
	failure := m.run("pg_dump of the source", cmd)
	if failure != "" && !strings.Contains(failure, "max_locks_per_transaction") {
		m.p.t.Fatal(failure)
	}
	return failure == ""
}

// enlarge gives the source the setting that a fault's message names.
func (m *crowd) enlarge(message string) {
	m.p.t.Helper()
	_, value, found := strings.Cut(message, "set it to ")
	n, err := strconv.Atoi(strings.TrimFunc(value, func(r rune) bool { return r < '0' || r > '9' }))
	if !found || err != nil {
		m.p.t.Fatalf("the message names no value: %s", message)
	}
	m.on(m.source, "postgres", func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf("ALTER SYSTEM SET max_locks_per_transaction = %d", n))
		return err
	})
	if err := errors.Join(m.source.Halt(m.p.ctx, "fast"), m.source.Resume(m.p.ctx)); err != nil {
		m.p.t.Fatal(err)
	}
}

// restores restores everything into the default server, and verifies both exports.
func (m *crowd) restores() {
	t := m.p.t
	t.Helper()
	for _, database := range []string{"by_psql", "by_sql", "by_custom"} {
		m.on(m.target, "postgres", func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "CREATE DATABASE "+database)
			return err
		})
	}
	psql, err := m.target.Client(m.p.ctx, "by_psql", "psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--file="+m.plain)
	if err != nil {
		t.Fatal(err)
	}
	if failure := m.run("psql of pg_dump's script", psql); failure != "" {
		t.Error(failure)
	}
	for _, format := range []string{"sql", "custom"} {
		cmd := exec.CommandContext(m.p.ctx, m.binary, "restore", "many-"+format, "--no-transaction")
		cmd.Env = append([]string{"PATH=/usr/bin:/bin"}, m.p.environ("LOG_LEVEL=error", "RESTORE_URL="+m.target.URL("by_"+format))...)
		if failure := m.run("pgcourier restore --no-transaction of "+format, cmd); failure != "" {
			t.Error(failure)
		}
	}
	for _, database := range []string{"by_psql", "by_sql", "by_custom"} {
		m.on(m.target, database, func(ctx context.Context, conn *pgx.Conn) error {
			var tables, indexes int
			err := conn.QueryRow(ctx, `SELECT count(*) FILTER (WHERE relkind = 'r'), count(*) FILTER (WHERE relkind = 'i')
				FROM pg_class WHERE relnamespace = 'tenant'::regnamespace`).Scan(&tables, &indexes)
			if err == nil && (tables != m.tables || indexes != 6*m.tables) {
				err = fmt.Errorf("%s has %d tables and %d indexes", database, tables, indexes)
			}
			return err
		})
	}
	for _, format := range []string{"sql", "custom"} {
		cmd := exec.CommandContext(m.p.ctx, m.binary, "verify", "many-"+format, "--restore")
		cmd.Env = append([]string{"PATH=/usr/bin:/bin"}, m.p.environ("LOG_LEVEL=error", "SANDBOX=off")...)
		if failure := m.run("pgcourier verify --restore of "+format, cmd); failure != "" {
			t.Error(failure)
		}
	}
}
