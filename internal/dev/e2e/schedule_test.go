package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// scheduleList is what `schedule list` prints.
type scheduleList []struct {
	Project string      `json:"project_id"`
	Name    string      `json:"name"`
	Times   string      `json:"schedule"`
	Zone    string      `json:"time_zone"`
	State   string      `json:"state"`
	Next    []time.Time `json:"next"`
}

// scheduled runs a command of `schedule` that must end with code.
func (p *platform) scheduled(code int, args ...string) (stdout, stderr string) {
	p.t.Helper()
	stdout, stderr, got := p.cli(append([]string{"schedule"}, args...)...)
	if got != code {
		p.t.Fatalf("schedule %q ended with %d, want %d:\n%s%s", args, got, code, stdout, stderr)
	}
	return stdout, stderr
}

// runsOf are the outcomes so far of a project's schedule.
func (p *platform) runsOf(name string) (out []events.Outcome) {
	p.t.Helper()
	for seq := uint64(1); seq <= p.stream(events.StreamOutcomes).State.LastSeq; seq++ {
		_, o := p.announced(seq)
		by := ""
		switch {
		case o.Completed != nil:
			by = o.Completed.RequestedBy
		case o.Failed != nil:
			by = o.Failed.RequestedBy
		}
		if by == events.RequestedBySchedule(name) {
			out = append(out, o)
		}
	}
	return out
}

// quiet waits until all due messages are moved, and expects so many outcomes at the end.
func (p *platform) quiet() {
	p.t.Helper()
	eventually(p.t, "nothing is due any more", func() bool {
		c := p.consumer(events.StreamSchedules, events.ConsumerDue)
		return c.NumPending == 0 && c.NumAckPending == 0
	})
	p.settled()
	p.outcomes = int(p.stream(events.StreamOutcomes).State.Msgs)
}

func TestAScheduleFires(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start()
	p.scheduled(0, "add", "acme", "--cron", "* * * * * *", "--tz", "Europe/Berlin", "--format", "custom", "--metadata", "why=nightly", "--storage-path", "nightly")
	eventually(t, "two runs", func() bool { return len(p.runsOf("default")) >= 2 })
	p.scheduled(0, "pause", "acme")
	p.quiet()
	var last time.Time
	for _, o := range p.runsOf("default") {
		c := o.Completed
		if c == nil || c.ProjectID != "acme" || c.Format != events.FormatCustom || c.Metadata["why"] != "nightly" || !strings.Contains(c.Storage[0].URI, "/nightly/") {
			t.Fatalf("a run ended as %+v", o)
		}
		if c.StartedAt.Before(last) {
			t.Errorf("a run began at %s, before the one before it ended at %s", c.StartedAt, last)
		}
		last = c.FinishedAt
	}
	out, _ := p.scheduled(0, "list", "--output", "json")
	var list scheduleList
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 || list[0].State != "paused" || len(list[0].Next) != 0 || list[0].Zone != "Europe/Berlin" {
		t.Errorf("listed %+v (%v)", list, err)
	}
	p.scheduled(0, "rm", "acme")
	if out, _ := p.scheduled(0, "list"); out != "no schedules\n" {
		t.Errorf("after rm:\n%s", out)
	}
}

// Two processes serve one broker; a schedule that is due once makes one run.
func TestTwoWorkersMakeOneRunOfASchedule(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start()
	p.start()
	s, err := broker.OpenSchedules(t.Context(), p.js)
	if err != nil {
		t.Fatal(err)
	}
	const projects = 5
	for i := range projects {
		once := broker.Schedule{Project: "acme", Name: string(rune('a' + i)), Pattern: "@at " + time.Now().UTC().Format(time.RFC3339), Body: []byte(`{"project_id":"acme"}`)}
		if err := s.Add(t.Context(), once, false); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "each ran", func() bool {
		for i := range projects {
			if len(p.runsOf(string(rune('a'+i)))) == 0 {
				return false
			}
		}
		return true
	})
	p.quiet()
	if p.outcomes != projects {
		t.Errorf("%d outcomes of %d runs", p.outcomes, projects)
	}
}

// While a run takes longer than the schedule's interval, one more run waits, and no second.
func TestOneRunWaitsBehindALongOne(t *testing.T) {
	t.Parallel()
	p := setup(t)
	g := newGate(t, "tenant_acme")
	p.start("PG_BIN_DIR=" + g.dir)
	p.scheduled(0, "add", "acme", "--cron", "@every 1s")
	g.awaitHeld(1)
	begun := p.stream(events.StreamSchedules).State.LastSeq
	eventually(t, "it was due three more times", func() bool { return p.stream(events.StreamSchedules).State.LastSeq >= begun+3 })
	if n := p.stream(events.StreamRequests).State.Msgs; n != 1 {
		t.Errorf("%d requests in the queue, want the one that runs", n)
	}
	p.scheduled(0, "pause", "acme")
	g.pass(1)
	g.awaitHeld(2)
	g.pass(1)
	eventually(t, "both ended", func() bool { return len(p.runsOf("default")) == 2 })
	p.quiet()
	if p.outcomes != 2 {
		t.Errorf("%d outcomes, want the long run's and that of the one behind it", p.outcomes)
	}
}

