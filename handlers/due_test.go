package handlers_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// queued is a project's queue, or the error of reading it.
type queued struct {
	bodies [][]byte
	err    error
}

func (q queued) OfProject(_ context.Context, project string) (out []export.QueuedRequest, err error) {
	for i, body := range q.bodies {
		d := delivery.Delivery{Subject: events.RequestSubject(project), EventID: "eabc-1", Sequence: uint64(i) + 1}
		out = append(out, export.QueuedRequest{Request: handlers.DecodeStored(d, nil, body), Delivery: d})
	}
	return out, q.err
}

// run is a due message of the broker; next is the time of the run after it.
func run(body, edit, next string) *message.Message {
	return runOf("backup.schedule.acme.nightly.due", body, edit, next)
}

func runOf(subject, body, edit, next string) *message.Message {
	msg := delivered(subject, body)
	msg.Metadata.Set(events.HeaderNextDue, next)
	msg.Metadata.Set(events.HeaderScheduleEdit, edit)
	return msg
}

func dueHandler(out *tray, q queued) *handlers.Due {
	return &handlers.Due{Publisher: out, Queue: q, Source: "test", Log: slog.New(slog.DiscardHandler)}
}

func waits(err error) bool {
	_, ok := errors.AsType[*delivery.RetryError](err)
	return ok
}

func TestARunIsOneRequestHoweverOftenItIsDue(t *testing.T) {
	t.Parallel()
	out := &tray{}
	h := dueHandler(out, queued{})
	for _, msg := range []*message.Message{
		run(`{"project_id":"acme"}`, "e1", "2026-11-24T03:00:00Z"),
		run(`{"project_id":"acme"}`, "e1", "2026-11-24T03:00:00Z"), // again, after a crash of the broker
		run(`{"project_id":"acme"}`, "e1", "2026-11-25T03:00:00Z"), // the next day
		run(`{"project_id":"acme"}`, "e2", "2026-11-25T03:00:00Z"), // of the changed schedule
		run(`{"project_id":"acme","request_id":"mine","requested_by":"me"}`, "e1", "2026-11-24T03:00:00Z"),
	} {
		if err := h.Handle(msg); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	for _, p := range out.out {
		r, err := events.Decode(events.Message{Subject: p.subject, Header: p.msg.Metadata, Body: p.msg.Payload})
		if err != nil || p.key != r.RequestID || r.RequestedBy != "schedule:nightly" || !strings.HasPrefix(r.RequestID, "nightly-") {
			t.Errorf("published %+v under %s (%v)", r, p.key, err)
		}
		ids = append(ids, r.RequestID)
	}
	if ids[0] != ids[1] || ids[0] == ids[2] || ids[2] == ids[3] || ids[4] != ids[0] {
		t.Errorf("ids are %q", ids)
	}
}

func TestARunWaitsForTheOneBeforeIt(t *testing.T) {
	t.Parallel()
	own := &tray{}
	if err := dueHandler(own, queued{}).Handle(run(`{"project_id":"acme"}`, "e", "2026-11-24T03:00:00Z")); err != nil {
		t.Fatal(err)
	}
	outage := errors.New("outage")
	cases := []struct {
		name  string
		queue queued
		waits bool
		err   error
	}{
		{"behind a run of the same schedule", queued{bodies: [][]byte{[]byte(`{"project_id":"acme","request_id":"r1","requested_by":"schedule:nightly"}`)}}, true, nil},
		{"not behind another's", queued{bodies: [][]byte{[]byte(`{"project_id":"acme","request_id":"r1","requested_by":"schedule:hourly"}`)}}, false, nil},
		{"not behind itself, when its acknowledgement was lost", queued{bodies: [][]byte{own.out[0].msg.Payload}}, false, nil},
		{"not behind rubbish", queued{bodies: [][]byte{[]byte(`rubbish`)}}, false, nil},
		{"nor while the queue is unreadable", queued{err: outage}, false, outage},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out := &tray{}
			err := dueHandler(out, c.queue).Handle(run(`{"project_id":"acme"}`, "e", "2026-11-24T03:00:00Z"))
			if !c.waits && !errors.Is(err, c.err) || waits(err) != c.waits || (len(out.out) == 0) != (c.waits || c.err != nil) {
				t.Errorf("%v, published %d", err, len(out.out))
			}
		})
	}
}

// If requests of others change the queue after each look, the queue is read again before the run
// waits.
func TestARunOfAQueueThatChanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		changes int
		waits   bool
	}{{0, false}, {2, false}, {3, true}} {
		out := &tray{changes: c.changes}
		q := queued{bodies: [][]byte{[]byte(`{"project_id":"acme","request_id":"r1"}`), []byte(`rubbish`)}}
		err := dueHandler(out, q).Handle(run(`{"project_id":"acme"}`, "e", "2026-11-24T03:00:00Z"))
		if err != nil != c.waits || waits(err) != c.waits || (len(out.out) == 0) != c.waits {
			t.Errorf("after %d changes: %v, published %d", c.changes, err, len(out.out))
		}
		if !c.waits && out.last != 2 {
			t.Errorf("published after message %d, want after the last that was found", out.last)
		}
	}
}

// A worker refuses a run that was published without the command, or drops it if its subject names
// no project.
func TestARunThatBreaksTheContract(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"project_id":"bolt"}`, `{"project_id":"acme","x":1}`, `rubbish`, ``} {
		out := &tray{}
		if err := dueHandler(out, queued{}).Handle(run(body, "", "")); err != nil {
			t.Fatal(err)
		}
		if len(out.out) != 1 || out.out[0].subject != "backup.requested.acme" || string(out.out[0].msg.Payload) != body {
			t.Errorf("%s became %+v", body, out.out)
		}
	}
	out := &tray{}
	h := &handlers.Due{Publisher: out, Queue: queued{}, Log: slog.New(slog.DiscardHandler)}
	if err := h.Handle(runOf("backup.schedule._.x.due", `{"project_id":"acme"}`, "", "")); err != nil || len(out.out) != 0 {
		t.Errorf("%v, published %v", err, out.out)
	}
	full := &tray{refuse: []error{export.ErrUnavailable}}
	if err := dueHandler(full, queued{}).Handle(run(`{"project_id":"acme"}`, "", "")); !errors.Is(err, export.ErrUnavailable) {
		t.Errorf("a refusal of the broker: %v", err)
	}
}
