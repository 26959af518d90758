package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
)

// restoreTargets is a RESTORE_QUERY over a table of the control plane, which it makes.
func (p *platform) restoreTargets(rows string) string {
	p.t.Helper()
	p.exec(`CREATE TABLE control_plane.targets (id text PRIMARY KEY, dsn text, schema text, owner text, allow_from text[], allow_replace boolean);
		INSERT INTO control_plane.targets VALUES ` + rows)
	return "RESTORE_QUERY=SELECT dsn, schema, owner, allow_from, allow_replace FROM control_plane.targets WHERE id = $1"
}

// restorer starts a process of the role restorer.
func (p *platform) restorer(settings ...string) *worker {
	p.t.Helper()
	settings = append([]string{"ROLES=restorer", "VERIFY_SCRATCH_URL=" + cluster.URL("postgres")}, settings...)
	p.provision(settings...)
	return p.start(settings...)
}

// restored asks for a restore and returns its outcome.
func (p *platform) restored(r events.RestoreRequested) events.Event {
	p.t.Helper()
	id, err := p.client.RequestRestore(p.t.Context(), r)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.restoreOutcome(r.ProjectID, id)
}

func (p *platform) restoreOutcome(project, id string) (last events.Event) {
	p.t.Helper()
	for e, err := range p.client.WatchRestore(p.t.Context(), project, id) {
		if err != nil {
			p.t.Fatal(err)
		}
		last = e
	}
	return last
}

// refusedRestore asks for a restore, which must fail with the code.
func (p *platform) refusedRestore(r events.RestoreRequested, code codes.Code) *events.RestoreFailed {
	p.t.Helper()
	f := p.restored(r).RestoreFailed
	if f == nil || f.Code != code || f.Permanent != code.Permanent() {
		p.t.Errorf("%+v failed with %+v, want %s", r, f, code)
	}
	return f
}

// content is the hash of all rows of a table, in any order.
func (p *platform) content(table string) (hash string) {
	p.t.Helper()
	conn := p.sql()
	err := conn.QueryRow(p.ctx, "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM "+table+" t").Scan(&hash)
	if err != nil {
		p.t.Fatal(err)
	}
	return hash
}

func (p *platform) number(sql string) (n int) {
	p.t.Helper()
	if err := p.sql().QueryRow(p.ctx, sql).Scan(&n); err != nil {
		p.t.Fatal(err)
	}
	return n
}

func TestARestoreTakesAnotherCopyThanADamagedOne(t *testing.T) {
	t.Parallel()
	p := setup(t)
	folders := "STORAGE=file://" + p.storage + ",file://" + filepath.Join(t.TempDir(), "second")
	p.start(folders)
	p.request(events.Requested{ProjectID: "acme", RequestID: "one", Format: events.FormatCustom})
	key := keyOf(t, p.completed("acme", "one"))
	before := p.content("tenant_acme.invoices")
	p.exec("DELETE FROM tenant_acme.invoices")
	flip(t, filepath.Join(p.storage, key), -100)
	p.restorer(folders, p.restoreTargets("('acme', NULL, NULL, NULL, NULL, true)"))
	r := events.RestoreRequested{ProjectID: "acme", From: events.RestoreFrom{RequestID: "latest"}, Mode: events.RestoreReplace, Tables: []string{"tenant_acme.invoices"}}
	for _, plan := range []bool{true, false} {
		r.Plan = plan
		if c := p.restored(r).RestoreCompleted; c == nil || !slices.Contains(c.Remarks, "the copy at file could not be used") {
			t.Errorf("plan %t: %+v", plan, c)
		}
	}
	if after := p.content("tenant_acme.invoices"); after != before {
		t.Errorf("the table holds %s, before the mistake %s", after, before)
	}
}