func TestScheduleCommands(t *testing.T) {
	t.Parallel()
	p := setup(t)
	refused := func(code int, say string, args ...string) {
		t.Helper()
		if out, stderr := p.scheduled(code, args...); out != "" || !strings.Contains(stderr, say) {
			t.Errorf("schedule %q says %q, want %q in it", args, stderr, say)
		}
	}
	if err := p.js.DeleteStream(t.Context(), events.StreamSchedules); err != nil {
		t.Fatal(err)
	}
	refused(6, "not set up for schedules", "list")
	if err := broker.ProvisionSchedules(t.Context(), p.js, broker.Topology{}); err != nil {
		t.Fatal(err)
	}
	refused(2, `hour "25"`, "add", "acme", "--cron", "0 25 * * *")
	refused(2, `"Europe/Atlantis"`, "add", "acme", "--cron", "0 3 * * *", "--tz", "Europe/Atlantis")
	refused(2, "--name", "add", "acme", "--cron", "0 3 * * *", "--name", "a.b")
	refused(2, "project_id", "add", "a.b", "--cron", "0 3 * * *")
	refused(2, "notify_email", "add", "acme", "--cron", "0 3 * * *", "--notify-email", "nobody")
	refused(2, "cron", "add", "acme")
	refused(3, "no such schedule", "rm", "acme")
	refused(3, "no such schedule", "pause", "acme", "nightly")
	refused(2, "no schedule of a project", "resume", "acme", "night.ly")

	p.scheduled(0, "add", "acme", "--cron", "0 3 * * *", "--tz", "Europe/Berlin")
	refused(6, "--replace", "add", "acme", "--cron", "0 4 * * *")
	p.scheduled(0, "add", "acme", "--cron", "30 4 * * *", "--tz", "Europe/Berlin", "--replace")
	p.scheduled(0, "add", "acme", "--name", "often", "--cron", "@every 6h")
	p.scheduled(0, "add", "bolt", "--cron", "@monthly")
	p.scheduled(0, "pause", "bolt")
	p.scheduled(0, "resume", "bolt")

	var list scheduleList
	before := time.Now()
	out, _ := p.scheduled(0, "list", "--output", "json")
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 3 {
		t.Fatalf("listed %s (%v)", out, err)
	}
	daily, often, monthly := list[0], list[1], list[2]
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	if at := daily.Next[0].In(berlin); daily.Times != "0 30 4 * * *" || at.Hour() != 4 || at.Minute() != 30 || at.Before(before) {
		t.Errorf("daily: %+v", daily)
	}
	if gap := often.Next[1].Sub(often.Next[0]); often.Name != "often" || gap != 6*time.Hour || often.Next[0].After(time.Now().Add(6*time.Hour+time.Second)) {
		t.Errorf("often: %+v", often)
	}
	if at := monthly.Next[0]; monthly.State != "active" || monthly.Zone != "UTC" || at.Day() != 1 || at.Hour() != 0 {
		t.Errorf("monthly: %+v", monthly)
	}
	if out, _ := p.scheduled(0, "list", "bolt"); strings.Contains(out, "acme") || !strings.Contains(out, "0 0 0 1 * *") {
		t.Errorf("of bolt:\n%s", out)
	}
}

// A broker without schedules serves everything else, and the commands say what it lacks.
func TestAnOldBrokerIsReportedAndServed(t *testing.T) {
	t.Parallel()
	p := setup(t)
	old := "NATS_URL=" + brokertest.Aged(t, p.broker.ClientURL(), "2.12.9")
	w := p.start(old)
	w.awaitLog("this broker does not support schedules")
	p.completed("acme", p.request(events.Requested{ProjectID: "acme"}))
	for _, args := range [][]string{{"list"}, {"add", "acme", "--cron", "@daily"}} {
		_, stderr, code := p.cliWith([]string{old}, append([]string{"schedule"}, args...)...)
		if code != 6 || !strings.Contains(stderr, `unsupported: schedules need nats-server 2.14 or newer: this one says "2.12.9"`) {
			t.Errorf("schedule %q ended with %d: %s", args, code, stderr)
		}
	}
}

// A warning names a schedule of a project that the control plane does not have, because its runs
// only fail. If the control plane is unreachable, there is no warning.
func TestAScheduleOfAnUnknownProjectIsWarnedOf(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start()
	add := func(project string, settings ...string) string {
		t.Helper()
		stdout, stderr, code := p.cliWith(settings, "schedule", "add", project, "--cron", "@yearly", "--replace", "--output", "json")
		if code != 0 || !json.Valid([]byte(stdout)) {
			t.Fatalf("schedule add %s ended with %d:\n%s%s", project, code, stdout, stderr)
		}
		return stderr
	}
	if said := add("nobody"); !strings.Contains(said, "warning: the control plane has no active project nobody") || !strings.Contains(said, string(codes.ProjectNotFound)) {
		t.Errorf("of an unknown project: %q", said)
	}
	p.exec("UPDATE control_plane.projects SET status = 'SUSPENDED' WHERE id::text = 'globex'")
	if said := add("globex"); !strings.Contains(said, "no active project globex") {
		t.Errorf("of a suspended project: %q", said)
	}
	for _, settings := range [][]string{nil, {"DATABASE_URL="}, {"DATABASE_URL=postgres://nobody@" + freeAddress(t) + "/none?sslmode=disable"}, {"PROJECT_QUERY=SELECT 1"}} {
		project := "nobody"
		if settings == nil {
			project = "acme"
		}
		if said := add(project, settings...); said != "" {
			t.Errorf("%q: %q", settings, said)
		}
	}
}
