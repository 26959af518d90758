package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

// restoresUnderFaults is how many restores run under each fault: see make restore-faults.
var restoresUnderFaults = flag.Int("restores-under-faults", 0, "restores under each fault; 0: none")

// restoreFault happens in the middle of a restore.
type restoreFault struct {
	randomFault
	failpoint string // at which the restorer is killed (exit) or paused (stop); empty: strike
}

// randomFault happens at a random moment.
type randomFault struct {
	name      string
	strike    func(w *restoreWorld, id string) // causes the fault and heals it
	permitted []codes.Code                     // with which the restore may fail
}

func restoreFaults() []restoreFault {
	var all []restoreFault
	for _, f := range randomRestoreFaults() {
		all = append(all, restoreFault{randomFault: f})
	}
	for _, point := range []string{
		"after-claim=exit", "before-commit=exit", "after-commit=exit", "after-publish=exit", "after-mark=exit", "after-claim=stop", "before-commit=stop",
	} {
		all = append(all, restoreFault{randomFault{name: strings.ReplaceAll(point, "=", " ")}, point})
	}
	return all
}

func randomRestoreFaults() []randomFault {
	lost := []codes.Code{codes.TargetUnavailable, codes.WorkerLost, codes.LockTimeout, codes.Interrupted}
	return []randomFault{
		{"the restorer is killed", func(w *restoreWorld, _ string) { w.restorers[0].kill(); w.restart() }, lost},
		{"the restorer is paused for longer than its lease", func(w *restoreWorld, _ string) {
			w.atLeast(2)
			w.restorers[0].signal(syscall.SIGSTOP)
			w.sleep(3 * time.Second)
			w.restorers[0].signal(syscall.SIGCONT)
		}, lost},
		{"the target ends the session", func(w *restoreWorld, _ string) { w.terminate() }, lost},
		{"the restore is cancelled", func(w *restoreWorld, id string) {
			w.p.withLedger(func(l *ledger.Ledger) error {
				_, err := l.Restores().Cancel(w.p.ctx, export.ID{Project: "acme", Request: id}, "ann")
				return ignore(err, export.ErrUnknown)
			})
		}, []codes.Code{codes.Cancelled}},

		{"no fault", func(*restoreWorld, string) {}, nil},
		{"the restorer is killed twice", func(w *restoreWorld, _ string) {
			for range 2 {
				w.restorers[0].kill()
				w.restart()
				w.moment()
			}
		}, lost},
		{"the restorer is killed while it is paused", func(w *restoreWorld, _ string) {
			w.atLeast(2)
			w.restorers[0].signal(syscall.SIGSTOP)
			w.sleep(3 * time.Second)
			w.restorers[0].kill()
			w.restorers = w.restorers[1:]
		}, lost},
		{"the restorer is told to stop", func(w *restoreWorld, _ string) { w.restorers[0].term(); w.restart() }, lost},
		{"the target ends every session", func(w *restoreWorld, _ string) {
			for range 3 {
				w.terminate()
				w.moment()
			}
		}, lost},
		{"the target takes no connections", func(w *restoreWorld, _ string) {
			w.p.admin("ALTER DATABASE " + w.target + " ALLOW_CONNECTIONS false")
			w.terminate()
			w.sleep(time.Second)
			w.p.admin("ALTER DATABASE " + w.target + " ALLOW_CONNECTIONS true")
		}, append(slices.Clone(lost), codes.TargetForbidden)},
		{"the target is read-only", func(w *restoreWorld, _ string) {
			w.p.admin("ALTER DATABASE " + w.target + " SET default_transaction_read_only = on")
			w.terminate()
			w.sleep(time.Second)
			w.p.admin("ALTER DATABASE " + w.target + " RESET default_transaction_read_only")
		}, lost},
		{"the target has a short statement_timeout", func(w *restoreWorld, _ string) {
			w.p.admin("ALTER DATABASE " + w.target + " SET statement_timeout = '30ms'")
			w.terminate()
			w.sleep(time.Second)
			w.p.admin("ALTER DATABASE " + w.target + " RESET statement_timeout")
		}, append(slices.Clone(lost), codes.RestoreRejected)},
		{"a session holds the tables", func(w *restoreWorld, _ string) {
			holder := w.connect()
			w.must(holder.Exec(w.p.ctx, "BEGIN; LOCK TABLE tenant_acme.invoices IN ACCESS SHARE MODE"))
			w.sleep(2 * time.Second)
			w.must(holder.Exec(w.p.ctx, "COMMIT"))
			_ = holder.Close(w.p.ctx)
		}, lost},
		{"the ledger ends every session", func(w *restoreWorld, _ string) {
			w.p.admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + w.p.database + "'")
		}, lost},
		{"the ledger takes no connections", func(w *restoreWorld, _ string) {
			w.p.admin("ALTER DATABASE " + w.p.database + " ALLOW_CONNECTIONS false")
			w.p.admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + w.p.database + "'")
			w.sleep(2 * time.Second)
			w.p.admin("ALTER DATABASE " + w.p.database + " ALLOW_CONNECTIONS true")
		}, lost},
		{"the message comes four times", func(w *restoreWorld, id string) {
			for range 3 {
				w.again(id)
			}
		}, nil},
		{"the message comes four times to three restorers", func(w *restoreWorld, id string) {
			w.atLeast(3)
			for range 3 {
				w.again(id)
			}
		}, nil},
		{"one of three restorers is killed", func(w *restoreWorld, id string) {
			w.atLeast(3)
			w.again(id)
			w.moment()
			w.restorers[rand.N(len(w.restorers))].kill()
			w.restorers = slices.DeleteFunc(w.restorers, (*worker).ended)
		}, lost},
		{"the id is used for another restore", func(w *restoreWorld, id string) {
			_, err := w.p.client.RequestRestore(w.p.ctx, events.RestoreRequested{ProjectID: "acme", RestoreID: id, From: events.RestoreFrom{RequestID: "latest"}})
			w.err(err)
			w.conflicts++
		}, nil},
		{"the storage is away", func(w *restoreWorld, _ string) {
			w.err(os.Rename(w.p.storage, w.p.storage+".away"))
			w.sleep(300 * time.Millisecond)
			w.err(os.Rename(w.p.storage+".away", w.p.storage))
		}, []codes.Code{codes.StorageUnavailable, codes.ExportMissing, codes.StorageRefused}},
		{"the control plane names another target", func(w *restoreWorld, _ string) {
			w.p.exec("UPDATE control_plane.targets SET dsn = '" + cluster.URL("no_such_database") + "'")
			w.terminate()
			w.sleep(time.Second)
			w.p.exec("UPDATE control_plane.targets SET dsn = '" + cluster.URL(w.target) + "'")
		}, append(slices.Clone(lost), codes.TargetNotFound)},
		{"cancelled and killed", func(w *restoreWorld, id string) {
			w.p.withLedger(func(l *ledger.Ledger) error {
				_, err := l.Restores().Cancel(w.p.ctx, export.ID{Project: "acme", Request: id}, "ann")
				return ignore(err, export.ErrUnknown)
			})
			w.restorers[0].kill()
			w.restart()
		}, append(slices.Clone(lost), codes.Cancelled)},
	}
}

