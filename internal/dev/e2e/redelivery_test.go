package e2e_test

import (
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
)

func TestAnExportLongerThanAckWaitIsDeliveredOnce(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start("ACK_WAIT=5s", "LOCK_TIMEOUT=5m", "TIMEOUT=10m")
	p.start("ACK_WAIT=5s", "LOCK_TIMEOUT=5m", "TIMEOUT=10m") // would take a second delivery
	holder := p.sql()
	tx, err := holder.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "LOCK TABLE tenant_globex.parts IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	id := p.request(events.Requested{ProjectID: "globex"})
	looker := p.sql() // within one transaction pg_stat_activity does not change
	waiting := func() (n int) {
		err := looker.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
			WHERE relation = 'tenant_globex.parts'::regclass AND NOT granted AND application_name LIKE 'pgcourier dump %'`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	eventually(t, "the export waits for the lock", func() bool { return waiting() == 1 })
	const long = 20 * time.Second // four times AckWait: all three deliveries would be used up
	<-time.After(long)
	if n := waiting(); n != 1 {
		t.Errorf("%d exports wait for the lock after %s, want 1", n, long)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := p.completed("globex", id)
	if d := time.Duration(c.DurationMS) * time.Millisecond; c.Attempt != 1 || d < long {
		t.Errorf("completed in attempt %d after %s", c.Attempt, d)
	}
	p.settled()
	info := p.consumer(events.StreamRequests, events.ConsumerExport)
	if info.Delivered.Consumer != 1 || info.NumRedelivered != 0 {
		t.Errorf("%d deliveries, %d of them again; want 1 and 0", info.Delivered.Consumer, info.NumRedelivered)
	}
	if a := p.attempts("globex", id); len(a) != 1 || a[0].Delivery != 1 {
		t.Errorf("attempts are %+v", a)
	}
}

// copying waits for a pg_dump in the middle of a table and returns its server process.
func (p *platform) copying() (backend int) {
	p.t.Helper()
	conn := p.sql()
	eventually(p.t, "a dump copies a table", func() bool {
		rows := conn.QueryRow(p.t.Context(), `SELECT pid FROM pg_stat_progress_copy JOIN pg_stat_activity USING (pid)
			WHERE application_name LIKE 'pgcourier dump %' AND bytes_processed > 1000000 AND pg_stat_activity.datname = current_database()`)
		return rows.Scan(&backend) == nil
	})
	return backend
}

// freeze stops a server process until the returned function is called.
func (p *platform) freeze(backend int) (thaw func()) {
	p.t.Helper()
	if err := syscall.Kill(backend, syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
	thawed := false
	thaw = func() {
		if !thawed {
			thawed = true
			_ = syscall.Kill(backend, syscall.SIGCONT)
		}
	}
	p.t.Cleanup(thaw)
	return thaw
}

// bulk makes a dump of so many megabytes from a table that is small on disk.
func (p *platform) bulk(megabytes int) {
	p.t.Helper()
	p.exec("CREATE TABLE tenant_globex.bulk AS SELECT n, repeat('0123456789', 10000) AS pad FROM generate_series(1, " + strconv.Itoa(megabytes*10) + ") n")
}

// holdBulk makes such a table, and holds dumps in it.
func (p *platform) holdBulk() (release func()) {
	p.t.Helper()
	p.holdable()
	return p.hold()
}

// holdable makes a table of 20 MB in which hold can stop dumps: one row in the middle is in the
// TOAST table.
func (p *platform) holdable() {
	p.t.Helper()
	p.bulk(10)
	p.exec("ALTER TABLE tenant_globex.bulk ALTER pad SET STORAGE EXTERNAL; INSERT INTO tenant_globex.bulk SELECT 0, repeat('x', 10000);" +
		"ALTER TABLE tenant_globex.bulk ALTER pad SET STORAGE EXTENDED; INSERT INTO tenant_globex.bulk SELECT n, repeat('0123456789', 10000) FROM generate_series(101, 200) n")
}

// hold stops each dump of the table of holdable until release is called: the TOAST row is read by
// an index that is being built. Workers need a LOCK_TIMEOUT.
func (p *platform) hold() (release func()) {
	p.t.Helper()
	conn := p.sql()
	var apart string
	if err := conn.QueryRow(p.t.Context(), "SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'tenant_globex.bulk'::regclass").Scan(&apart); err != nil {
		p.t.Fatal(err)
	}
	tx, err := conn.Begin(p.t.Context())
	if err == nil {
		_, err = tx.Exec(p.t.Context(), "REINDEX TABLE "+apart)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return func() {
		p.t.Helper()
		if err := tx.Rollback(p.t.Context()); err != nil {
			p.t.Fatal(err)
		}
	}
}

func TestAKilledWorkersExportIsFinishedByAnother(t *testing.T) {
	t.Parallel()
	p := setup(t)
	release := p.holdBulk()
	first := p.start("CONCURRENCY=1", "ACK_WAIT=5s", "LOCK_TIMEOUT=5m")
	id := p.request(events.Requested{ProjectID: "globex", Compression: events.CompressionNone})
	thaw := p.freeze(p.copying())
	eventually(t, "bytes are in staging", func() bool { return len(p.staged()) == 1 })
	left := p.staged()[0]
	if len(p.dumps()) != 1 {
		t.Fatalf("pg_dumps are %v, want one", p.dumps())
	}
	second := p.start("CONCURRENCY=1", "ACK_WAIT=5s", "LOCK_TIMEOUT=5m")
	first.kill()
	eventually(t, "the killed worker's pg_dump is gone", func() bool { return len(p.dumps()) == 0 })
	thaw()
	release()
	c := p.completed("globex", id)
	if c.Attempt != 2 || !strings.HasSuffix(keyOf(t, c), "/"+id+".2.sql") {
		t.Errorf("completed in attempt %d, stored as %s", c.Attempt, keyOf(t, c))
	}
	p.checkWhole(c)
	attempts := p.attempts("globex", id)
	if len(attempts) != 2 || attempts[0].Result != "superseded" || attempts[1].Result != "completed" || attempts[1].Delivery != 2 {
		t.Errorf("attempts are %+v", attempts)
	}
	eventually(t, "the first attempt's staging file is gone", func() bool { return len(p.staged()) == 0 })
	if second.ended() || p.stored()[0] != "globex/"+id+".2.sql" {
		t.Errorf("stored are %q; the first attempt left %s", p.stored(), left)
	}
}

func TestATerminatedWorkerFinishesWhatRuns(t *testing.T) {
	t.Parallel()
	p := setup(t)
	g := newGate(t, "tenant_acme")
	addr := freeAddress(t)
	w := p.start("CONCURRENCY=2", "PG_BIN_DIR="+g.dir, "HTTP_ADDR="+addr)
	ready := func() bool {
		status, _ := get(t, "http://"+addr+"/readyz")
		return status == http.StatusOK
	}
	eventually(t, "the worker answers about its health", func() bool { return answers(addr) })
	eventually(t, "the worker is ready", ready)
	running := p.request(events.Requested{ProjectID: "acme"})
	g.awaitHeld(1)
	w.term()
	eventually(t, "the worker heard the signal", func() bool { return !ready() })
	eventually(t, "the worker pulls no more", func() bool {
		return p.consumer(events.StreamRequests, events.ConsumerExport).NumWaiting == 0
	})
	late := p.request(events.Requested{ProjectID: "globex"})
	g.pass(1)
	if c := p.completed("acme", running); c.Attempt != 1 {
		t.Errorf("completed in attempt %d", c.Attempt)
	}
	w.await()
	if w.err != nil {
		t.Errorf("the worker ended with %v", w.err)
	}
	if n := p.consumer(events.StreamRequests, events.ConsumerExport).Delivered.Consumer; n != 1 {
		t.Errorf("%d deliveries to a worker that drains, want the first alone", n)
	}
	p.start("PG_BIN_DIR=" + g.dir)
	if c := p.completed("globex", late); c.Attempt != 1 {
		t.Errorf("the late request completed in attempt %d", c.Attempt)
	}
}
