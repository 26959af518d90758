package e2e_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
)

var replays = flag.Int("replays", 42, "how many failed exports the test of bulk replay makes; make replay-500 asks for 500")

// replayed is the JSON of a bulk replay.
type replayed struct {
	Selected, Published, Completed, Underway, Refused, Left int
	Outcomes                                                struct{ Completed, Failed int }
	Items                                                   []struct {
		Project string `json:"project_id"`
		Request string `json:"request_id"`
		Replay  string
		Of      string `json:"replay_of"`
		Result  string
	}
}

// replay runs the command without a database: the event stream is enough.
func (p *platform) replay(code int, args ...string) (r replayed, stderr string) {
	p.t.Helper()
	out, stderr, got := p.cliWith([]string{"DATABASE_URL=postgres://nobody@127.0.0.1:1/gone"}, append([]string{"replay", "--output", "json"}, args...)...)
	if got != code {
		p.t.Fatalf("replay %q ended with %d, want %d\n%s%s", args, got, code, out, stderr)
	}
	if strings.HasPrefix(out, "{") {
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			p.t.Fatalf("%v: %s", err, out)
		}
	}
	return r, stderr
}

func TestABulkReplayAfterAnOutageGivesEachOneOutcomeAndTheSecondDoesNothing(t *testing.T) {
	t.Parallel()
	p := setup(t)
	const projects = 6
	var ids []string
	for n := range projects {
		ids = append(ids, fmt.Sprintf("many%d", n))
	}
	p.tenants(ids...)
	p.exec("UPDATE control_plane.projects SET dsn = 'postgres://nobody@127.0.0.1:1/away' WHERE id LIKE 'many%'")
	// The limit on waiting requests is lower than the number of replayed requests of one project.
	p.start("CONCURRENCY=8", "RETRY_BACKOFF=10ms", "MAX_WAITING_PER_PROJECT=5",
		"PROJECT_QUERY=SELECT id, name, upper(status) = 'ACTIVE' AS active, ARRAY[schema_name] AS schemas, dsn FROM control_plane.projects WHERE id = $1")
	publish := func(n int) {
		id := ids[n%projects]
		p.publish(events.TypeRequested, nil, fmt.Sprintf(`{"project_id":"%s","request_id":"export-%d"}`, id, n))
	}
	for n := range *replays {
		publish(n)
	}
	for n := range *replays {
		if f := p.await(ids[n%projects], fmt.Sprintf("export-%d", n)).Failed; f == nil || f.Code != codes.SourceUnavailable {
			t.Fatalf("in the outage export %d ended as %+v", n, f)
		}
	}
	all := []string{"--failed", "--since", "1h", "--transient", "--code", "source_unavailable"}
	if dry, _ := p.replay(0, append(all, "--dry-run")...); dry.Selected != *replays || dry.Left != *replays || dry.Published != 0 {
		t.Fatalf("a dry run says %+v", dry)
	}
	if none, _ := p.replay(0, "--failed", "--permanent"); none.Selected != 0 {
		t.Errorf("permanent failures: %+v", none)
	}
	p.exec("UPDATE control_plane.projects SET dsn = NULL")
	p.outcomes += *replays
	first, _ := p.replay(0, append(all, "--wait")...)
	if first.Selected != *replays || first.Published != *replays || first.Left != 0 || first.Outcomes.Completed != *replays || first.Outcomes.Failed != 0 {
		t.Errorf("the first run did %+v", first)
	}
	for _, i := range first.Items {
		if c := p.completed(i.Project, i.Replay); i.Of != i.Request || c.Request.ReplayOf != i.Request || c.Request.Generation != 1 || i.Replay != i.Request+"-r1" {
			t.Fatalf("%+v completed for the request %+v", i, c.Request)
		}
	}
	second, _ := p.replay(0, append(all, "--wait")...)
	if second.Selected != *replays || second.Published != 0 || second.Completed != *replays || second.Left != 0 {
		t.Errorf("the second run did %+v", second)
	}
	out, _, _ := p.cli(append([]string{"replay"}, all...)...)
	if want := fmt.Sprintf("%d failed exports\n  %d with a replay that completed\nnothing to do\n", *replays, *replays); out != want {
		t.Errorf("the second run says %q, want %q", out, want)
	}
	if n := int(p.stream(events.StreamOutcomes).State.Msgs); n != 2**replays {
		t.Errorf("%d outcomes of %d exports and their replays", n, *replays)
	}
}