func TestARestoreByEventUndoesAMistakeInOneTable(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start()
	p.request(events.Requested{ProjectID: "acme", RequestID: "one", Format: events.FormatCustom})
	p.completed("acme", "one")
	before := p.content("tenant_acme.invoices")
	p.exec("DELETE FROM tenant_acme.invoices WHERE number % 2 = 0; UPDATE tenant_acme.invoices SET notes = 'lost'")
	r := p.restorer(p.restoreTargets("('acme', NULL, NULL, NULL, NULL, true)"), "RESTORE_KEEP=1s")
	for _, flag := range []string{"--clean", "--schema-as=other", "--to=postgres://h/db"} {
		if out, stderr, code := p.cli("restore", "acme/one", "--as-event", flag); code != 2 || !strings.Contains(stderr, "does not go with --as-event") {
			t.Errorf("%s: %d, %s%s", flag, code, out, stderr)
		}
	}
	out, stderr, code := p.cli("restore", "acme/one", "--as-event", "--table", "tenant_acme.invoices", "--replace", "--restore-id", "undo", "--output", "json")
	if code != 0 {
		t.Fatalf("restore --as-event ended with %d: %s%s", code, out, stderr)
	}
	var e struct {
		Type  string                  `json:"type"`
		Event events.RestoreCompleted `json:"event"`
	}
	if err := json.Unmarshal([]byte(out), &e); err != nil || e.Type != events.TypeRestoreCompleted {
		t.Fatalf("%v: %s", err, out)
	}
	if c := e.Event; c.Tables != 1 || c.Rows != 2000 || len(c.Kept) != 1 || c.From.RequestID != "one" || c.SHA256 == "" {
		t.Errorf("completed is %+v", c)
	}
	if after := p.content("tenant_acme.invoices"); after != before {
		t.Errorf("the table holds %s, before the mistake %s", after, before)
	}
	if n := p.number("SELECT count(*) FROM pgcourier_restore.markers m JOIN pgcourier.restores r ON m.id = concat(r.project_id, '/', r.request_id, '#', r.marker)"); n != 1 {
		t.Error("the marker's id does not have the value of the ledger's row")
	}
	conn := p.sql()
	eventually(t, "what was kept is dropped, and the ledger knows it", func() (gone bool) {
		err := conn.QueryRow(p.ctx, "SELECT kept_gone_at IS NOT NULL FROM pgcourier.restores WHERE request_id = 'undo'").Scan(&gone)
		return err == nil && gone
	})
	if n := p.number("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'tenant\\_acme\\_before\\_%'"); n != 0 {
		t.Errorf("%d kept schemas are left", n)
	}
	// The same again gives the first outcome; other contents are a conflict.
	again := p.restored(events.RestoreRequested{ProjectID: "acme", RestoreID: "undo", From: events.RestoreFrom{RequestID: "one"}})
	if again.RestoreCompleted == nil || again.RestoreCompleted.Rows != 2000 {
		t.Errorf("asked again: %+v", again)
	}
	if n := p.number("SELECT count(*) FROM pgcourier.restores WHERE code = 'request_conflict'"); n > 1 {
		t.Errorf("%d conflicts", n)
	}
	r.term()
	r.await()
}

