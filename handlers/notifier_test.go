package handlers_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/notify"
)

// office is a dispatcher and a courier with configured results.
type office struct {
	got       []events.Event
	delivered []notify.Notification
	done      bool
	pause     time.Duration
	err       error
}

func (o *office) Dispatch(_ context.Context, _ notify.Event, out events.Event) error {
	o.got = append(o.got, out)
	return o.err
}

func (o *office) Enqueue(_ context.Context, n notify.Notification) error {
	o.delivered = append(o.delivered, n)
	return nil
}

func (*office) Get(context.Context, notify.Key) (notify.Record, uint64, error) {
	return notify.Record{}, 0, notify.ErrNotFound
}
func (*office) Put(context.Context, notify.Record, uint64) error { return nil }

func (o *office) Deliver(_ context.Context, n notify.Notification) (bool, time.Duration, error) {
	o.delivered = append(o.delivered, n)
	return o.done, o.pause, o.err
}

func failure(t *testing.T) events.Message {
	t.Helper()
	m, err := events.Failed{
		RequestID: "r1", ProjectID: "acme", Code: codes.ProjectNotFound, Message: "no", FinishedAt: time.Unix(1, 0),
	}.Encode("test")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestOutcomesAreDispatched(t *testing.T) {
	t.Parallel()
	m := failure(t)
	o := &office{}
	h := &handlers.Notifier{Dispatcher: o, Log: slog.New(slog.DiscardHandler)}
	msg := delivered(m.Subject, string(m.Body))
	if err := h.Handle(msg); err != nil || len(o.got) != 1 || o.got[0].Failed == nil {
		t.Errorf("dispatched %+v, %v", o.got, err)
	}
	o.err = errors.New("the broker is away")
	if err := h.Handle(msg); !errors.Is(err, o.err) {
		t.Errorf("the fault of the dispatcher: %v", err)
	}
	o.err = nil
	if err := h.Handle(delivered(m.Subject, "{")); err != nil || len(o.got) != 2 {
		t.Errorf("a message that is not an outcome: %v, dispatched %d", err, len(o.got))
	}
}

func TestNotificationsComeAgainAfterTheirPause(t *testing.T) {
	t.Parallel()
	m := failure(t)
	o := &office{}
	d := &notify.Dispatcher{Policy: notify.Policy{Channels: notify.Channels()}, Records: o, Queue: o}
	out, err := events.DecodeOutcome(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Dispatch(t.Context(), notify.Event{Subject: m.Subject, Header: m.Header, Body: m.Body}, events.Event{Outcome: out}); err != nil || len(o.delivered) != 1 {
		t.Fatalf("queued %d, %v", len(o.delivered), err)
	}
	body, err := o.delivered[0].Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		body    []byte
		office  office
		settled bool
		after   time.Duration
	}{
		{"done", body, office{done: true}, true, 0},
		{"later", body, office{pause: time.Hour}, false, time.Hour},
		{"a fault", body, office{err: errors.New("away")}, false, 0},
		{"a message that is not a notification", []byte("{}"), office{err: errors.New("not reached")}, true, 0},
	} {
		h := &handlers.Notification{Courier: &c.office, Log: slog.New(slog.DiscardHandler)}
		err := h.Handle(message.NewMessage("1", c.body))
		retry, ok := errors.AsType[*delivery.RetryError](err)
		if (err == nil) != c.settled || ok != (c.after > 0) || ok && retry.After != c.after {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
