package pgdump_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// backend is the process id of a session of ours on a database.
func backend(t *testing.T, conn *pgx.Conn, application string) (pid int) {
	t.Helper()
	err := conn.QueryRow(t.Context(), `
SELECT pid FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE $1`, application+" %").Scan(&pid)
	if err != nil {
		t.Fatalf("look for %s: %v", application, err)
	}
	return pid
}

func TestABackendThatIsTerminatedIsAFailure(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			// A TOAST row is read by an index, and waits while that index is rebuilt. The formats
			// with a spool do not report their progress, and continue without a reader.
			dsn := database(t, cluster, large+`;
CREATE TABLE big.apart (pad text); ALTER TABLE big.apart ALTER pad SET STORAGE EXTERNAL; INSERT INTO big.apart VALUES (repeat('x', 10000))`)
			conn, holder := connect(t, dsn), connect(t, dsn)
			var apart string
			if err := conn.QueryRow(t.Context(), "SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'big.apart'::regclass").Scan(&apart); err != nil {
				t.Fatal(err)
			}
			if _, err := holder.Exec(t.Context(), "BEGIN; REINDEX TABLE "+apart); err != nil {
				t.Fatal(err)
			}
			dump := open(t, pgdump.Config{}, job(dsn, f, "big"))
			eventually(t, "pg_dump waits for the row", func() bool {
				var ended bool
				err := conn.QueryRow(t.Context(), `
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'pgcourier dump %' AND wait_event_type = 'Lock'`).Scan(&ended)
				if err != nil && !errors.Is(err, pgx.ErrNoRows) {
					t.Fatal(err)
				}
				return ended
			})
			if _, err := holder.Exec(t.Context(), "ROLLBACK"); err != nil {
				t.Fatal(err)
			}
			if f := fault(t, readUntilError(t, dump), codes.DumpFailed); f.Code.Permanent() {
				t.Errorf("%s is permanent", f.Code)
			}
		})
	}
}

// The end of pg_dump's backend alone has several causes; with the end of the snapshot's backend the
// cause is clear.
func TestTwoTerminatedSessionsAreAFaultOfTheSource(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, large)
	conn := connect(t, dsn)
	dump := open(t, pgdump.Config{}, job(dsn, export.SQL, "big"))
	read(t, dump, 5000)
	for _, application := range []string{"pgcourier snapshot", "pgcourier dump"} {
		if _, err := conn.Exec(t.Context(), "SELECT pg_terminate_backend($1)", backend(t, conn, application)); err != nil {
			t.Fatal(err)
		}
	}
	fault(t, readUntilError(t, dump), codes.SourceUnavailable)
}

// A pg_dump that does not react to SIGTERM is killed, and the server is told to end its session.
func TestAPgDumpThatIsKilledLeavesNoBackend(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, large)
	dump := open(t, pgdump.Config{KillDelay: 50 * time.Millisecond}, job(dsn, export.SQL, "big"))
	read(t, dump, 5000)
	pid := pgdump.ProcessID(dump)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := dump.Close(); err != nil {
		t.Fatal(err)
	}
	if left := group(t, pid); len(left) != 0 {
		t.Errorf("processes left: %q", left)
	}
	noSessionIsLeft(t, dsn)
}

func TestEarlyCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			dsn := database(t, cluster, large)
			dump := open(t, pgdump.Config{}, job(dsn, f, "big"))
			pid := pgdump.ProcessID(dump)
			if f == export.SQL {
				read(t, dump, 5000)
			}
			if err := dump.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if left := group(t, pid); len(left) != 0 {
				t.Errorf("processes left: %q", left)
			}
			noSessionIsLeft(t, dsn)
		})
	}
}

