package handlers

import (
	"context"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/notify"
)

// Dispatcher queues the notifications of an event.
type Dispatcher interface {
	Dispatch(ctx context.Context, e notify.Event, of events.Event) error
}

// Notifier handles the events with notifications: it queues the notifications.
type Notifier struct {
	Dispatcher Dispatcher
	Log        *slog.Logger
}

// Handle is a Watermill NoPublishHandlerFunc. An event that breaks the contract was not published
// by a worker. It is logged and dropped: another delivery would not change it.
func (h *Notifier) Handle(msg *message.Message) error {
	in := incoming(msg)
	of, err := events.DecodeEvent(in)
	if err != nil {
		h.Log.ErrorContext(msg.Context(), "event cannot be read, no notification is sent", "subject", in.Subject, "error", err)
		return nil
	}
	return h.Dispatcher.Dispatch(msg.Context(), notify.Event{Subject: in.Subject, Header: in.Header, Body: in.Body}, of)
}
