package broker_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// nightly is never due while a test runs: it is at least a minute away.
func nightly(name string) broker.Schedule {
	at := time.Now().UTC().Add(-time.Minute)
	return broker.Schedule{
		Project: "acme", Name: name, Body: []byte(`{"project_id":"acme"}`),
		Pattern: at.Format("5 4 15 * * *"),
	}
}

func schedules(t *testing.T, js jetstream.JetStream) *broker.Schedules {
	t.Helper()
	must(t, broker.ProvisionSchedules(t.Context(), js, broker.Topology{}))
	s, err := broker.OpenSchedules(t.Context(), js)
	must(t, err)
	return s
}

// due waits for a run of acme's schedule that was stored after sequence.
func due(t *testing.T, js jetstream.JetStream, name string, sequence uint64) *jetstream.RawStreamMsg {
	t.Helper()
	stream, err := js.Stream(t.Context(), events.StreamSchedules)
	must(t, err)
	var m *jetstream.RawStreamMsg
	brokertest.Eventually(t, "the schedule is due", func() bool {
		m, err = stream.GetLastMsgForSubject(t.Context(), events.DueSubject("acme", name))
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			t.Fatal(err)
		}
		return err == nil && m.Sequence > sequence
	})
	return m
}

func TestSchedules(t *testing.T) {
	t.Parallel()
	js := stream(t, fresh(t))
	_, err := broker.OpenSchedules(t.Context(), js)
	if !errors.Is(err, broker.ErrNotSetUp) {
		t.Errorf("before there is a stream: %v", err)
	}
	s := schedules(t, js)
	writes := brokertest.Observe(t, js.Conn(), "$JS.API.STREAM.UPDATE.>")
	must(t, broker.ProvisionSchedules(t.Context(), js, broker.Topology{}))
	if n := writes.Total(""); n != 0 {
		t.Errorf("%d writes at the second run", n)
	}

	berlin := nightly("nightly")
	berlin.Zone = "Europe/Berlin"
	must(t, s.Add(t.Context(), berlin, false))
	must(t, s.Add(t.Context(), nightly("other"), false))
	if err := s.Add(t.Context(), berlin, false); !errors.Is(err, broker.ErrScheduleExists) {
		t.Errorf("again: %v", err)
	}
	berlin.Body = []byte(`{"project_id":"acme","format":"tar"}`)
	must(t, s.Add(t.Context(), berlin, true))
	all, err := s.List(t.Context(), "")
	must(t, err)
	if len(all) != 2 || all[1].Name != "nightly" || all[1].Zone != "Europe/Berlin" || all[1].Pattern != berlin.Pattern ||
		all[1].Paused || !bytes.Equal(all[1].Body, berlin.Body) || !all[1].LastDue.IsZero() {
		t.Errorf("listed %+v", all)
	}
	if none, err := s.List(t.Context(), "bolt"); err != nil || len(none) != 0 {
		t.Errorf("another project has %v, %v", none, err)
	}

	for _, want := range []bool{true, false} {
		changed, err := s.Pause(t.Context(), "acme", "nightly", true)
		if err != nil || changed != want {
			t.Errorf("pause: %t, %v", changed, err)
		}
	}
	paused, err := s.Get(t.Context(), "acme", "nightly")
	if err != nil || !paused.Paused || paused.Pattern != berlin.Pattern || paused.Zone != berlin.Zone || !bytes.Equal(paused.Body, berlin.Body) {
		t.Errorf("paused: %+v, %v", paused, err)
	}
	_, err = s.Pause(t.Context(), "acme", "nightly", false)
	must(t, err)

	must(t, s.Remove(t.Context(), "acme", "nightly"))
	for _, err := range []error{
		s.Remove(t.Context(), "acme", "nightly"),
		func() error { _, err := s.Pause(t.Context(), "acme", "nightly", true); return err }(),
	} {
		if !errors.Is(err, broker.ErrNoSchedule) {
			t.Errorf("of a removed one: %v", err)
		}
	}
}

