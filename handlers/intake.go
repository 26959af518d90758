package handlers

import (
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/delivery"
)

// Intake handles the bare backup.requested, for gateways that know only the event's name: it gives
// the request an id and publishes it on its project's subject. While that subject is full it
// returns the broker's refusal, so that the message is redelivered later.
type Intake struct {
	Publisher Publisher
	// Source is the CloudEvents source of the published requests.
	Source string
}

// Handle is a Watermill NoPublishHandlerFunc. It publishes a message that cannot be decoded
// unchanged, because only the worker records and announces refusals.
func (h *Intake) Handle(msg *message.Message) error {
	d := delivery.Of(msg.Context())
	in := incoming(msg)
	r, err := events.Decode(in)
	if err == nil {
		if r.RequestID == "" {
			r.RequestID = d.EventID
		}
		var m events.Message
		if m, err = r.Encode(h.Source); err == nil {
			return h.Publisher.Publish(msg.Context(), m.Subject, d.EventID, outgoing(m))
		}
	}
	project := r.ProjectID
	if project == "" {
		project = events.NoProject
	}
	return h.Publisher.Publish(msg.Context(), events.RequestSubject(project), d.EventID, asItCame(msg, in))
}

// asItCame copies a message without the broker's own headers.
func asItCame(msg *message.Message, in events.Message) *message.Message {
	out := message.NewMessage(msg.UUID, in.Body)
	for k, v := range in.Header {
		if !strings.HasPrefix(strings.ToLower(k), "nats-") {
			out.Metadata.Set(k, v)
		}
	}
	return out
}
