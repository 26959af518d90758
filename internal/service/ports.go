package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/replay"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// publications are the broker as the handlers ask for it.
type publications struct{ telemetry.Publisher }

var _ handlers.Publisher = publications{}

func (p publications) Publish(ctx context.Context, subject, key string, msg *message.Message) error {
	msg.SetContext(ctx)
	if key != "" {
		msg.Metadata.Set(broker.MsgIDMetadata, key)
	}
	return outage(p.Publisher.Publish(subject, msg))
}

func (p publications) PublishOnce(ctx context.Context, subject, filter string, msg *message.Message) error {
	_, err := p.Publisher.PublishOnce(ctx, subject, filter, msg)
	return outage(err)
}

// outage marks what passes by itself: all but a message that the broker can never take,
// and a queue that is full, which is for the publisher to hear.
func outage(err error) error {
	if err == nil || errors.Is(err, broker.ErrHeader) || errors.Is(err, broker.ErrClosed) || errors.Is(err, broker.ErrQueueFull) {
		return err
	}
	return fmt.Errorf("broker %w: %w", export.ErrUnavailable, err)
}

// requestQueue is the queue of requests as the sweeper asks for it.
type requestQueue struct {
	*broker.Queue
	intake *broker.Queue
}

var _ export.Queue = requestQueue{}

func (q requestQueue) Dead(ctx context.Context) ([]export.DeadRequest, error) {
	const limit = 500 // of one sweep
	messages, err := q.Queue.Dead(ctx, limit)
	var out []export.DeadRequest
	for _, m := range messages {
		d := delivery.Delivery{EventID: m.EventID, Last: true, Stream: m.Stream, Sequence: m.Sequence}
		out = append(out, export.DeadRequest{Request: handlers.DecodeStored(m.Subject, m.Header, m.Body, d), Delivery: d})
	}
	return out, err
}

func (q requestQueue) Holds(ctx context.Context, queue string, sequence uint64) (bool, error) {
	return q.Exists(ctx, queue, sequence)
}

func (q requestQueue) Remove(ctx context.Context, d delivery.Delivery) error {
	return q.Delete(ctx, d.Stream, d.Sequence)
}

// Oldest looks into the intake too: what it still holds may be in the ledger already, under
// the id that it gives again. It looks there first: what is moved meanwhile is met in the queue.
func (q requestQueue) Oldest(ctx context.Context) (time.Time, error) {
	bare, err := q.intake.Oldest(ctx)
	if err != nil {
		return time.Time{}, err
	}
	oldest, err := q.Queue.Oldest(ctx)
	if oldest.IsZero() || !bare.IsZero() && bare.Before(oldest) {
		oldest = bare
	}
	return oldest, err
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

// replayQueue is the queue as a plan of replays asks for it.
type replayQueue struct{ waitingRooms }

var _ replay.Queue = replayQueue{}

// Queued lists what one project has in its queue, which is bounded.
func (q replayQueue) Queued(ctx context.Context, project string) (map[string]bool, error) {
	out := map[string]bool{}
	for m, err := range q.requests.Messages(ctx, events.RequestSubject(project), deepest) {
		if err != nil {
			return nil, fmt.Errorf("%w: %w", events.ErrUnavailable, err)
		}
		d := delivery.Delivery{EventID: m.EventID, Stream: m.Stream, Sequence: m.Sequence}
		out[handlers.DecodeStored(m.Subject, m.Header, m.Body, d).Request] = true
	}
	return out, nil
}

// Holders looks through the queues and the intake.
func (q replayQueue) Holders(ctx context.Context, request string) ([]string, error) {
	waiting, err := q.Waiting(ctx, request, "")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	var out []string
	for _, w := range waiting {
		out = append(out, w.Request.Project)
	}
	return out, nil
}

// NewPlanner returns what plans replays from the broker's streams.
func NewPlanner(js jetstream.JetStream) *replay.Planner {
	return &replay.Planner{History: replay.NewStreams(js), Queue: replayQueue{newWaitingRooms(js)}}
}
