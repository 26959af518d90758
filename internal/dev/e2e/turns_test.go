package e2e_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
)

// Several workers with free slots run one export of a project at a time. The others wait at no
// cost, while another project's export runs at once.
func TestSeveralWorkersRunOneExportOfAProjectAtATime(t *testing.T) {
	t.Parallel()
	p := setup(t)
	g := newGate(t, "tenant_acme")
	for range 2 {
		p.start("CONCURRENCY=2", longAckWait, "PG_BIN_DIR="+g.dir)
	}
	const flood = 8
	for i := range flood {
		p.request(events.Requested{ProjectID: "acme", RequestID: fmt.Sprintf("r%d", i)})
	}
	g.awaitHeld(1)
	eventually(t, "all are held", func() bool { return p.consumer(events.StreamRequests, events.ConsumerExport).NumAckPending == flood })
	p.request(events.Requested{ProjectID: "globex", RequestID: "single"})
	p.completed("globex", "single")
	for i := range flood {
		g.awaitHeld(i + 1)
		g.pass(1)
	}
	for i := range flood {
		id := fmt.Sprintf("r%d", i)
		p.completed("acme", id)
		if a := p.attempts("acme", id); len(a) != 1 || a[0].Delivery != 1 {
			t.Errorf("%s: attempts %+v, want one, of the first delivery", id, a)
		}
	}
	var beside int
	err := p.sql().QueryRow(t.Context(), `SELECT count(*) FROM pgcourier.attempts a JOIN pgcourier.attempts b USING (project_id)
		WHERE a.request_id < b.request_id AND (a.started_at, a.ended_at) OVERLAPS (b.started_at, b.ended_at)`).Scan(&beside)
	if err != nil || beside > 0 {
		t.Errorf("%d pairs of attempts of one project ran side by side, %v", beside, err)
	}
	p.settled()
	if i := p.consumer(events.StreamRequests, events.ConsumerExport); i.Delivered.Consumer != flood+1 || i.NumRedelivered > 0 {
		t.Errorf("%d deliveries of %d requests, %d of them again", i.Delivered.Consumer, flood+1, i.NumRedelivered)
	}
}

// A request that used up its deliveries before its first claim is still run.
func TestARequestThatOnlyWaitedIsRun(t *testing.T) {
	t.Parallel()
	p := setup(t)
	w := p.start(longAckWait)
	p.request(events.Requested{ProjectID: "globex", RequestID: "first"})
	p.completed("globex", "first")
	w.term()
	w.await()
	ids := []string{"a", "b"}
	for _, id := range ids {
		p.request(events.Requested{ProjectID: "acme", RequestID: id})
	}
	// A delivery to a pull of the ended worker would be lost until it expires.
	eventually(t, "the ended worker's pull is gone", func() bool {
		return p.consumer(events.StreamRequests, events.ConsumerExport).NumWaiting == 0
	})
	queue, err := p.js.Consumer(t.Context(), events.StreamRequests, events.ConsumerExport)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 * len(ids) { // workers that end before its turn
		m, err := queue.Next(jetstream.FetchMaxWait(timeout))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Nak(); err != nil {
			t.Fatal(err)
		}
	}
	p.start(longAckWait)
	for _, id := range ids {
		if c := p.completed("acme", id); c.Attempt != 1 {
			t.Errorf("%s completed in attempt %d", id, c.Attempt)
		}
	}
	p.settled()
}
