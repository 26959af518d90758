package service

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
	"github.com/pgcourier/pgcourier/internal/export"
)

// heldQueue calls between after each look into a queue.
type heldQueue struct {
	handlers.Queue
	between func()
}

func (q heldQueue) OfProject(ctx context.Context, project string) ([]export.QueuedRequest, error) {
	found, err := q.Queue.OfProject(ctx, project)
	q.between()
	return found, err
}

// A message that is stored or removed between the look into the queue and the publication is
// noticed, also if another process on another connection does it.
func TestTheQueueThatChangesAfterTheLook(t *testing.T) {
	t.Parallel()
	const run = "backup.schedule.acme.nightly.due"
	cases := []struct {
		name    string
		before  string // the body of a request in the queue
		between func(t *testing.T, js jetstream.JetStream, other *handlers.Due)
		waits   bool
		runs    int // of the schedule, in the queue at the end
		stored  int // requests there
	}{
		{"another process moves a run of the same schedule", "", func(t *testing.T, _ jetstream.JetStream, other *handlers.Due) {
			moved(t, other, run, "2026-11-25T03:00:00Z")
		}, true, 1, 1},
		{"behind a request, another process moves a run of the same schedule", `{"project_id":"acme"}`, func(t *testing.T, _ jetstream.JetStream, other *handlers.Due) {
			moved(t, other, run, "2026-11-25T03:00:00Z")
		}, true, 1, 2},
		{"another process moves the same run", "", func(t *testing.T, _ jetstream.JetStream, other *handlers.Due) {
			moved(t, other, run, "2026-11-24T03:00:00Z")
		}, false, 1, 1},
		{"another process moves a run of another schedule", "", func(t *testing.T, _ jetstream.JetStream, other *handlers.Due) {
			moved(t, other, "backup.schedule.acme.hourly.due", "2026-11-25T03:00:00Z")
		}, false, 1, 2},
		{"the request that was found has ended", `{"project_id":"acme"}`, func(t *testing.T, js jetstream.JetStream, _ *handlers.Due) {
			s, err := js.Stream(t.Context(), events.StreamRequests)
			if err == nil {
				err = s.DeleteMsg(t.Context(), 1)
			}
			if err != nil {
				t.Error(err)
			}
		}, false, 1, 1},
		{"nothing happens", `{"project_id":"acme"}`, func(*testing.T, jetstream.JetStream, *handlers.Due) {}, false, 1, 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url := brokertest.Start(t, t.TempDir(), brokertest.RandomPort).ClientURL()
			js := brokertest.JetStream(t, brokertest.Connect(t, url))
			if err := broker.Provision(t.Context(), js, broker.Topology{}); err != nil {
				t.Fatal(err)
			}
			if c.before != "" {
				if _, err := js.Publish(t.Context(), events.RequestSubject("acme"), []byte(c.before)); err != nil {
					t.Fatal(err)
				}
			}
			other := dueOver(t, url, func() {})
			var once sync.Once
			held := dueOver(t, url, func() { once.Do(func() { c.between(t, js, other) }) })
			err := held.Handle(dueMessage(run, "2026-11-24T03:00:00Z"))
			if _, retry := errors.AsType[*delivery.RetryError](err); retry != c.waits || err != nil && !retry {
				t.Errorf("the handler returned %v, want that it waits: %t", err, c.waits)
			}
			found, err := broker.NewRequestQueue(js, handlers.DecodeStored).OfProject(t.Context(), "acme")
			if err != nil {
				t.Fatal(err)
			}
			runs := 0
			for _, q := range found {
				if q.Request.RequestedBy == events.RequestedBySchedule("nightly") {
					runs++
				}
			}
			if runs != c.runs || len(found) != c.stored {
				t.Errorf("%d requests in the queue, %d of the schedule; want %d and %d", len(found), runs, c.stored, c.runs)
			}
		})
	}
}

// dueOver is the handler of a process with a connection of its own.
func dueOver(t *testing.T, url string, between func()) *handlers.Due {
	t.Helper()
	js := brokertest.JetStream(t, brokertest.Connect(t, url))
	return &handlers.Due{
		Publisher: publications{broker.NewPublisher(js)}, Source: source, Log: slog.New(slog.DiscardHandler),
		Queue: heldQueue{broker.NewRequestQueue(js, handlers.DecodeStored), between},
	}
}

// moved handles a due message in another process, which must not wait.
func moved(t *testing.T, other *handlers.Due, subject, next string) {
	t.Helper()
	if err := other.Handle(dueMessage(subject, next)); err != nil {
		t.Errorf("the other process: %v", err)
	}
}

// dueMessage is a due message as it is delivered; the run after it is due at next.
func dueMessage(subject, next string) *message.Message {
	msg := message.NewMessage("u", []byte(`{"project_id":"acme"}`))
	msg.Metadata.Set(events.HeaderNextDue, next)
	msg.SetContext(delivery.NewContext(context.Background(), delivery.Delivery{Subject: subject, EventID: "eabc-1", Number: 1}))
	return msg
}
