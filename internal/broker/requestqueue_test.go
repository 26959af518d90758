package broker_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/export"
)

// Waiting requests are found under the ids that their deliveries give them.
func TestRequestsAreFoundWhereTheyWait(t *testing.T) {
	t.Parallel()
	js := stream(t, fresh(t))
	must(t, broker.Provision(t.Context(), js, broker.Topology{}))
	q := broker.NewRequestQueue(js, handlers.DecodeStored)
	if oldest, err := q.Oldest(t.Context()); err != nil || !oldest.IsZero() {
		t.Errorf("the oldest of none is of %s, %v", oldest, err)
	}
	for _, m := range []struct{ subject, body string }{
		{"backup.requested.acme", `{"project_id":"acme","request_id":"r1"}`},
		{"backup.requested.acme", `{"project_id":"acme"}`},
		{"backup.requested.bolt", `{"project_id":"bolt","request_id":"r1"}`},
		{"backup.requested", `{"project_id":"acme","request_id":"r2"}`},
	} {
		_, err := js.Publish(t.Context(), m.subject, []byte(m.body))
		must(t, err)
	}
	acme, err := q.OfProject(t.Context(), "acme")
	must(t, err)
	if len(acme) != 2 || acme[0].Request.ID != (export.ID{Project: "acme", Request: "r1"}) || acme[1].Request.Request != acme[1].Delivery.EventID {
		t.Fatalf("acme has %+v", acme)
	}
	ids, err := q.Queued(t.Context(), "acme")
	must(t, err)
	if got := slices.Sorted(maps.Keys(ids)); !slices.Equal(got, []string{acme[1].Delivery.EventID, "r1"}) {
		t.Errorf("acme has %q", got)
	}
	for _, c := range []struct {
		request, project string
		want             []string
	}{{"r1", "", []string{"acme", "bolt"}}, {"r1", "bolt", []string{"bolt"}}, {"r2", "", []string{"acme"}}, {"r3", "", nil}} {
		found, err := q.Waiting(t.Context(), c.request, c.project)
		must(t, err)
		var of []string
		for _, r := range found {
			of = append(of, r.Request.Project)
		}
		if !slices.Equal(of, c.want) {
			t.Errorf("%s of %q waits in %q, want %q", c.request, c.project, of, c.want)
		}
	}
	if holders, err := q.Holders(t.Context(), "r1"); err != nil || !slices.Equal(holders, []string{"acme", "bolt"}) {
		t.Errorf("r1 is held by %q, %v", holders, err)
	}
	oldest, err := q.Oldest(t.Context())
	if err != nil || !oldest.Equal(acme[0].Delivery.Published) {
		t.Errorf("the oldest is of %s (%v), want %s", oldest, err, acme[0].Delivery.Published)
	}
	must(t, q.Remove(t.Context(), acme[0].Delivery))
	if there, err := q.Holds(t.Context(), acme[0].Delivery.Stream, acme[0].Delivery.Sequence); err != nil || there {
		t.Errorf("removed and there: %t, %v", there, err)
	}
	// If the project has no queue, the intake's message is the oldest.
	must(t, js.DeleteStream(t.Context(), "BACKUP_REQUESTS"))
	if after, err := q.Oldest(t.Context()); err != nil || !after.After(oldest) {
		t.Errorf("then the oldest is of %s, %v", after, err)
	}
}
