package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/notify"
)

var (
	// ErrDelivered says that a notification was delivered: there is nothing to replay.
	ErrDelivered = errors.New("there is nothing to replay")
	// ErrUnknown says that no notification has the key, or that the broker no longer keeps its
	// outcome.
	ErrUnknown = errors.New("not known")
)

// Replay puts a parked notification back into the queue and resets its number of attempts. Errors
// wrap ErrUnknown or ErrDelivered.
func Replay(ctx context.Context, publisher Publisher, js jetstream.JetStream, key notify.Key) (notify.Record, error) {
	if !events.ValidRequest(string(key)) { // the same alphabet
		return notify.Record{}, &unknownError{fmt.Sprintf("no notification %q is known", string(key))}
	}
	d := NewDispatcher(publisher, js, notify.Policy{})
	r, _, err := d.Records.Get(ctx, key)
	if errors.Is(err, notify.ErrNotFound) {
		return r, &unknownError{fmt.Sprintf("no notification %q is known", string(key))}
	}
	if err != nil {
		return r, err
	}
	if r.State == notify.Sent {
		return r, fmt.Errorf("%s was delivered at %s: %w", key, r.UpdatedAt.UTC().Format("2006-01-02 15:04:05Z"), ErrDelivered)
	}
	e, err := published(ctx, js, r.Event)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return r, &unknownError{fmt.Sprintf("the event that %s tells of is no longer kept", key)}
	}
	if err != nil {
		return r, err
	}
	return d.Replay(ctx, key, e)
}

// unknownError is an ErrUnknown with its own text.
type unknownError struct{ text string }

func (e *unknownError) Error() string { return e.text }

// Is implements errors.Is.
func (e *unknownError) Is(target error) bool { return target == ErrUnknown }

// published reads a published event by its name.
func published(ctx context.Context, js jetstream.JetStream, name string) (notify.Event, error) {
	if !strings.HasPrefix(name, events.TypeLinkIssued+".") {
		return outcome(ctx, js, name)
	}
	subject := name[:strings.LastIndexByte(name, '.')]
	stream, err := js.Stream(ctx, events.StreamEvents)
	if err != nil {
		return notify.Event{}, err
	}
	for from := uint64(1); ; { // an export has a few links
		m, err := stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(subject))
		if err != nil {
			return notify.Event{}, err
		}
		if e := eventOf(m); e.Name() == name {
			return e, nil
		}
		from = m.Sequence + 1
	}
}

// outcome reads a published event by its subject.
func outcome(ctx context.Context, js jetstream.JetStream, subject string) (notify.Event, error) {
	name := events.StreamOutcomes
	for _, one := range []string{events.TypeVerificationFailed, events.TypeExpiring} {
		if strings.HasPrefix(subject, one+".") {
			name = events.StreamEvents
		}
	}
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return notify.Event{}, err
	}
	m, err := stream.GetLastMsgForSubject(ctx, subject)
	if err != nil {
		return notify.Event{}, err
	}
	return eventOf(m), nil
}

func eventOf(m *jetstream.RawStreamMsg) notify.Event {
	e := notify.Event{Subject: m.Subject, Header: map[string]string{}, Body: m.Data}
	for name, values := range m.Header {
		e.Header[name] = values[0]
	}
	return e
}
