package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// cancelPatience bounds one cancel: the ledger's own limit for a call, twice, and room.
const cancelPatience = 25 * time.Second

// hearCancels answers cancels, and looks at the ledger when another worker has recorded
// one, until the returned function is called: running exports can be cancelled while the
// worker drains. Every worker answers, none for all: a group would give the question to
// one that may be paused.
func (w *worker) hearCancels(ctx context.Context) (stop func(), err error) {
	ctx = context.WithoutCancel(ctx)
	canceller := export.NewCanceller(export.CancellerConfig{
		Ledger: w.ledger, Announcer: w.speaker, Queue: newWaitingRooms(w.js), Tell: w.tellCancel, Log: w.log,
	})
	h := &handlers.Cancel{Canceller: canceller, Log: w.log}
	asked, err := w.nc.Subscribe(events.CancelFilter, func(m *nats.Msg) {
		ctx, cancel := context.WithTimeout(ctx, cancelPatience)
		defer cancel()
		reply, err := h.Answer(ctx, events.Message{Subject: m.Subject, Body: m.Data}).Encode()
		if err == nil && isInbox(m.Reply) {
			err = m.Respond(reply.Body)
		}
		if err != nil {
			w.log.WarnContext(ctx, "cancel not answered", "error", err)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen for cancels: %w", err)
	}
	told, err := w.nc.Subscribe(events.CancellingFilter, func(m *nats.Msg) {
		if tokens := strings.Split(m.Subject, "."); len(tokens) == 4 {
			w.exports.Nudge(export.ID{Project: tokens[2], Request: tokens[3]})
		}
	})
	if err != nil {
		_ = asked.Unsubscribe()
		return nil, fmt.Errorf("listen for recorded cancels: %w", err)
	}
	return func() {
		_, _ = asked.Unsubscribe(), told.Unsubscribe() // fails only on a closed connection
	}, nil
}

// isInbox says whether an answer may be sent there. Whoever asks names the subject, and a
// worker may publish to more of them than who asks.
func isInbox(reply string) bool {
	return reply != "" && !strings.HasPrefix(reply, "$") && !strings.HasPrefix(reply, "backup")
}

// tellCancel tells all workers, this one among them, that a cancel was recorded.
func (w *worker) tellCancel(id export.ID) {
	w.exports.Nudge(id)
	if err := w.nc.Publish(events.EventSubject(events.TypeCancelling, id.Project, id.Request), []byte("{}")); err != nil {
		w.log.Warn("recorded cancel not passed on, left to the next renewal", "project_id", id.Project, "request_id", id.Request, "error", err)
	}
}

// waitingRooms are the streams in which requests wait for a worker.
type waitingRooms struct{ intake, requests *broker.Queue }

var _ export.WaitingRooms = waitingRooms{}

func newWaitingRooms(js jetstream.JetStream) waitingRooms {
	return waitingRooms{
		intake:   broker.NewQueue(js, broker.Binding{Stream: events.StreamIntake, Consumer: events.ConsumerIntake}, ""),
		requests: broker.NewQueue(js, broker.Binding{Stream: events.StreamRequests, Consumer: events.ConsumerExport}, ""),
	}
}

// deepest bounds a search: of the queue of one project, which is bounded itself, of all
// projects' when none is named, and of the intake, which has no bound.
const deepest = 5000

// Waiting looks into the intake first: what is moved meanwhile is met in the queue.
func (r waitingRooms) Waiting(ctx context.Context, request, project string) ([]export.WaitingRequest, error) {
	subject := events.RequestedFilter
	if project != "" {
		subject = events.RequestSubject(project)
	}
	var out []export.WaitingRequest
	for _, room := range []struct {
		queue  *broker.Queue
		filter string
	}{{r.intake, events.TypeRequested}, {r.requests, subject}} {
		for m, err := range room.queue.Messages(ctx, room.filter, deepest) {
			if err != nil {
				return nil, err
			}
			d := delivery.Delivery{EventID: m.EventID, Stream: m.Stream, Sequence: m.Sequence}
			req := handlers.DecodeStored(m.Subject, m.Header, m.Body, d)
			if req.Request == request && (project == "" || req.Project == project) {
				out = append(out, export.WaitingRequest{Request: req, Delivery: d})
			}
		}
	}
	return out, nil
}

// Remove deletes a message from the queue; what waits in the intake is moved, and found
// ended by a worker.
func (r waitingRooms) Remove(ctx context.Context, d delivery.Delivery) error {
	return r.requests.Delete(ctx, d.Stream, d.Sequence)
}