// Between our locks and pg_dump's another session can queue for the table. pg_dump then waits
// behind it, and it waits behind us.
func TestALockThatIsAwaitedIsALockTimeout(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, simple)
	conn := connect(t, dsn)
	// The fake gives the writer time to queue, then waits for the lock as pg_dump would, and gives
	// up like pg_dump.
	release := filepath.Join(t.TempDir(), "release")
	dump := open(t, pgdump.Config{BinDirs: fake(t, "until [ -e "+release+" ]; do sleep 0.01; done; exit 1")}, job(dsn, export.SQL, "s"))
	queued := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "TRUNCATE s.t")
		queued <- err
	}()
	watcher := connect(t, dsn)
	eventually(t, "the writer waits", func() bool {
		var n int
		err := watcher.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 's.t'::regclass`).Scan(&n)
		return err == nil && n == 1
	})
	if err := os.WriteFile(release, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fault(t, readUntilError(t, dump), codes.LockTimeout)
	if err := dump.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-queued; err != nil {
		t.Errorf("the writer: %v, want it to continue after Close", err)
	}
}

// pg_dump waits in pg_get_viewdef for another session's lock, where its own timeout does not apply.
func TestAViewThatIsHeldIsALockTimeout(t *testing.T) {
	t.Parallel()
	for name, hold := range map[string]string{
		"a materialized view is refreshed": "REFRESH MATERIALIZED VIEW s.m",
		"a view is replaced":               "CREATE OR REPLACE VIEW s.v AS SELECT 2 AS n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := database(t, cluster, simple+`;
CREATE VIEW s.v AS SELECT 1 AS n; CREATE MATERIALIZED VIEW s.m AS SELECT 1 AS n`)
			conn := connect(t, dsn)
			if _, err := conn.Exec(t.Context(), "BEGIN; "+hold); err != nil {
				t.Fatal(err)
			}
			dump := open(t, pgdump.Config{LockWaitTimeout: 100 * time.Millisecond}, job(dsn, export.SQL, "s"))
			f := fault(t, readUntilError(t, dump), codes.LockTimeout)
			contains(t, "message", f.Message, `another session holds "s"."`)
			contains(t, "message", f.Message, `ago, its state is "idle in transaction"`)
			if err := dump.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// After a TRUNCATE between the snapshot and the locks the dump would be empty, and the counts would
// agree.
func TestATableRewrittenWhileTheDumpBeginsIsNoticed(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, simple)
	conn := connect(t, dsn)
	if _, err := conn.Exec(t.Context(), "BEGIN; TRUNCATE s.t"); err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	d := dumper(t, pgdump.Config{})
	go func() {
		dump, err := d.Open(t.Context(), job(dsn, export.SQL, "s"))
		if err == nil {
			err = dump.Close()
		}
		result <- err
	}()
	watcher := connect(t, dsn)
	eventually(t, "Open waits for the lock", func() bool {
		var waits bool // pg_dump may wait beside it
		err := watcher.QueryRow(t.Context(), `
SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
 WHERE NOT granted AND relation = 's.t'::regclass AND application_name LIKE 'pgcourier snapshot%')`).Scan(&waits)
		if err != nil {
			t.Fatal(err)
		}
		return waits
	})
	if _, err := conn.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	f := fault(t, <-result, codes.SourceUnavailable)
	contains(t, "message", f.Message, "rewritten")
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, large)
	dump := open(t, pgdump.Config{Timeout: time.Millisecond}, job(dsn, export.Tar, "big"))
	fault(t, readUntilError(t, dump), codes.DumpTimeout)
	if _, err := dump.Rows(t.Context()); err != nil {
		fault(t, err, codes.DumpTimeout)
	}
	if !codes.DumpTimeout.Permanent() || codes.DumpStalled.Permanent() {
		t.Error("a timeout is permanent, a stall is not")
	}
}

// restrictKey is random for each plain dump.
var restrictKey = regexp.MustCompile(`(?m)^\\(un)?restrict .*$`)

// alone is pg_dump's script of one schema, with these settings of the server.
func alone(t *testing.T, dsn, schema, settings string) []byte {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	versions := dumper(t, pgdump.Config{}).Versions()
	cmd := exec.CommandContext(t.Context(), versions[len(versions)-1].Path, "--no-owner", "--no-acl", "--no-tablespaces", `--schema="`+schema+`"`)
	cmd.Env = []string{
		"PGHOST=" + u.Hostname(), "PGPORT=" + u.Port(), "PGUSER=postgres", "PGPASSWORD=" + password,
		"PGDATABASE=" + strings.Trim(u.Path, "/"), "PGOPTIONS=" + settings,
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return restrictKey.ReplaceAll(out, nil)
}

func TestWithOtherPlansTheDumpIsTheSame(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, rich(t))
	without, with := alone(t, dsn, "s", "-c enable_mergejoin=off -c jit=off"), alone(t, dsn, "s", "")
	if len(with) < 1000 || !bytes.Equal(with, without) {
		t.Error("the dumps differ")
	}
	ours, err := io.ReadAll(open(t, pgdump.Config{}, job(dsn, export.SQL, "s")))
	if err != nil || !bytes.Equal(restrictKey.ReplaceAll(ours, nil), with) {
		t.Errorf("ours differs from pg_dump's: %v", err)
	}
}