// The broker refuses bad schedules that are published without the command.
func TestTheBrokerRefusesBadSchedules(t *testing.T) {
	t.Parallel()
	js := stream(t, fresh(t))
	s := schedules(t, js)
	for _, bad := range []string{"0 3 * * *", "0 0 25 * * *", "@every 1ms", "rubbish", "0 0 3 30 2 *"} {
		one := nightly("bad")
		one.Pattern = bad
		if err := s.Add(t.Context(), one, false); !errors.Is(err, broker.ErrSchedulePattern) {
			t.Errorf("pattern %q: %v", bad, err)
		}
	}
	one := nightly("bad")
	one.Zone = "Europe/Atlantis"
	if err := s.Add(t.Context(), one, false); !errors.Is(err, broker.ErrScheduleZone) {
		t.Errorf("zone: %v", err)
	}
	// Its run would go to another stream.
	m := nats.NewMsg(events.ScheduleSubject("acme", "bad"))
	m.Header.Set(jetstream.ScheduleHeader, "@every 1s")
	m.Header.Set(jetstream.ScheduleTargetHeader, events.RequestSubject("acme"))
	if _, err := js.PublishMsg(t.Context(), m); !errors.Is(err, jetstream.ErrScheduleTargetInvalid) {
		t.Errorf("a target in another stream: %v", err)
	}
	if all, err := s.List(t.Context(), ""); err != nil || len(all) != 0 {
		t.Errorf("stored %v, %v", all, err)
	}
	// Only the stream of schedules accepts schedules.
	must(t, broker.Provision(t.Context(), js, broker.Topology{}))
	m = nats.NewMsg(events.TypeRequested)
	m.Header.Set(jetstream.ScheduleHeader, "@every 1s")
	m.Header.Set(jetstream.ScheduleTargetHeader, events.TypeRequested)
	if _, err := js.PublishMsg(t.Context(), m); !errors.Is(err, jetstream.ErrMessageSchedulesDisabled) {
		t.Errorf("a schedule in the intake: %v", err)
	}
}

// A schedule is due each second. A due message carries the request and the time of the next run,
// and replaces the previous one.
func TestAScheduleIsDue(t *testing.T) {
	t.Parallel()
	js := stream(t, fresh(t))
	s := schedules(t, js)
	one := nightly("second")
	one.Pattern, one.Zone = "* * * * * *", "America/New_York"
	must(t, s.Add(t.Context(), one, false))
	first := due(t, js, "second", 0)
	second := due(t, js, "second", first.Sequence)
	next, err := time.Parse(time.RFC3339Nano, first.Header.Get(events.HeaderNextDue))
	must(t, err)
	if !bytes.Equal(first.Data, one.Body) || first.Header.Get(events.HeaderScheduleEdit) == "" || next.After(second.Time) {
		t.Errorf("due at %s: %v, then at %s", first.Time, first.Header, second.Time)
	}
	if first.Header.Get(jetstream.ScheduleHeader) != "" {
		t.Error("what is due is a schedule itself")
	}
	_, err = s.Pause(t.Context(), "acme", "second", true)
	must(t, err)
	found, err := s.Get(t.Context(), "acme", "second")
	if err != nil || found.LastDue.Before(second.Time) || !found.NextDue.IsZero() {
		t.Errorf("paused: %+v, %v", found, err)
	}
	held, err := js.Stream(t.Context(), events.StreamSchedules)
	must(t, err)
	if n := held.CachedInfo().State.Msgs; n != 2 {
		t.Errorf("%d messages are held, want the schedule and its newest run", n)
	}
}