func TestASingleReplay(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.tenants("once")
	g := newGate(t, "tenant_once")
	w := p.start("PG_BIN_DIR=" + g.dir)
	refused := func(code int, say string, args ...string) {
		t.Helper()
		if _, stderr := p.replay(code, args...); !strings.Contains(stderr, say) {
			t.Errorf("replay %q: %s, want %q", args, stderr, say)
		}
	}
	refused(3, "no such request", "nobody")
	p.request(events.Requested{ProjectID: "acme", RequestID: "fine"})
	p.completed("acme", "fine")
	refused(6, "it has completed", "fine")
	p.publish("backup.requested.acme", nil, `{"project_id":"acme","request_id":"rubbish","what":1}`)
	p.failed("acme", "rubbish", codes.InvalidRequest, 1)
	refused(6, "could not be decoded", "rubbish")

	p.exec("UPDATE control_plane.projects SET status = 'suspended' WHERE id = 'once'")
	p.request(events.Requested{ProjectID: "once", RequestID: "x", Metadata: map[string]string{"ticket": "1"}})
	p.failed("once", "x", codes.ProjectNotFound, 1)
	p.outcomes++ // x-r1
	p.replay(1, "x", "--wait")
	if f := p.failed("once", "x-r1", codes.ProjectNotFound, 1); f.Request.ReplayOf != "x" || f.Metadata["ticket"] != "1" {
		t.Errorf("the replay failed as %+v", *f)
	}
	p.exec("UPDATE control_plane.projects SET status = 'active' WHERE id = 'once'")
	p.outcomes++ // x-r2, whichever request of the chain is named
	p.replay(0, "x")
	g.awaitHeld(1)
	for _, id := range []string{"x", "x-r1"} {
		refused(6, "x-r2 waits or runs", id)
	}
	refused(6, "it still waits or runs", "x-r2")
	if r, _ := p.replay(0, "--failed", "--project", "once"); r.Selected != 1 || r.Underway != 1 || r.Published != 0 {
		t.Errorf("while it runs: %+v", r)
	}
	g.pass(1)
	p.completed("once", "x-r2")
	for _, id := range []string{"x", "x-r1"} {
		if _, stderr := p.replay(0, id, "--wait"); stderr != "" {
			t.Errorf("after it completed: %s", stderr)
		}
	}
	// A cancelled request is replayed only on demand.
	p.request(events.Requested{ProjectID: "once", RequestID: "unwanted"})
	g.awaitHeld(2)
	p.cancel(0, "unwanted")
	p.failed("once", "unwanted", codes.Cancelled, 1)
	if r, _ := p.replay(0, "--failed", "--project", "once", "--dry-run"); r.Left != 0 {
		t.Errorf("without --code: %+v", r)
	}
	if r, _ := p.replay(0, "--failed", "--project", "once", "--code", "cancelled", "--dry-run"); r.Left != 1 {
		t.Errorf("asked for: %+v", r)
	}
	for _, args := range [][]string{{}, {"x", "--failed"}, {"x", "--code", "y"}, {"--failed", "--rate", "fast"}, {"--failed", "--transient", "--permanent"}} {
		p.replay(2, args...)
	}
	out, _, code := p.cli("list", "--failed", "--project", "once")
	if code != 0 || !strings.Contains(out, "CAUSE") || !strings.Contains(out, "x-r1") || strings.Contains(out, "x-r2") {
		t.Errorf("list --failed: %d\n%s", code, out)
	}
	if w.ended() {
		t.Error("the worker ended")
	}
}
