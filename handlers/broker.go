package handlers

import (
	"context"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/delivery"
)

// Publisher publishes messages. An error that wraps export.ErrUnavailable is transient, and a retry
// is safe.
type Publisher interface {
	// Publish stores a message and waits for the broker's acknowledgement. A message with the key of a
	// recently published one is not stored again. An empty key disables this.
	Publish(ctx context.Context, subject, key string, msg *message.Message) error
	// PublishOnce is Publish, unless a message under filter is already stored. Then it changes nothing
	// and returns nil.
	PublishOnce(ctx context.Context, subject, filter string, msg *message.Message) error
	// PublishEphemeral sends a message to current subscribers. It does not wait.
	PublishEphemeral(subject string, msg *message.Message) error
}

// incoming converts a delivered message for events.Decode.
func incoming(msg *message.Message) events.Message {
	d := delivery.Of(msg.Context())
	header := make(map[string]string, len(msg.Metadata))
	for k, v := range msg.Metadata {
		header[k] = v
	}
	if d.RepeatedHeader != "" {
		repeat(header, d.RepeatedHeader)
	}
	return events.Message{Subject: d.Subject, Header: header, Body: msg.Payload}
}

// repeat adds a repeated header under a second spelling. events then refuses the message if the
// contract defines the header, whatever its values are.
func repeat(header map[string]string, name string) {
	other := strings.ToUpper(name)
	if other == name {
		other = strings.ToLower(name)
	}
	header[other] = header[name]
}

// outgoing converts an encoded event to a Watermill message. The event's id is the message's UUID.
func outgoing(m events.Message) *message.Message {
	msg := message.NewMessage(m.Header[events.HeaderID], m.Body)
	for k, v := range m.Header {
		msg.Metadata.Set(k, v)
	}
	return msg
}
