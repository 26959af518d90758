package handlers

import (
	"context"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/export"
)

// Delivery is what the broker knows of a message.
type Delivery struct {
	export.Delivery
	Subject string
	// RepeatedHeader names a header that came more than once; empty: none did.
	RepeatedHeader string
}

// Deliveries tells how a message was delivered, and can leave it unsettled or keep it.
type Deliveries interface {
	// Delivery returns what the broker knows of a message that it delivered.
	Delivery(msg *message.Message) Delivery
	// Abandon settles nothing when the handler returns: neither ack nor nak.
	Abandon(msg *message.Message)
	// Defer keeps the message, if the handler returns nil: it is handed over again after
	// the pause. That costs no delivery.
	Defer(msg *message.Message, pause time.Duration)
}

// Invitations bring together messages that wait and may be handled side by side.
type Invitations interface {
	// Invite has up to n waiting messages of other projects handled beside msg, now. If
	// there are any, seats is called with their number and returns one value for each.
	Invite(msg *message.Message, n int, seats func(n int) []any)
	// Invited returns the value of a message that was invited.
	Invited(msg *message.Message) (seat any, ok bool)
}

// Publisher publishes messages. An error that wraps export.ErrUnavailable passes by
// itself; trying again is safe.
type Publisher interface {
	// Publish stores a message and waits until the broker has it. A message whose key was
	// published a short while ago is not stored again; an empty key is never the same.
	Publish(ctx context.Context, subject, key string, msg *message.Message) error
	// PublishOnce is Publish, unless a message on any subject that matches filter is
	// stored already: then it changes nothing and that is no error.
	PublishOnce(ctx context.Context, subject, filter string, msg *message.Message) error
	// PublishEphemeral hands a message to whoever listens now. It does not wait.
	PublishEphemeral(subject string, msg *message.Message) error
}

// incoming is a delivered message as events.Decode takes it.
func incoming(msg *message.Message, d Delivery) events.Message {
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