// Only options for what the database lacks are given to pg_dump: our dump equals that of a pg_dump
// without them. A label can only be made by a provider's library, so the test inserts one into the
// catalogue.
func TestCommentsAndLabelsAreDumpedWhereThereAreAny(t *testing.T) {
	t.Parallel()
	const label = `SET allow_system_table_mods = on; INSERT INTO pg_seclabel VALUES ('s.t'::regclass, 'pg_class'::regclass, 0, 'selinux', 'secret');`
	// An object that was made in single-user mode has such an oid.
	const early = `CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; COMMENT ON FUNCTION s.f() IS 'mine'; SET allow_system_table_mods = on;
UPDATE pg_depend SET objid = 15999 WHERE classid = 'pg_proc'::regclass AND objid = 's.f'::regproc;
UPDATE pg_description SET objoid = 15999 WHERE classoid = 'pg_proc'::regclass AND objoid = 's.f'::regproc;
UPDATE pg_proc SET oid = 15999 WHERE oid = 's.f'::regproc;`
	for name, c := range map[string]struct{ more, schema, holds, lacks string }{
		"an early object":          {more: early, schema: "s", holds: "COMMENT ON FUNCTION s.f() IS 'mine'", lacks: "SECURITY LABEL"},
		"neither":                  {schema: "s", lacks: "COMMENT ON"},
		"a table's comment":        {more: "COMMENT ON TABLE s.t IS 'mine'", schema: "s", holds: "COMMENT ON TABLE s.t IS 'mine'", lacks: "SECURITY LABEL"},
		"a schema's comment":       {more: "COMMENT ON SCHEMA s IS 'mine'", schema: "s", holds: "COMMENT ON SCHEMA s IS 'mine'"},
		"another schema's comment": {more: "CREATE SCHEMA o; COMMENT ON SCHEMA o IS 'other'", schema: "s", lacks: "COMMENT ON"},
		"the comment of initdb":    {schema: "public", holds: "COMMENT ON SCHEMA public IS 'standard public schema'"},
		"public's own comment":     {more: "COMMENT ON SCHEMA public IS 'mine'", schema: "public", holds: "COMMENT ON SCHEMA public IS 'mine'"},
		"public by another name":   {more: "ALTER SCHEMA public RENAME TO r; COMMENT ON SCHEMA r IS 'mine'", schema: "r", holds: "COMMENT ON SCHEMA r IS 'mine'"},
		"a label":                  {more: label, schema: "s", holds: "SECURITY LABEL FOR selinux ON TABLE s.t IS 'secret'", lacks: "COMMENT ON"},
		"both":                     {more: label + "COMMENT ON COLUMN s.t.a IS 'mine'", schema: "s", holds: "COMMENT ON COLUMN s.t.a IS 'mine'"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := database(t, cluster, simple+";"+c.more)
			b, err := io.ReadAll(open(t, pgdump.Config{}, job(dsn, export.SQL, c.schema)))
			ours, want := restrictKey.ReplaceAll(b, nil), alone(t, dsn, c.schema, "")
			if err != nil || !bytes.Equal(ours, want) {
				t.Errorf("ours, %v, is\n%s\npg_dump's is\n%s", err, ours, want)
			}
			if !bytes.Contains(ours, []byte(c.holds)) {
				t.Errorf("%q is missing", c.holds)
			}
			if c.lacks != "" && bytes.Contains(ours, []byte(c.lacks)) {
				t.Errorf("%q is there", c.lacks)
			}
		})
	}
}

func TestPgDumpIsPinnedToTheServerOfTheSnapshot(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, simple)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	// The first host does not answer; each of our connections finds the second in its own way.
	u.Host = "127.0.0.1:1,localhost:" + u.Port()
	contents, err := archive.Check(open(t, pgdump.Config{}, job(u.String(), export.SQL, "s")), export.SQL)
	if err != nil || contents.Rows() != 3 {
		t.Errorf("contents = %v, %v; want 3 rows", contents, err)
	}
	u.RawQuery += "&target_session_attrs=prefer-standby"
	contents, err = archive.Check(open(t, pgdump.Config{}, job(u.String(), export.SQL, "s")), export.SQL)
	if err != nil || contents.Rows() != 3 {
		t.Errorf("prefer-standby: contents = %v, %v; want 3 rows of the primary", contents, err)
	}
}

