package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
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
