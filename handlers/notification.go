package handlers

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/internal/notify"
)

// Courier makes one try to deliver a notification.
type Courier interface {
	Deliver(ctx context.Context, n notify.Notification) (done bool, pause time.Duration, err error)
}

// Delayer sets when a message whose handler fails is delivered again.
type Delayer interface {
	Delay(msg *message.Message, pause time.Duration)
}

// Notification handles the notifier's own queue.
type Notification struct {
	Courier Courier
	Delayer Delayer
	Log     *slog.Logger
}

// ErrLater makes the message come again; it is no fault.
var ErrLater = errors.New("to be delivered later")

// Handle is a Watermill NoPublishHandlerFunc. What is no notification is logged and left:
// only the notifier may publish here.
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
	h.Delayer.Delay(msg, pause)
	return ErrLater
}
