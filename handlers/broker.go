package handlers

import (
	"context"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/delivery"
)

// Publisher publishes messages. An error that wraps export.ErrUnavailable passes by
// itself; trying again is safe.
type Publisher interface {
	// Publish stores a message and waits until the broker has it. A message whose key was
	// published a short while ago is not stored again; an empty key is never the same.
	Publish(ctx context.Context, subject, key string, msg *message.Message) error
	// PublishOnce is Publish, unless a message on any subject that matches filter is
	// stored already: then it changes nothing and that is no error.
	PublishOnce(ctx context.Context, subject, filter string, msg *message.Message) error
	// PublishEphemeral hands a message to those that listen now. It does not wait.
	PublishEphemeral(subject string, msg *message.Message) error
}

// incoming is a delivered message as events.Decode takes it.
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

// repeat puts a header that came more than once under a second spelling, which events
// refuses when the contract knows the header, whatever its values are.
func repeat(header map[string]string, name string) {
	other := strings.ToUpper(name)
	if other == name {
		other = strings.ToLower(name)
	}
	header[other] = header[name]
}

// outgoing is an encoded event as a Watermill message. The event's own id is the message's.
func outgoing(m events.Message) *message.Message {
	msg := message.NewMessage(m.Header[events.HeaderID], m.Body)
	for k, v := range m.Header {
		msg.Metadata.Set(k, v)
	}
	return msg
}
