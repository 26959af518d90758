package handlers_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/notify"
)

// office is a dispatcher, a courier and a broker that do as they are told.
type office struct {
	subject   string
	got       []events.Outcome
	delivered []notify.Notification
	done      bool
	pause     time.Duration
	err       error
	delays    []time.Duration
}

func (o *office) Delivery(*message.Message) handlers.Delivery {
	return handlers.Delivery{Subject: o.subject}
}
func (*office) Abandon(*message.Message) {}

func (*office) Defer(*message.Message, time.Duration) {}

func (o *office) Dispatch(_ context.Context, _ notify.Event, out events.Outcome) error {
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

func (o *office) Delay(_ *message.Message, pause time.Duration) { o.delays = append(o.delays, pause) }

func failure(t *testing.T) events.Message {
	t.Helper()
	m, err := events.Failed{
		RequestID: "r1", ProjectID: "acme", Code: events.CodeProjectNotFound, Message: "no", FinishedAt: time.Unix(1, 0),
	}.Encode("test")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestOutcomesAreDispatched(t *testing.T) {
	t.Parallel()
	m := failure(t)
	o := &office{subject: m.Subject}
	h := &handlers.Notifier{Dispatcher: o, Deliveries: o, Log: slog.New(slog.DiscardHandler)}
	msg := message.NewMessage("1", m.Body)
	if err := h.Handle(msg); err != nil || len(o.got) != 1 || o.got[0].Failed == nil {
		t.Errorf("dispatched %+v, %v", o.got, err)
	}
	o.err = errors.New("the broker is away")
	if err := h.Handle(msg); !errors.Is(err, o.err) {
		t.Errorf("the fault of the dispatcher: %v", err)
	}
	o.err = nil
	if err := h.Handle(message.NewMessage("1", []byte("{"))); err != nil || len(o.got) != 2 {
		t.Errorf("what is no outcome: %v, dispatched %d", err, len(o.got))
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
	if err := d.Dispatch(t.Context(), notify.Event{Subject: m.Subject, Header: m.Header, Body: m.Body}, out); err != nil || len(o.delivered) != 1 {
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
		delays  int
	}{
		{"done", body, office{done: true}, true, 0},
		{"later", body, office{pause: time.Hour}, false, 1},
		{"a fault", body, office{err: errors.New("away")}, false, 0},
		{"what is no notification", []byte("{}"), office{err: errors.New("not reached")}, true, 0},
	} {
		h := &handlers.Notification{Courier: &c.office, Delayer: &c.office, Log: slog.New(slog.DiscardHandler)}
		if err := h.Handle(message.NewMessage("1", c.body)); (err == nil) != c.settled || len(c.office.delays) != c.delays {
			t.Errorf("%s: %v, delays %v", c.name, err, c.office.delays)
		}
	}
}