func TestAProjectIsClonedByEvent(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start()
	p.request(events.Requested{ProjectID: "acme", RequestID: "one"})
	p.completed("acme", "one")
	p.restorer(p.restoreTargets("('staging', NULL, 'tenant_staging', NULL, '{acme}', false)"))
	out, stderr, code := p.cli("clone", "acme", "staging", "--plan", "--wait")
	if code != 0 || !strings.Contains(out, "would restore acme/one into staging: schema tenant_staging") {
		t.Fatalf("clone --plan ended with %d: %s%s", code, out, stderr)
	}
	if n := p.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'tenant_staging'"); n != 0 {
		t.Error("a plan made the schema")
	}
	out, stderr, code = p.cli("clone", "acme", "staging", "--wait", "--restore-id", "c1")
	if code != 0 || !strings.Contains(out, "restored acme/one into staging: schema tenant_staging") {
		t.Fatalf("clone ended with %d: %s%s", code, out, stderr)
	}
	if out, stderr, code := p.cli("list", "--restores", "--project", "staging"); code != 0 || !strings.Contains(out, "c1") || !strings.Contains(out, "acme/one") {
		t.Errorf("list --restores: %d, %s%s", code, out, stderr)
	}
	if out, stderr, code := p.cli("show", "staging/c1", "--restore"); code != 0 || !strings.Contains(out, "acme/one") || !strings.Contains(out, "into schema tenant_staging") ||
		!strings.Contains(out, "ATTEMPT  RESULT") || !strings.Contains(out, "completed") {
		t.Errorf("show --restore: %d, %s%s", code, out, stderr)
	}
	if out, stderr, code := p.cli("show", "staging/c2", "--restore"); code != 3 {
		t.Errorf("show an unknown restore: %d, %s%s", code, out, stderr)
	}
	if out, stderr, code := p.cli("watch", "staging/c1", "--restores"); code != 0 || !strings.Contains(out, "staging/c1  started") || !strings.Contains(out, "staging/c1  completed") {
		t.Errorf("watch --restores: %d, %s%s", code, out, stderr)
	}
	for _, table := range []string{"customers", "invoices", "nothing"} {
		if a, b := p.content("tenant_acme."+table), p.content("tenant_staging."+table); a != b {
			t.Errorf("%s is %s, and the clone %s", table, a, b)
		}
	}
	p.refusedRestore(events.RestoreRequested{ProjectID: "staging", From: events.RestoreFrom{ProjectID: "acme", RequestID: "one"}}, codes.TargetOccupied)
}

// What the control plane does not allow, and what cannot be restored, changes nothing.
func TestRestoresByEventThatAreRefused(t *testing.T) {
	t.Parallel()
	p := setup(t)
	identity, recipient := identityFile(t)
	w := p.start("AGE_RECIPIENTS=" + recipient)
	for _, id := range []string{"one", "flipped"} {
		p.request(events.Requested{ProjectID: "acme", RequestID: id})
		p.completed("acme", id)
	}
	p.settled()
	w.term()
	w.await()
	query := p.restoreTargets(fmt.Sprintf("('acme', NULL, 'tenant_new', NULL, NULL, NULL), ('staging', NULL, 'tenant_staging', NULL, '{acme}', false), ('gone', 'postgres://nobody@127.0.0.1:1/x', NULL, NULL, '{acme}', true), ('none', '%s', NULL, NULL, '{acme}', true)",
		cluster.URL("no_such_database")))
	from := events.RestoreFrom{ProjectID: "acme", RequestID: "one"}

	off := p.restorer()
	p.refusedRestore(events.RestoreRequested{ProjectID: "acme", From: from}, codes.RestoreDisabled)
	off.term()
	off.await()

	locked := p.restorer(query)
	p.refusedRestore(events.RestoreRequested{ProjectID: "staging", From: from}, codes.ExportLocked)
	locked.term()
	locked.await()

	// The restorer reads a copy of the storage, with a fault.
	key := p.await("acme", "flipped").Completed
	faulty := filepath.Join(t.TempDir(), "exports")
	if err := os.CopyFS(faulty, os.DirFS(p.storage)); err != nil {
		t.Fatal(err)
	}
	flip(t, filepath.Join(faulty, keyOf(t, key)), -100)
	p.restorer(query, "AGE_IDENTITY_FILE="+identity, "STORAGE=file://"+faulty)
	for _, tc := range []struct {
		r    events.RestoreRequested
		code codes.Code
	}{
		{events.RestoreRequested{ProjectID: "unknown", From: from}, codes.ProjectNotFound},
		{events.RestoreRequested{ProjectID: "staging", From: events.RestoreFrom{ProjectID: "globex", RequestID: "latest"}}, codes.RestoreSourceNotAllowed},
		{events.RestoreRequested{ProjectID: "staging", From: from, Mode: events.RestoreReplace}, codes.RestoreReplaceNotAllowed},
		{events.RestoreRequested{ProjectID: "staging", From: events.RestoreFrom{ProjectID: "acme", RequestID: "never"}}, codes.ExportNotFound},
		{events.RestoreRequested{ProjectID: "staging", From: events.RestoreFrom{ProjectID: "acme", RequestID: "latest_verified"}}, codes.ExportNotFound},
		{events.RestoreRequested{ProjectID: "staging", From: events.RestoreFrom{ProjectID: "acme", RequestID: "flipped"}}, codes.ExportDamaged},
		{events.RestoreRequested{ProjectID: "staging", From: from, Schemas: []string{"other"}}, codes.RestoreImpossible},
		{events.RestoreRequested{ProjectID: "gone", From: from}, codes.TargetUnavailable},
		{events.RestoreRequested{ProjectID: "none", From: from}, codes.TargetNotFound},
	} {
		p.refusedRestore(tc.r, tc.code)
	}
	if n := p.number("SELECT count(*) FROM pg_namespace WHERE nspname IN ('tenant_staging', 'tenant_new')"); n != 0 {
		t.Error("a refused restore made a schema")
	}
	if c := p.restored(events.RestoreRequested{ProjectID: "staging", From: events.RestoreFrom{ProjectID: "acme", RequestID: "one"}}).RestoreCompleted; c == nil || c.Rows == 0 {
		t.Errorf("the export can be restored all the same: %+v", c)
	}
}

