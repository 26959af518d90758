package broker_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
)

func TestInspectSeesEachDifferenceAndChangesNothing(t *testing.T) {
	t.Parallel()
	nc := connect(t, start(t, t.TempDir(), broker.RandomPort).ClientURL())
	js := stream(t, nc)
	writes := observe(t, nc, "$JS.API.*.CREATE.>")
	found, err := broker.Inspect(t.Context(), js, broker.Topology{})
	if err != nil || !slices.Contains(found, broker.Difference{Object: events.StreamRequests}) {
		t.Errorf("an empty broker: %v, %v", found, err)
	}
	if _, err := broker.InspectSchedules(t.Context(), js, broker.Topology{}); !errors.Is(err, broker.ErrNotSetUp) {
		t.Errorf("schedules of an empty broker: %v", err)
	}
	if n := writes.total(""); n != 0 {
		t.Errorf("%d writes", n)
	}
	must(t, broker.Provision(t.Context(), js, broker.Topology{}))
	must(t, broker.ProvisionSchedules(t.Context(), js, broker.Topology{}))
	found, err = broker.Inspect(t.Context(), js, broker.Topology{AckWait: time.Minute, MaxWaitingPerProject: 7})
	want := []broker.Difference{
		{Object: "BACKUP_REQUESTS", Field: "max messages per subject", Want: "7", Got: "100"},
		{Object: "BACKUP_REQUESTS/export-worker", Field: "ack wait", Want: "1m0s", Got: "30s"},
	}
	for _, d := range want {
		if err != nil || !slices.Contains(found, d) {
			t.Errorf("found %v (%v), want %v", found, err, d)
		}
	}
	if found, err := broker.InspectSchedules(t.Context(), js, broker.Topology{AckWait: time.Minute}); err != nil || len(found) != 1 || found[0].Object != "BACKUP_SCHEDULES/due" {
		t.Errorf("schedules: %v, %v", found, err)
	}
	if found, err = broker.Inspect(t.Context(), js, broker.Topology{}); err != nil || len(found) != 0 {
		t.Errorf("it was changed: %v, %v", found, err)
	}
	if _, err := broker.Inspect(t.Context(), js, broker.Topology{Replicas: 2}); err == nil {
		t.Error("two replicas were taken")
	}
}

// Each user is told who it is and has all the rights that it needs; others are named.
func TestABrokerTellsItsUsersTheirRights(t *testing.T) {
	t.Parallel()
	for name, g := range map[string]*guarded{"external": external(t), "embedded": embedded(t)} {
		g.t = t
		for _, u := range broker.Users() {
			who, err := broker.WhoAmI(t.Context(), g.connect(u))
			if err != nil || !strings.HasPrefix(who.User, "U") || !strings.HasPrefix(who.Account, "PGCOURIER") || who.Rights == nil {
				t.Errorf("%s: %s is %+v, %v", name, u, who, err)
				continue
			}
			if lacks := who.Rights.Lacks(u.Rights()); len(lacks) != 0 {
				t.Errorf("%s: %s lacks %q", name, u, lacks)
			}
			if other := broker.UserVerifier; u != other && !slices.Contains(who.Rights.Lacks(other.Rights()), "publish "+events.VerifiedFilter) {
				t.Errorf("%s: %s may do what a verifier does", name, u)
			}
		}
	}
	who, err := broker.WhoAmI(t.Context(), connect(t, shared.ClientURL()))
	if err != nil || who.Rights != nil {
		t.Errorf("a server without users: %+v, %v", who, err)
	}
	mute := raw(t, &server.Options{Host: "127.0.0.1", Port: broker.RandomPort, NoSystemAccount: true, NoLog: true, NoSigs: true})
	if who, err := broker.WhoAmI(t.Context(), connect(t, mute.ClientURL())); !errors.Is(err, broker.ErrNotTold) {
		t.Errorf("a server without a system account: %+v, %v", who, err)
	}
}

func TestRightsThatAreLacking(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		have  []string
		deny  []string
		want  string
		lacks bool
	}{
		{[]string{">"}, nil, "a.b", false}, {[]string{"a.*"}, nil, "a.b", false}, {[]string{"a.*"}, nil, "a.*", false},
		{[]string{"a.>"}, nil, "a.*.c", false}, {[]string{"a.*"}, nil, "a.>", true}, {[]string{"a.b"}, nil, "a.*", true},
		{[]string{"a.>"}, nil, "a", true}, {[]string{"a"}, nil, "a.b", true}, {[]string{"a.b.c"}, nil, "a.b", true},
		{[]string{">"}, []string{"a.*"}, "a.b", true}, {[]string{">"}, []string{"a.b"}, "a.*", false}, {nil, nil, "a", true},
	} {
		got := broker.Rights{Publish: c.have, DenyPublish: c.deny}.Lacks(broker.Rights{Publish: []string{c.want}})
		if (len(got) > 0) != c.lacks {
			t.Errorf("%q without %q for %s lacks %q", c.have, c.deny, c.want, got)
		}
		got = broker.Rights{Subscribe: c.have, DenySubscribe: c.deny}.Lacks(broker.Rights{Subscribe: []string{c.want}})
		if (len(got) > 0) != c.lacks {
			t.Errorf("to listen: %q without %q for %s lacks %q", c.have, c.deny, c.want, got)
		}
	}
}

func TestTheBrokersClock(t *testing.T) {
	t.Parallel()
	js := stream(t, connect(t, start(t, t.TempDir(), broker.RandomPort).ClientURL()))
	if _, _, _, err := broker.Clock(t.Context(), js, time.Now); err == nil {
		t.Error("a broker without streams told the time")
	}
	must(t, broker.Provision(t.Context(), js, broker.Topology{}))
	theirs, ours, margin, err := broker.Clock(t.Context(), js, time.Now)
	must(t, err)
	if off := theirs.Sub(ours).Abs(); off > margin+time.Second { // of one machine, which may be busy
		t.Errorf("%s off, within %s", off, margin)
	}
}
