package main

import (
	"context"
	"errors"
	_ "time/tzdata" // the embedded broker knows every time zone, also in a container without a database of them

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
)

// provisionSchedules makes what schedules need in the broker, when this process is an
// intake, and reports whether there is anything to serve. A broker that has no schedules is
// no fault of a worker: it says so once, and everything else goes on.
func (w *worker) provisionSchedules(ctx context.Context) (bool, error) {
	if !w.config.Serves(config.RoleIntake) {
		return false, nil
	}
	err := broker.ProvisionSchedules(ctx, w.admin, setup.Topology(w.config))
	switch {
	case errors.Is(err, broker.ErrNoSchedules):
		w.log.WarnContext(ctx, "this broker cannot hold schedules", "error", err)
		return false, nil
	case errors.Is(err, broker.ErrNotSetUp):
		w.log.WarnContext(ctx, "schedules are off: let a worker that may make streams start once, then start this one again", "error", err)
		return false, nil
	}
	return err == nil, err
}

// due is the handler of what schedules make due.
func (w *worker) due() *handlers.Due {
	return &handlers.Due{
		Publisher: publications{w.publisher(server.UserWorker)}, Source: w.source, Log: w.log,
		Queued: queuedRequests{newRequestQueue(w.js), w.config.MaxWaitingPerProject},
	}
}

// queuedRequests is the queue of requests as the handler of schedules asks for it.
type queuedRequests struct {
	queue *broker.Queue
	limit int // of one project's queue
}

var _ handlers.Queued = queuedRequests{}

func (q queuedRequests) Requests(ctx context.Context, project string) ([][]byte, error) {
	var bodies [][]byte
	for m, err := range q.queue.Messages(ctx, events.RequestSubject(project), q.limit) {
		if err != nil {
			return nil, outage(err)
		}
		bodies = append(bodies, m.Body)
	}
	return bodies, nil
}

func newRequestQueue(js jetstream.JetStream) *broker.Queue {
	return broker.NewQueue(js, broker.Binding{Stream: events.StreamRequests, Consumer: events.ConsumerExport}, "")
}
