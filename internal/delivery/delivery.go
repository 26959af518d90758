// Package delivery is what a handler knows of the message it is given, and what it may have
// done with it.
//
// A handler reads the Delivery from its message's context with Of. It returns nil for a
// message that is done, and an error for one that failed and is delivered again after the
// subscriber's backoff. Three errors are decisions and no faults:
//
//	return delivery.Retry(pause)   // deliver it again after a pause of the handler's choice
//	return delivery.Snooze(pause)  // keep it and offer it again: that costs no delivery
//	return delivery.ErrDrop        // settle nothing: the message is another worker's now
//
// The subscriber's middleware carries them out (consumer.Settle).
package delivery

import (
	"context"
	"errors"
	"time"
)

// Delivery is what the broker knows of one delivery of a message.
type Delivery struct {
	// EventID names the message for good: derived from the stream's identity and the
	// sequence, so it is the same at each redelivery and a publisher cannot choose it.
	// Lower-case letters, digits and "-", at most 35 characters.
	EventID string
	// Number counts the deliveries of this message, 1 for the first.
	Number int
	// Last says that no further delivery follows this one.
	Last bool
	// Stream is the identity of the stream: its name and time of creation. A stream that
	// was deleted and made again is another one, and counts from 1 again.
	Stream string
	// Sequence is the message's number in that stream.
	Sequence uint64
	// Subject is the message's full subject.
	Subject string
	// Published is when the broker stored the message, by the broker's clock.
	Published time.Time
	// RepeatedHeader names a header that came more than once, letter case aside; empty if
	// none did. The message's metadata holds the first value of each.
	RepeatedHeader string
}

type deliveryKey struct{}

// NewContext returns a context of a message that was delivered as d says.
func NewContext(ctx context.Context, d Delivery) context.Context {
	return context.WithValue(ctx, deliveryKey{}, d)
}

// Of returns the delivery of a message by the message's context; the zero Delivery if the
// message came in no delivery.
func Of(ctx context.Context) Delivery {
	d, _ := ctx.Value(deliveryKey{}).(Delivery)
	return d
}

// ErrDrop is the decision to settle nothing: no ack, no nak, only an end of the heartbeats.
// It is for an attempt that was superseded: the message belongs to another worker, and
// an ack or nak would act on that delivery.
var ErrDrop = errors.New("the message is left to another worker")

// RetryError is the decision to have a message delivered again, without a fault.
type RetryError struct {
	// After is the pause before that delivery. 0: the subscriber's backoff.
	After time.Duration
}

// Retry returns a *RetryError.
func Retry(after time.Duration) error { return &RetryError{After: max(after, 0)} }

func (e *RetryError) Error() string { return "to be delivered again after " + e.After.String() }

// SnoozeError is the decision to keep a message that cannot be handled yet. The subscriber
// keeps it alive and offers the same delivery again.
type SnoozeError struct {
	// After is the least pause before the message, or another of its key, is offered.
	After time.Duration
}

// Snooze returns a *SnoozeError.
func Snooze(after time.Duration) error { return &SnoozeError{After: max(after, 0)} }

func (e *SnoozeError) Error() string { return "to be offered again after " + e.After.String() }