// While the broker is down nothing is due; afterwards the missed runs are due once.
func TestMissedRunsAreDueOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv, err := brokertest.StartPlain(dir, brokertest.RandomPort)
	must(t, err)
	nc := connect(t, srv.ClientURL())
	js := stream(t, nc)
	one := nightly("often")
	one.Pattern = "@every 1s"
	must(t, schedules(t, js).Add(t.Context(), one, false))
	before := due(t, js, "often", 0)
	nc.Close()
	srv.Shutdown()
	down := time.Now()
	brokertest.Eventually(t, "four runs were missed", func() bool { return time.Since(down) > 4*time.Second })

	up := time.Now()
	js = stream(t, connect(t, brokertest.Start(t, dir, brokertest.RandomPort).ClientURL()))
	after := due(t, js, "often", before.Sequence)
	then, err := time.Parse(time.RFC3339Nano, after.Header.Get(events.HeaderNextDue))
	must(t, err)
	// In addition to the one for all missed runs: those before the outage and after it.
	most := 1 + uint64(down.Sub(before.Time)/time.Second+1) + uint64(after.Time.Sub(up)/time.Second+1)
	if runs := after.Sequence - before.Sequence; runs > most || !then.After(up) {
		t.Errorf("run %d at %s, the next at %s; before the outage it was %d, so at most %d are right", after.Sequence, after.Time, then, before.Sequence, most)
	}
}

// A broker that crashes after a run has forgotten the run: it stores the times of its schedules
// only at its end and from time to time. The run comes again, with the same next time.
func TestACrashedBrokerRepeatsARun(t *testing.T) {
	t.Parallel()
	dir, copied := soonDue(t, 4*time.Second), filepath.Join(t.TempDir(), "crashed")
	srv := brokertest.Start(t, dir, brokertest.RandomPort)
	first := due(t, stream(t, connect(t, srv.ClientURL())), "hourly", 0)
	// Everything is on disk before it is acknowledged, so a copy of the folder equals the state
	// after a crash.
	must(t, os.CopyFS(copied, os.DirFS(dir)))
	js := stream(t, connect(t, brokertest.Start(t, copied, brokertest.RandomPort).ClientURL()))
	again := due(t, js, "hourly", first.Sequence)
	for _, h := range []string{events.HeaderNextDue, events.HeaderScheduleEdit} {
		if a, b := first.Header.Get(h), again.Header.Get(h); a == "" || a != b {
			t.Errorf("%s is %q, then %q", h, a, b)
		}
	}
}

// soonDue returns the folder of a stopped broker, which has stored the times of its schedules
// before the first run of one. The run is due in lead, or later if the machine is too busy for
// that.
func soonDue(t *testing.T, lead time.Duration) (dir string) {
	t.Helper()
	dir = t.TempDir()
	srv, err := brokertest.StartPlain(dir, brokertest.RandomPort)
	must(t, err)
	nc := connect(t, srv.ClientURL())
	s := schedules(t, stream(t, nc))
	at := time.Now().UTC().Add(lead).Truncate(time.Second)
	one := nightly("hourly")
	one.Pattern = at.Format("5 4 * * * *")
	must(t, s.Add(t.Context(), one, false))
	nc.Close()
	srv.Shutdown()
	if time.Now().Before(at) {
		return dir
	}
	return soonDue(t, 2*lead)
}

// A broker that is too old is reported. Everything except schedules can be set up.
func TestAnOldBrokerHasNoSchedules(t *testing.T) {
	t.Parallel()
	srv := brokertest.Start(t, t.TempDir(), brokertest.RandomPort)
	js := stream(t, connect(t, brokertest.Aged(t, srv.ClientURL(), "2.12.9")))
	must(t, broker.Provision(t.Context(), js, broker.Topology{}))
	err := broker.ProvisionSchedules(t.Context(), js, broker.Topology{})
	_, openErr := broker.OpenSchedules(t.Context(), js)
	for _, err := range []error{err, openErr} {
		if !errors.Is(err, broker.ErrNoSchedules) || !strings.Contains(err.Error(), "2.12.9") {
			t.Errorf("got %v", err)
		}
	}
}
