package e2e_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/doctor"
)

// prunedExports is what `prune` prints.
type prunedExports struct {
	DryRun bool `json:"dry_run"`
	Rules  []struct {
		Project string `json:"project_id"`
		Policy  string `json:"policy"`
		From    string `json:"from"`
		RuleFor string `json:"rule_for"`
	} `json:"rules"`
	Spared  map[string]string `json:"spared_projects"`
	Exports []struct {
		Project  string    `json:"project_id"`
		Request  string    `json:"request_id"`
		Verified bool      `json:"verified"`
		Step     string    `json:"step"`
		Why      []string  `json:"why"`
		DeleteAt time.Time `json:"delete_at"`
		Fault    string    `json:"fault"`
	} `json:"exports"`
}

// prune runs the command, which must end with code.
func (p *platform) prune(code int, settings []string, args ...string) prunedExports {
	p.t.Helper()
	stdout, stderr, got := p.cliWith(settings, append([]string{"prune", "--output", "json"}, args...)...)
	var out prunedExports
	if got != code || stdout != "" && json.Unmarshal([]byte(stdout), &out) != nil {
		p.t.Fatalf("prune %q ended with %d, want %d:\n%s%s", args, got, code, stdout, stderr)
	}
	return out
}

// steps are the events of each export.
func (p prunedExports) steps() map[string]string {
	out := map[string]string{}
	for _, e := range p.Exports {
		out[e.Request] = e.Step
	}
	return out
}

// event waits for a stored event of one request.
func (p *platform) event(kind, project, id string) events.Event {
	p.t.Helper()
	stream, err := p.js.Stream(p.ctx, events.StreamEvents)
	if err != nil {
		p.t.Fatal(err)
	}
	var m *jetstream.RawStreamMsg
	eventually(p.t, kind+" of "+id, func() bool {
		m, err = stream.GetLastMsgForSubject(p.ctx, events.EventSubject(kind, project, id))
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			p.t.Fatal(err)
		}
		return err == nil
	})
	header := map[string]string{}
	for k := range m.Header {
		header[k] = m.Header.Get(k)
	}
	e, err := events.DecodeEvent(events.Message{Subject: m.Subject, Header: header, Body: m.Data})
	if err != nil {
		p.t.Fatalf("%s breaks the contract: %v\n%s", m.Subject, err, m.Data)
	}
	return e
}

// A pruner warns, waits, deletes and announces; two pruners do so once.
func TestAPrunerDeletesWhatNoRuleKeeps(t *testing.T) {
	t.Parallel()
	p := setup(t)
	for range 2 {
		p.start("RETENTION=last=1", "PRUNE_EVERY=50ms", "PRUNE_NOTICE=300ms")
	}
	for _, id := range []string{"r1", "r2"} {
		p.completed("acme", p.request(events.Requested{ProjectID: "acme", RequestID: id}))
	}
	warned := p.event(events.TypeExpiring, "acme", "r1").Expiring
	expired := p.event(events.TypeExpired, "acme", "r1").Expired
	if warned.Reason != "no rule keeps it" || len(warned.Copies) != 1 || !warned.ExpiresAt.Equal(warned.WarnedAt.Add(300*time.Millisecond)) {
		t.Errorf("warned %+v", warned)
	}
	if expired.ExpiredAt.Before(warned.ExpiresAt) || len(expired.Copies) != 1 || expired.Copies[0].Result != "deleted" || expired.StoredBytes != warned.StoredBytes {
		t.Errorf("expired %+v, warned %+v", expired, warned)
	}
	for _, command := range [][]string{{"download", "r1"}, {"verify", "acme/r1"}, {"restore", "r1", "--restore-url", "postgres://nobody@127.0.0.1:1/none"}} {
		if _, stderr, code := p.cli(command...); code != 3 || !strings.Contains(stderr, "acme/r1 was deleted at") || !strings.Contains(stderr, "by retention: no rule keeps it") {
			t.Errorf("%q ended with %d: %s", command, code, stderr)
		}
	}
	if _, stderr, code := p.cli("download", "r9"); code != 3 || strings.Contains(stderr, "deleted") {
		t.Errorf("of an unknown one: %d, %s", code, stderr)
	}
	subject := events.EventSubject(events.TypeExpired, "acme", "r1")
	stream, err := p.js.Stream(t.Context(), events.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(subject))
	if err != nil || info.State.Subjects[subject] != 1 {
		t.Errorf("announced %v times (%v)", info.State.Subjects, err)
	}
}

