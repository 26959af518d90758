package service

import (
	"context"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
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

// NewPlanner returns what plans replays from the broker's streams.
func NewPlanner(js jetstream.JetStream) *replay.Planner {
	return &replay.Planner{History: replay.NewStreams(js), Queue: broker.NewRequestQueue(js, handlers.DecodeStored)}
}