// A restorer is killed while the target's tables are locked by another session. The next one finds the
// session ended, restores once, and there is one outcome.
func TestAKilledRestorerLeavesTheTargetAsItWas(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start()
	p.request(events.Requested{ProjectID: "acme", RequestID: "one", Format: events.FormatCustom})
	p.completed("acme", "one")
	p.exec("UPDATE tenant_acme.invoices SET notes = 'changed since'")
	before := p.content("tenant_acme.invoices")
	query := p.restoreTargets("('acme', NULL, NULL, NULL, NULL, true)")
	r := p.restorer(query, "ACK_WAIT=2s")
	holder := p.sql()
	if _, err := holder.Exec(p.ctx, "BEGIN; LOCK TABLE tenant_acme.invoices IN ACCESS SHARE MODE"); err != nil {
		t.Fatal(err)
	}
	id, err := p.client.RequestRestore(t.Context(), events.RestoreRequested{
		ProjectID: "acme", RestoreID: "r1", From: events.RestoreFrom{RequestID: "latest"}, Mode: events.RestoreReplace, Tables: []string{"tenant_acme.invoices"},
	})
	if err != nil {
		t.Fatal(err)
	}
	waits := p.sql()
	eventually(t, "the restore waits for the table", func() bool {
		var n int
		err := waits.QueryRow(p.ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgcourier restore%' AND wait_event_type = 'Lock'").Scan(&n)
		return err == nil && n > 0
	})
	r.kill()
	if now := p.content("tenant_acme.invoices"); now != before {
		t.Error("a killed restore changed the table")
	}
	if _, err := holder.Exec(p.ctx, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	p.restorer(query, "ACK_WAIT=2s")
	p.restorer(query, "ACK_WAIT=2s")
	out := p.restoreOutcome("acme", id)
	if c := out.RestoreCompleted; c == nil || c.Rows != 2000 || c.Attempt < 2 || c.From.RequestID != "one" {
		t.Errorf("outcome %+v, %+v", out.RestoreCompleted, out.RestoreFailed)
	}
	if n := p.number("SELECT count(*) FROM tenant_acme.invoices WHERE notes = 'changed since'"); n != 0 {
		t.Errorf("%d rows are not restored", n)
	}
	if n := p.number("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'tenant\\_acme\\_before\\_%'"); n != 1 {
		t.Errorf("%d schemas were set aside, want 1", n)
	}
	if n := p.stream(events.StreamRestoreOutcomes).State.Msgs; n != 1 {
		t.Errorf("%d outcomes", n)
	}
	eventually(t, "the queue is empty", func() bool { return p.stream(events.StreamRestores).State.Msgs == 0 })

	// What was set aside is dropped by hand, and the control plane then names the schema.
	p.exec(`DO $$ BEGIN EXECUTE (SELECT format('DROP SCHEMA %I CASCADE', name) FROM pgcourier_restore.kept); END $$;
		DELETE FROM pgcourier_restore.kept;
		UPDATE control_plane.targets SET schema = 'tenant_acme';
		UPDATE pgcourier.restores SET outcome = replace(outcome::text, outcome -> 'restored' ->> 'kept_until', '2026-01-01T00:00:00Z')::json`)
	p.restorer(query, "ACK_WAIT=2s")
	eventually(t, "the ledger has it that nothing is kept any more", func() bool {
		var n int
		err := waits.QueryRow(p.ctx, "SELECT count(*) FROM pgcourier.restores WHERE kept_gone_at IS NOT NULL").Scan(&n)
		return err == nil && n == 1
	})
}

// A cancelled restore leaves its target as it is: before a restorer has seen it, behind another one,
// and in the middle, also while the restorer drains. No lease is renewed in this test.
func TestARestoreByEventIsCancelled(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start()
	p.request(events.Requested{ProjectID: "acme", RequestID: "one", Format: events.FormatCustom})
	p.completed("acme", "one")
	p.exec("UPDATE tenant_acme.invoices SET notes = 'changed since'")
	before := p.content("tenant_acme.invoices")
	p.provision("ROLES=restorer")
	ask := func(id string) {
		t.Helper()
		_, err := p.client.RequestRestore(t.Context(), events.RestoreRequested{
			ProjectID: "acme", RestoreID: id, From: events.RestoreFrom{RequestID: "one"}, Mode: events.RestoreReplace, Tables: []string{"tenant_acme.invoices"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	cancel := func(id string, want int, settings ...string) {
		t.Helper()
		if out, stderr, code := p.cliWith(settings, "cancel", "acme/"+id, "--restore"); code != want {
			t.Fatalf("cancel %s ended with %d, want %d: %s%s", id, code, want, out, stderr)
		}
	}
	const overNATS = "DATABASE_URL=" // the command cannot reach the ledger itself
	cancel("unknown", 3)
	cancel("unknown", 5, overNATS) // no restorer
	ask("waits")
	cancel("waits", 0)
	query := p.restoreTargets("('acme', NULL, NULL, NULL, NULL, true)")
	draining := p.restorer(query, "ACK_WAIT=1h", "DRAIN_TIMEOUT=10m")
	if f := p.restoreOutcome("acme", "waits").RestoreFailed; f == nil || f.Code != codes.Cancelled {
		t.Errorf("cancelled while it waited: %+v", f)
	}
	holder := p.sql()
	if _, err := holder.Exec(p.ctx, "BEGIN; LOCK TABLE tenant_acme.invoices IN ACCESS SHARE MODE"); err != nil {
		t.Fatal(err)
	}
	ask("runs")
	waits := p.sql()
	eventually(t, "the restore waits for the table", func() bool {
		var n int
		err := waits.QueryRow(p.ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgcourier restore%' AND wait_event_type = 'Lock'").Scan(&n)
		return err == nil && n > 0
	})
	ask("queued")
	cancel("queued", 0, overNATS)
	if f := p.restoreOutcome("acme", "queued").RestoreFailed; f == nil || f.Code != codes.Cancelled {
		t.Errorf("cancelled behind another one: %+v", f)
	}
	cancel("unknown", 3, overNATS)
	draining.term()
	cancel("runs", 0, overNATS)
	if f := p.restoreOutcome("acme", "runs").RestoreFailed; f == nil || f.Code != codes.Cancelled || !strings.Contains(f.Message, "cancelled by") {
		t.Errorf("cancelled in the middle: %+v", f)
	}
	if _, err := holder.Exec(p.ctx, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	draining.await()
	p.restorer(query)
	cancel("runs", 0, overNATS) // again
	if now := p.content("tenant_acme.invoices"); now != before {
		t.Error("a cancelled restore changed the table")
	}
	ask("after")
	if c := p.restoreOutcome("acme", "after").RestoreCompleted; c == nil {
		t.Error("a restore after the cancelled ones failed")
	}
	cancel("after", 6, overNATS)
}