// --dry-run prints what would be deleted, and why each other export is kept. Rules of a project's
// own row win. An unreachable destination, and a missing object, stop nothing.
func TestPrune(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.tenants("bolt")
	p.start()
	for _, id := range []string{"r1", "r2", "r3"} {
		p.completed("acme", p.request(events.Requested{ProjectID: "acme", RequestID: id}))
	}
	p.completed("bolt", p.request(events.Requested{ProjectID: "bolt", RequestID: "b1"}))
	p.completed("bolt", p.request(events.Requested{ProjectID: "bolt", RequestID: "b2"}))
	rules := []string{"RETENTION=last=1", "PRUNE_NOTICE=1ms"}

	plan := p.prune(0, rules, "--dry-run")
	if steps := plan.steps(); !plan.DryRun || len(steps) != 5 || steps["r3"] != "kept" || steps["r2"] != "warning" || steps["b2"] != "kept" {
		t.Errorf("the plan is %+v", plan)
	}
	for _, e := range plan.Exports {
		if len(e.Why) == 0 || (e.Step == "kept") != e.DeleteAt.IsZero() {
			t.Errorf("%+v", e)
		}
	}
	if plan := p.prune(0, rules, "--dry-run"); plan.steps()["r2"] != "warning" {
		t.Error("a dry run changed something")
	}
	// Only a run over all projects shows that a pruner works.
	for _, run := range []struct {
		args  []string
		whole bool
	}{{[]string{"acme"}, false}, {nil, true}} {
		if plan := p.prune(0, nil, run.args...); plan.steps()["r1"] != "kept" {
			t.Errorf("without rules: %+v", plan)
		}
		var whole bool
		if err := p.sql().QueryRow(t.Context(), "SELECT completed_at IS NOT NULL FROM pgcourier.pruning").Scan(&whole); err != nil || whole != run.whole {
			t.Errorf("prune %q was a whole run: %t (%v)", run.args, whole, err)
		}
	}
	p.prune(2, []string{"RETENTION=last=0"})
	p.prune(2, []string{"RETENTION=last=1"}, "no project")

	// acme has its own rule: keep two. bolt's rule is invalid, so all of its exports are kept, and
	// so are those of an unknown project.
	own := func(rules string) string {
		return "PROJECT_QUERY=SELECT id::text, name, true AS active, ARRAY[schema_name] AS schemas, " + rules +
			" AS retention FROM control_plane.projects WHERE id::text = $1"
	}
	plan = p.prune(0, append(rules, own("CASE id WHEN 'acme' THEN 'last=2' ELSE 'sometimes' END")), "--dry-run")
	if steps := plan.steps(); steps["r2"] != "kept" || steps["r1"] != "warning" || steps["b1"] != "kept" || !strings.Contains(plan.Spared["bolt"], "sometimes") {
		t.Errorf("rules of their own: %+v", plan)
	}
	plan = p.prune(0, append(rules, own("NULL::text")+" AND id = 'acme'"), "--dry-run")
	if steps := plan.steps(); steps["r1"] != "warning" || steps["b1"] != "kept" || !strings.Contains(plan.Spared["bolt"], "no such project") {
		t.Errorf("a project that is not known: %+v", plan)
	}

	// One destination is unreachable, one of the objects is already missing.
	if steps := p.prune(0, rules).steps(); steps["r1"] != "warning" || steps["r2"] != "warning" || steps["b1"] != "warning" {
		t.Errorf("the first run: %v", steps)
	}
	for _, name := range p.stored() {
		if strings.HasPrefix(name, "acme/r1.") {
			if err := os.Remove(filepath.Join(p.storage, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	away := []string{"STORAGE=file://" + p.storage + ",s3://exports?endpoint=http://127.0.0.1:1&region=us-east-1"}
	second := p.prune(1, append(away, rules...))
	if steps := second.steps(); steps["r1"] != "failing" || steps["r2"] != "failing" || steps["r3"] != "kept" || steps["b1"] != "failing" {
		t.Errorf("the second run: %+v", second)
	}
	if stored := p.stored(); len(stored) != 6 {
		t.Errorf("the reachable destination still has %q", stored)
	}
	// A deletion that keeps failing is a finding, once a short outage cannot be the cause.
	p.prune(1, append(away, rules...))
	if f := p.diagnose(0, nil, "--only", "retention")["retention/deletions"]; f.State != doctor.OK {
		t.Errorf("two runs failed, and doctor says %+v", f)
	}
	p.prune(1, append(away, rules...))
	if f := p.diagnose(1, nil, "--only", "retention")["retention/deletions"]; f.State != doctor.Fault ||
		!strings.Contains(f.Found, "acme/r1") || !strings.Contains(f.Found, "bolt/b1") || !strings.Contains(f.Found, "in 3 runs: s3") {
		t.Errorf("three runs failed, and doctor says %+v", f)
	}
	// A deletion that has begun is completed, also after the rules were lifted.
	if steps := p.prune(0, nil).steps(); steps["r1"] != "deleted" || steps["r2"] != "deleted" || steps["b1"] != "deleted" {
		t.Errorf("the third run: %v", steps)
	}
	if e := p.event(events.TypeExpired, "acme", "r1").Expired; e.Copies[0].Result != "absent" {
		t.Errorf("of an object that was missing: %+v", e)
	}
	p.event(events.TypeExpired, "bolt", "b1")
	if steps := p.prune(0, rules).steps(); len(steps) != 2 || steps["r3"] != "kept" || steps["b2"] != "kept" {
		t.Errorf("in the end: %v", steps)
	}
}

// While the export that would remain is at no destination, no other export is deleted.
func TestNoExportIsDeletedInFavourOfAMissingOne(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start()
	for _, id := range []string{"r1", "r2"} {
		p.completed("acme", p.request(events.Requested{ProjectID: "acme", RequestID: id}))
	}
	rules := []string{"RETENTION=last=1", "PRUNE_NOTICE=1ms"}
	if steps := p.prune(0, rules).steps(); steps["r1"] != "warning" || steps["r2"] != "kept" {
		t.Fatalf("the first run: %v", steps)
	}
	aside := t.TempDir()
	moved := map[string]string{}
	for _, name := range p.stored() {
		if strings.HasPrefix(name, "acme/r2.") {
			moved[filepath.Join(p.storage, name)] = filepath.Join(aside, filepath.Base(name))
		}
	}
	for from, to := range moved {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	out := p.prune(1, rules)
	if steps := out.steps(); len(moved) == 0 || steps["r1"] != "notified" || steps["r2"] != "kept" || !strings.Contains(out.Exports[1].Fault, "r2, which stays, is at no destination") {
		t.Errorf("%d files were moved: %+v", len(moved), out)
	}
	for from, to := range moved {
		if err := os.Rename(to, from); err != nil {
			t.Fatal(err)
		}
	}
	if steps := p.prune(0, rules).steps(); steps["r1"] != "deleted" || steps["r2"] != "kept" {
		t.Errorf("when it is back: %v", steps)
	}
}
