package handlers

import (
	"context"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/notify"
)

// Courier makes one attempt to deliver a notification.
type Courier interface {
	Deliver(ctx context.Context, n notify.Notification) (done bool, pause time.Duration, err error)
}

// Notification handles the notifier's own queue.
type Notification struct {
	Courier Courier
	Log     *slog.Logger
}

// Handle is a Watermill NoPublishHandlerFunc. A message that is not a notification is logged and
// dropped: only the notifier may publish here.
func (h *Notification) Handle(msg *message.Message) error {
	n, err := notify.Decode(msg.Payload)
	if err != nil {
		h.Log.ErrorContext(msg.Context(), "queued notification cannot be read, it is dropped", "error", err)
		return nil
	}
	done, pause, err := h.Courier.Deliver(msg.Context(), n)
	if err != nil {
		return err
	}
	if done {
		return nil
	}
	return delivery.Retry(pause)
}
