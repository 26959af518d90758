package broker

import (
	"context"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// RestoreQueue holds the waiting requests for restores. It implements export.Queue, and is safe for
// concurrent use.
type RestoreQueue struct {
	*Queue
	decode Decode
}

var (
	_ export.Queue        = (*RestoreQueue)(nil)
	_ export.WaitingQueue = (*RestoreQueue)(nil)
)

// NewRestoreQueue returns a view of the stream.
func NewRestoreQueue(js jetstream.JetStream, decode Decode) *RestoreQueue {
	return &RestoreQueue{NewQueue(js, Binding{Stream: events.StreamRestores, Consumer: events.ConsumerRestore}, ""), decode}
}

// OfProject returns at most 5000 waiting and running requests of one project, in the order of their
// sequences.
func (q *RestoreQueue) OfProject(ctx context.Context, project string) ([]export.QueuedRequest, error) {
	return q.first(ctx, events.RestoreSubject(project), MaxSearch)
}

// Waiting implements export.WaitingQueue. It may miss requests behind more than 5000 others.
func (q *RestoreQueue) Waiting(ctx context.Context, id, project string) ([]export.QueuedRequest, error) {
	filter := events.RestoreRequestedFilter
	if project != "" {
		filter = events.RestoreSubject(project)
	}
	queued, err := q.first(ctx, filter, MaxSearch)
	return slices.DeleteFunc(queued, func(r export.QueuedRequest) bool { return r.Request.Request != id }), err
}

// First returns at most limit waiting and running requests of all projects, in the order of their
// sequences.
func (q *RestoreQueue) First(ctx context.Context, limit int) ([]export.QueuedRequest, error) {
	return q.first(ctx, events.RestoreRequestedFilter, limit)
}

func (q *RestoreQueue) first(ctx context.Context, filter string, limit int) ([]export.QueuedRequest, error) {
	var out []export.QueuedRequest
	for m, err := range q.Messages(ctx, filter, limit) {
		if err != nil {
			return nil, err
		}
		out = append(out, export.QueuedRequest{Request: q.decode(m.Delivery, m.Header, m.Body), Delivery: m.Delivery})
	}
	return out, nil
}

// Dead implements export.Queue, with at most 500 requests.
func (q *RestoreQueue) Dead(ctx context.Context) ([]export.QueuedRequest, error) {
	messages, err := q.Queue.Dead(ctx, maxDead)
	var out []export.QueuedRequest
	for _, m := range messages {
		m.Delivery.Last = true
		out = append(out, export.QueuedRequest{Request: q.decode(m.Delivery, m.Header, m.Body), Delivery: m.Delivery})
	}
	return out, err
}

// Holds implements export.Queue.
func (q *RestoreQueue) Holds(ctx context.Context, stream string, sequence uint64) (bool, error) {
	return q.Exists(ctx, stream, sequence)
}

// Remove implements export.Queue.
func (q *RestoreQueue) Remove(ctx context.Context, d delivery.Delivery) error {
	return q.Delete(ctx, d.Stream, d.Sequence)
}
