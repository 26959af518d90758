package pgdump_test

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
)

// warmDumper keeps its sessions until the test's end.
func warmDumper(t *testing.T, keep time.Duration) *pgdump.Dumper {
	t.Helper()
	d := dumper(t, pgdump.Config{KeepWarm: keep})
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// dumped runs one dump to its end, including the counting of its rows: Close would interrupt that,
// and then the session is not kept.
func dumped(t *testing.T, d *pgdump.Dumper, j export.DumpJob) {
	t.Helper()
	dump, err := d.Open(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, dump); err != nil {
		t.Error(err)
	}
	if _, err := dump.Rows(t.Context()); err != nil {
		t.Error(err)
	}
	if err := dump.Close(); err != nil {
		t.Error(err)
	}
}

// resting lists the server's states of our sessions in a connection's database.
func resting(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `
SELECT format('%s %s %s', pid, application_name, state) FROM pg_stat_activity a
 WHERE datname = current_database() AND application_name LIKE 'pgcourier%' ORDER BY pid`)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// at waits until the idle sessions are as wanted.
func at(t *testing.T, dsn string, n int) (all []string) {
	t.Helper()
	conn := connect(t, dsn)
	eventually(t, fmt.Sprintf("%d sessions", n), func() bool {
		all = resting(t, conn)
		return len(all) == n
	})
	_ = conn.Close(t.Context())
	return all
}

// The next dump of the same source uses the session of the previous one, without any of its state.
func TestASessionIsKeptWarm(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, simple+`; CREATE SCHEMA own; CREATE TABLE own.t (a int); ALTER TABLE own.t ENABLE ROW LEVEL SECURITY`)
	d := warmDumper(t, time.Minute)
	dumped(t, d, job(dsn, export.SQL, "s"))
	first := at(t, dsn, 1)
	if !strings.HasSuffix(first[0], " pgcourier idle idle") {
		t.Errorf("at rest: %q, want idle and out of any transaction", first)
	}
	limited := job(dsn, export.SQL, "own")
	limited.Project.Role = "pg_read_all_data"
	_, err := d.Open(t.Context(), limited)
	fault(t, err, codes.RowLevelSecurity)
	at(t, dsn, 0) // a session of a failed dump is not kept
	// The next dump does not inherit the role of the last one, and sees all rows.
	limited.Schemas = []string{"s"}
	dumped(t, d, limited)
	dumped(t, d, job(dsn, export.Custom, "own"))
	second := at(t, dsn, 1)
	dumped(t, d, job(dsn, export.Tar, "s"))
	if third := at(t, dsn, 1); third[0] != second[0] {
		t.Errorf("at rest: %q, then %q, want the same session", second, third)
	}
	var held int
	err = connect(t, dsn).QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE pid = split_part($1, ' ', 1)::int`, second[0]).Scan(&held)
	if err != nil || held != 0 {
		t.Errorf("a session at rest holds %d locks, %v", held, err)
	}
}

// A session that was ended meanwhile is replaced, and no dump fails.
func TestAWarmSessionThatIsGone(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, simple)
	d := warmDumper(t, time.Minute)
	dumped(t, d, job(dsn, export.SQL, "s"))
	before := at(t, dsn, 1)
	execute(t, dsn, `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	dumped(t, d, job(dsn, export.SQL, "s"))
	if after := at(t, dsn, 1); after[0] == before[0] {
		t.Error("a session outlived its end")
	}
}

func TestWarmSessionsEnd(t *testing.T) {
	t.Parallel()
	one, two := database(t, cluster, simple), database(t, cluster, simple)
	short := warmDumper(t, 10*time.Millisecond)
	dumped(t, short, job(one, export.SQL, "s"))
	at(t, one, 0)
	long := warmDumper(t, time.Minute)
	dumped(t, long, job(one, export.SQL, "s"))
	dumped(t, long, job(two, export.SQL, "s")) // never with the other source's
	at(t, one, 1)
	at(t, two, 1)
	dump, err := long.Open(t.Context(), job(two, export.SQL, "s"))
	if err != nil {
		t.Fatal(err)
	}
	if err := long.Close(); err != nil {
		t.Fatal(err)
	}
	at(t, one, 0)
	if _, err := io.Copy(io.Discard, dump); err != nil {
		t.Errorf("a dump that was open at the close: %v", err)
	}
	if err := dump.Close(); err != nil {
		t.Fatal(err)
	}
	at(t, two, 0)
	// If the kind of server matters, it is queried each time.
	choosy := warmDumper(t, time.Minute)
	dumped(t, choosy, job(one+"&target_session_attrs=primary", export.SQL, "s"))
	at(t, one, 0)
}

// An idle session is probed every minute while pg_dump works: the kernel's own timer of its
// connection shows when (proc(5): 2 is a keepalive timer, in hundredths of a second).
func TestAnIdleSessionIsProbed(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, simple)
	open(t, pgdump.Config{}, job(dsn, export.SQL, "s"))
	conn := connect(t, dsn)
	pid, port := backend(t, conn, "pgcourier snapshot"), 0
	if err := conn.QueryRow(t.Context(), "SELECT client_port FROM pg_stat_activity WHERE pid = $1", pid).Scan(&port); err != nil {
		t.Fatal(err)
	}
	local := fmt.Sprintf(" 0100007F:%04X ", port)
	var due int64
	eventually(t, "the connection is idle", func() bool {
		b, err := os.ReadFile("/proc/net/tcp")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			// number, local, remote, state, queues, timer
			fields := strings.Fields(line)
			if at := strings.Index(line, local); at < 0 || at > 8 {
				continue
			}
			kind, when, _ := strings.Cut(fields[5], ":")
			due, err = strconv.ParseInt(when, 16, 64)
			return err == nil && kind == "02"
		}
		return false
	})
	if got := time.Duration(due) * 10 * time.Millisecond; got > time.Minute {
		t.Errorf("the next sign of life is due in %s, want a minute at most", got)
	}
}
