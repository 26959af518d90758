package broker_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

func TestInspectSeesEachDifferenceAndChangesNothing(t *testing.T) {
	t.Parallel()
	nc := fresh(t)
	js := stream(t, nc)
	writes := brokertest.Observe(t, nc, "$JS.API.*.CREATE.>")
	found, err := broker.Inspect(t.Context(), js, broker.Topology{})
	if err != nil || !slices.Contains(found, broker.Difference{Object: events.StreamRequests}) {
		t.Errorf("an empty broker: %v, %v", found, err)
	}
	if _, err := broker.InspectSchedules(t.Context(), js, broker.Topology{}); !errors.Is(err, broker.ErrNotSetUp) {
		t.Errorf("schedules of an empty broker: %v", err)
	}
	if n := writes.Total(""); n != 0 {
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

func TestTheBrokersClock(t *testing.T) {
	t.Parallel()
	js := stream(t, fresh(t))
	if _, _, _, err := broker.Clock(t.Context(), js, time.Now); err == nil {
		t.Error("a broker without streams returned a time")
	}
	must(t, broker.Provision(t.Context(), js, broker.Topology{}))
	theirs, ours, margin, err := broker.Clock(t.Context(), js, time.Now)
	must(t, err)
	if off := theirs.Sub(ours).Abs(); off > margin+time.Second { // of one machine, which may be busy
		t.Errorf("%s off, within %s", off, margin)
	}
}