// restoreWorld is a platform with a target of its own.
type restoreWorld struct {
	t         *testing.T
	p         *platform
	target    string // database
	query     string
	restorers []*worker
	conflicts int
	payload   map[string]*nats.Msg
}

// After each fault the target holds what it held before, or what the export holds, and the one outcome
// says which.
func TestRestoresUnderFaults(t *testing.T) {
	t.Parallel()
	each := *restoresUnderFaults
	if each == 0 {
		t.Skip("run by make restore-faults: its faults come at random moments")
	}
	for _, f := range restoreFaults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			w := newRestoreWorld(t)
			want := w.content()
			counted := map[string]int{}
			for n := range each {
				counted[w.restoreUnder(f, n, want)]++
			}
			t.Logf("%d restores: %v", each, counted)
			eventually(t, "the queue is empty", func() bool { return w.p.stream(events.StreamRestores).State.Msgs == 0 })
			if s := w.p.stream(events.StreamRestoreOutcomes).State.Msgs; int(s) != each+1+w.conflicts {
				t.Errorf("%d outcomes of %d restores", s, each+1+w.conflicts)
			}
			if n := w.number("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'tenant\\_acme\\_before\\_%'"); n != counted["completed"] {
				t.Errorf("%d schemas were set aside by %d restores", n, counted["completed"])
			}
		})
	}
}

