package service

import (
	"context"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// publications is the publisher of the handlers. It sets the broker's headers of a publication and
// marks outages, which handlers retry without a limit.
type publications struct{ telemetry.Publisher }

var (
	_ handlers.Publisher    = publications{}
	_ handlers.DuePublisher = publications{}
)

func (p publications) Publish(ctx context.Context, subject, key string, msg *message.Message) error {
	msg.SetContext(ctx)
	if key != "" {
		msg.Metadata.Set(broker.MsgIDMetadata, key)
	}
	return outage(p.Publisher.Publish(subject, msg))
}

func (p publications) PublishAfter(ctx context.Context, subject, key string, last uint64, msg *message.Message) (bool, error) {
	msg.Metadata.Set(broker.MsgIDMetadata, key)
	stored, err := p.Publisher.PublishAfter(ctx, subject, last, msg)
	return stored, outage(err)
}

func (p publications) PublishOnce(ctx context.Context, subject, filter string, msg *message.Message) error {
	_, err := p.Publisher.PublishOnce(ctx, subject, filter, msg)
	if errors.Is(err, broker.ErrQueueFull) { // for a stream of outcomes this means that its limit is reached
		return fmt.Errorf("broker %w: %w", export.ErrUnavailable, err)
	}
	return outage(err)
}

// outage marks err as an outage of the broker. A message that the broker can never accept and a full
// queue are not outages: the publisher gets these errors.
func outage(err error) error {
	if errors.Is(err, broker.ErrTooLarge) {
		return fmt.Errorf("%w: %w", handlers.ErrTooLarge, err)
	}
	if err == nil || errors.Is(err, broker.ErrHeader) || errors.Is(err, broker.ErrClosed) || errors.Is(err, broker.ErrQueueFull) {
		return err
	}
	return fmt.Errorf("broker %w: %w", export.ErrUnavailable, err)
}