func TestATableHeldWhileMeasuredIsLeftOut(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, simple)
	conn := connect(t, dsn)
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE s.t IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	d := dumper(t, pgdump.Config{})
	go func() {
		dump, err := d.Open(t.Context(), job(dsn, export.SQL, "s"))
		if err == nil {
			_, err = io.Copy(io.Discard, dump)
			_ = dump.Close()
		}
		result <- err
	}()
	watcher := connect(t, dsn)
	eventually(t, "Open waits for its own lock, not for the size", func() bool {
		var waits bool // pg_dump may wait beside it
		err := watcher.QueryRow(t.Context(), `
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE%'
   AND datname = current_database() AND application_name LIKE 'pgcourier snapshot%')`).Scan(&waits)
		if err != nil {
			t.Fatal(err)
		}
		return waits
	})
	if _, err := conn.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// A worker on a machine that vanished closes no connection. The next attempt of the same request
// ends its sessions, and no session of another request.
func TestANewAttemptEndsTheSessionsOfALostOne(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, large)
	first, other := job(dsn, export.SQL, "big"), job(dsn, export.SQL, "big")
	first.ID, first.Attempt = anyID(), 1
	other.ID, other.Attempt = anyID(), 1
	lost, bystander := open(t, pgdump.Config{}, first), open(t, pgdump.Config{}, other)
	read(t, lost, 5000)
	read(t, bystander, 5000)
	same := first // another installation's, on the same server
	same.Project.DSN = job(database(t, cluster, large), export.SQL, "big").Project.DSN
	elsewhere := open(t, pgdump.Config{}, same)
	read(t, elsewhere, 5000)
	if n := sessions(t, connect(t, dsn)); n != 4 {
		t.Fatalf("%d sessions of two dumps, want 4", n)
	}
	second := first
	second.Attempt = 2
	next := open(t, pgdump.Config{}, second)
	if _, err := io.Copy(io.Discard, next); err != nil {
		t.Errorf("the second attempt: %v", err)
	}
	fault(t, readUntilError(t, lost), codes.SourceUnavailable)
	if _, err := io.Copy(io.Discard, bystander); err != nil {
		t.Errorf("the other request: %v", err)
	}
	if _, err := io.Copy(io.Discard, elsewhere); err != nil {
		t.Errorf("the same request in another database: %v", err)
	}
}

// The sessions of a request that no worker will end are ended too, although no further attempt is
// made.
func TestTheSessionsOfALostRequestAreEnded(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, large)
	j := job(dsn, export.SQL, "big")
	j.ID, j.Attempt = anyID(), 3
	d := dumper(t, pgdump.Config{})
	lost, err := d.Open(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lost.Close() })
	read(t, lost, 5000)
	if err := d.EndAttempts(t.Context(), j.Project, anyID(), 3); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, dsn)
	eventually(t, "only the sessions of the dump are there", func() bool { return sessions(t, conn) == 2 })
	if err := d.EndAttempts(t.Context(), j.Project, j.ID, 3); err != nil {
		t.Fatal(err)
	}
	fault(t, readUntilError(t, lost), codes.SourceUnavailable)
	noSessionIsLeft(t, dsn)
}

// The server probes the snapshot's idle session: a client that vanished without a FIN is noticed
// within half a minute, and not after the kernel's two hours.
func TestTheServerProbesAnIdleSnapshot(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, large)
	open(t, pgdump.Config{}, job(dsn, export.SQL, "big"))
	var port int
	err := connect(t, dsn).QueryRow(t.Context(), `
SELECT client_port FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'pgcourier snapshot%'`).Scan(&port)
	if err != nil {
		t.Fatal(err)
	}
	var timer string
	eventually(t, "the session is idle", func() bool {
		table, err := os.ReadFile("/proc/net/tcp")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(table)) {
			f := strings.Fields(line) // proc(5): 1 local and 2 remote address, 5 timer:when
			if strings.HasSuffix(f[1], fmt.Sprintf(":%04X", cluster.Port)) && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", port)) {
				timer = f[5]
			}
		}
		return strings.HasPrefix(timer, "02:") // keepalive
	})
	const ticks = 100 // a second, USER_HZ
	if when, err := strconv.ParseInt(timer[3:], 16, 64); err != nil || when > 15*ticks {
		t.Errorf("the next probe is in %s ticks (%v), want at most 15 s", timer[3:], err)
	}
}

// The server makes the text of a row in one piece of at most 1 GB.
func TestARowAboveTheServersLimitIsNamed(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, simple+`
CREATE TABLE s.large (id int, content bytea);
INSERT INTO s.large SELECT 1, decode(repeat('00', 200000000), 'hex');
UPDATE s.large SET content = content || content || content`)
	dump := open(t, pgdump.Config{}, job(dsn, export.SQL, "s"))
	f := fault(t, readUntilError(t, dump), codes.RowTooLarge)
	contains(t, "message", f.Message, `a row of "s"."large" is above the 1 GB`)
}