func newRestoreWorld(t *testing.T) *restoreWorld {
	t.Helper()
	p := setup(t)
	exporter := p.start()
	p.request(events.Requested{ProjectID: "acme", RequestID: "one", Format: events.FormatCustom})
	p.completed("acme", "one")
	p.settled()
	exporter.term()
	exporter.await()
	w := &restoreWorld{t: t, p: p, target: p.database + "_target", payload: map[string]*nats.Msg{}}
	p.admin("CREATE DATABASE " + w.target)
	t.Cleanup(func() { p.admin("DROP DATABASE IF EXISTS " + w.target + " WITH (FORCE)") })
	w.query = p.restoreTargets("('acme', '" + cluster.URL(w.target) + "', NULL, NULL, NULL, true)")
	w.start()
	if e := p.restored(events.RestoreRequested{ProjectID: "acme", RestoreID: "first", From: events.RestoreFrom{RequestID: "one"}}); e.RestoreCompleted == nil {
		t.Fatalf("the first restore: %+v", e.RestoreFailed)
	}
	return w
}

// restoreUnder makes one restore under a fault and returns how it ended.
func (w *restoreWorld) restoreUnder(f restoreFault, n int, want string) string {
	w.t.Helper()
	id := fmt.Sprintf("r%d", n)
	conn := w.connect()
	w.must(conn.Exec(w.p.ctx, fmt.Sprintf("UPDATE tenant_acme.invoices SET notes = 'changed %d'", n)))
	_ = conn.Close(w.p.ctx)
	before := w.content()
	ask := events.RestoreRequested{ProjectID: "acme", RestoreID: id, From: events.RestoreFrom{RequestID: "one"}, Mode: events.RestoreReplace}
	m, err := ask.Encode("test")
	w.err(err)
	w.payload[id] = &nats.Msg{Subject: m.Subject, Data: m.Body}
	if f.failpoint != "" {
		w.atPoint(f.failpoint, id)
	} else {
		w.again(id)
		w.moment()
		f.strike(w, id)
	}
	out := w.p.restoreOutcome("acme", id)
	after := w.content()
	switch failed := out.RestoreFailed; {
	case out.RestoreCompleted != nil && after != want:
		w.t.Errorf("%s completed, and the target does not hold the export", id)
	case failed != nil && failed.Code != codes.RestoreUnknown && after != before:
		w.t.Errorf("%s failed with %s, and the target changed", id, failed.Code)
	case failed != nil && after != before && after != want:
		w.t.Errorf("%s failed with %s, and the target holds neither", id, failed.Code)
	case failed != nil && !slices.Contains(f.permitted, failed.Code):
		w.t.Errorf("%s failed with %s: %s", id, failed.Code, failed.Message)
	}
	if out.RestoreFailed == nil {
		return "completed"
	}
	return string(out.RestoreFailed.Code)
}

// moment waits until somewhere in a restore, which takes about a second.
func (w *restoreWorld) moment() { w.sleep(rand.N(1200 * time.Millisecond)) }

func (w *restoreWorld) sleep(d time.Duration) { time.Sleep(d) }

func (w *restoreWorld) err(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *restoreWorld) must(_ any, err error) { w.t.Helper(); w.err(err) }

