package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	// maxDead bounds the result of one search for dead messages.
	maxDead = 500
	// MaxSearch bounds a search: of the queue of one project, of all projects if none is named, and of
	// the intake, which has no limit of its own. A request that is not among so many may be in the queue.
	MaxSearch = 5000
)

// Decode returns the request in a queued message, the same as for its deliveries.
type Decode func(d delivery.Delivery, header map[string][]string, body []byte) export.Request

// RequestQueue holds the waiting requests: the intake, and the queues of the projects. It is safe
// for concurrent use. It needs the rights of a Queue on both streams.
type RequestQueue struct {
	Intake   *Queue
	Projects *Queue
	decode   Decode
}

// NewRequestQueue returns a view of both streams.
func NewRequestQueue(js jetstream.JetStream, decode Decode) *RequestQueue {
	return &RequestQueue{
		Intake:   NewQueue(js, Binding{Stream: events.StreamIntake, Consumer: events.ConsumerIntake}, ""),
		Projects: NewQueue(js, Binding{Stream: events.StreamRequests, Consumer: events.ConsumerExport}, events.StreamAdvisories),
		decode:   decode,
	}
}

func (q *RequestQueue) request(m QueuedMessage) export.QueuedRequest {
	return export.QueuedRequest{Request: q.decode(m.Delivery, m.Header, m.Body), Delivery: m.Delivery}
}

// Dead returns at most 500 stored requests that will not be delivered again. See Queue.Dead.
func (q *RequestQueue) Dead(ctx context.Context) ([]export.QueuedRequest, error) {
	messages, err := q.Projects.Dead(ctx, maxDead)
	var out []export.QueuedRequest
	for _, m := range messages {
		m.Delivery.Last = true
		out = append(out, q.request(m))
	}
	return out, err
}

// Holds reports whether a project's queue still holds the message. A stream with another identity
// was made again since and does not hold it.
func (q *RequestQueue) Holds(ctx context.Context, stream string, sequence uint64) (bool, error) {
	return q.Projects.Exists(ctx, stream, sequence)
}

// Remove deletes a message from the queue of its project. It is not an error if the message is
// missing or waits in the intake: the intake moves it to the queue, and a worker then finds its
// request ended.
func (q *RequestQueue) Remove(ctx context.Context, d delivery.Delivery) error {
	return q.Projects.Delete(ctx, d.Stream, d.Sequence)
}

// Oldest returns the time of publication of the oldest message that may still lead to a request;
// zero: there is none. A request of the intake may be in the ledger already, because its id is
// derived from the message. Oldest reads the intake first, so it finds a message that is moved in
// between in the queue.
func (q *RequestQueue) Oldest(ctx context.Context) (time.Time, error) {
	intake, err := q.Intake.Oldest(ctx)
	if err != nil {
		return time.Time{}, err
	}
	oldest, err := q.Projects.Oldest(ctx)
	if oldest.IsZero() || !intake.IsZero() && intake.Before(oldest) {
		oldest = intake
	}
	return oldest, err
}

// Waiting returns the waiting and running requests with an id, of one project, or of all if project
// is empty. It may miss requests behind more than 5000 others. It reads the intake first, so it
// finds a message that is moved in between in the queue.
func (q *RequestQueue) Waiting(ctx context.Context, request, project string) ([]export.QueuedRequest, error) {
	subject := events.RequestedFilter
	if project != "" {
		subject = events.RequestSubject(project)
	}
	intake, err := q.search(ctx, q.Intake, events.TypeRequested)
	if err != nil {
		return nil, err
	}
	queued, err := q.search(ctx, q.Projects, subject)
	if err != nil {
		return nil, err
	}
	var out []export.QueuedRequest
	for _, r := range append(intake, queued...) {
		if r.Request.Request == request && (project == "" || r.Request.Project == project) {
			out = append(out, r)
		}
	}
	return out, nil
}

// OfProject returns at most 5000 waiting and running requests of one project, in the order of their
// sequences.
func (q *RequestQueue) OfProject(ctx context.Context, project string) ([]export.QueuedRequest, error) {
	return q.search(ctx, q.Projects, events.RequestSubject(project))
}

// Queued returns the ids of the waiting and running requests of one project. An error wraps
// events.ErrUnavailable.
func (q *RequestQueue) Queued(ctx context.Context, project string) (map[string]bool, error) {
	queued, err := q.OfProject(ctx, project)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	out := map[string]bool{}
	for _, r := range queued {
		out[r.Request.Request] = true
	}
	return out, nil
}

// Holders returns the projects with a request of that id in the queue or the intake. An error wraps
// events.ErrUnavailable.
func (q *RequestQueue) Holders(ctx context.Context, request string) ([]string, error) {
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

func (q *RequestQueue) search(ctx context.Context, in *Queue, filter string) ([]export.QueuedRequest, error) {
	var out []export.QueuedRequest
	for m, err := range in.Messages(ctx, filter, MaxSearch) {
		if err != nil {
			return nil, err
		}
		out = append(out, q.request(m))
	}
	return out, nil
}