// start starts a further restorer.
func (w *restoreWorld) start() {
	w.t.Helper()
	w.restorers = append(w.restorers, w.p.restorer(w.query, "ACK_WAIT=2s"))
}

// atLeast starts restorers until n run.
func (w *restoreWorld) atLeast(n int) {
	w.t.Helper()
	for len(w.restorers) < n {
		w.start()
	}
}

// restart replaces the first restorer, which ends or has ended.
func (w *restoreWorld) restart() {
	w.t.Helper()
	w.restorers = w.restorers[1:]
	w.start()
}

// atPoint asks for the restore while the only restorer is one that stops at the point, and then starts
// another.
func (w *restoreWorld) atPoint(point, id string) {
	w.t.Helper()
	for _, r := range w.restorers {
		r.term()
		r.await()
	}
	armed := w.p.launch(failpointBinary(w.t), append(w.p.environ("ROLES=restorer", "VERIFY_SCRATCH_URL="+cluster.URL("postgres"), w.query, "ACK_WAIT=2s"), "FAILPOINTS="+point))
	w.again(id)
	if _, action, _ := strings.Cut(point, "="); action == "exit" {
		armed.killed = true
		armed.await()
		w.restorers = nil
		w.start()
		return
	}
	eventually(w.t, "the restorer stops", func() bool { return strings.Contains(armed.logs.String(), "failpoint ") })
	w.restorers = []*worker{armed}
	w.start()
	w.p.restoreOutcome("acme", id) // of the other
	armed.signal(syscall.SIGCONT)
}

// failpointBinary builds the program with its failpoints, once.
func failpointBinary(t *testing.T) string {
	t.Helper()
	file, err := buildWithFailpoints()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

var buildWithFailpoints = sync.OnceValues(func() (string, error) {
	file := filepath.Join(scratch, "pgcourier-failpoints")
	cmd := exec.Command("go", "build", "-tags", "failpoints", "-o", file, module+"/cmd/pgcourier")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return file, err
})

// again publishes a request once more, as a publisher without message ids does.
func (w *restoreWorld) again(id string) {
	w.t.Helper()
	m := w.payload[id]
	w.must(w.p.js.PublishMsg(w.p.ctx, &nats.Msg{Subject: m.Subject, Data: m.Data}))
}

func (w *restoreWorld) terminate() {
	w.t.Helper()
	w.p.admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + w.target + "'")
}

func (w *restoreWorld) connect() *pgx.Conn {
	w.t.Helper()
	conn, err := pgx.Connect(w.p.ctx, cluster.URL(w.target))
	w.err(err)
	return conn
}

func (w *restoreWorld) number(sql string) (n int) {
	w.t.Helper()
	conn := w.connect()
	defer func() { _ = conn.Close(w.p.ctx) }()
	w.err(conn.QueryRow(w.p.ctx, sql).Scan(&n))
	return n
}

// content is the hash of all rows of the target's tables.
func (w *restoreWorld) content() string {
	w.t.Helper()
	conn := w.connect()
	defer func() { _ = conn.Close(w.p.ctx) }()
	var all []string
	for _, table := range []string{"customers", "invoices", "events", "nothing", "states"} {
		var hash string
		w.err(conn.QueryRow(w.p.ctx, "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM tenant_acme."+table+" t").Scan(&hash))
		all = append(all, table+" "+hash)
	}
	return strings.Join(all, ", ")
}

// admin runs a statement in the cluster's first database.
func (p *platform) admin(sql string) {
	p.t.Helper()
	var err error
	eventually(p.t, sql, func() bool { // the server may be out of connections
		err = executeIn(context.WithoutCancel(p.ctx), "postgres", sql)
		pg, refused := errors.AsType[*pgconn.PgError](err)
		return !refused || pg.Code != "53300"
	})
	if err != nil {
		p.t.Fatalf("%s: %v", sql, err)
	}
}

// ignore returns err unless it is the one that is no fault.
func ignore(err, unless error) error {
	if errors.Is(err, unless) {
		return nil
	}
	return err
}
