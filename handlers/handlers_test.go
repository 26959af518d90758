package handlers_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// The tests in internal/dev/e2e run the handlers over a real broker, ledger and database. These
// tests check how the handlers decode a message and what they do with an answer.

type published struct {
	subject, key, filter string
	msg                  *message.Message
}

// tray records what is published, and refuses as configured.
type tray struct {
	out     []published
	refuse  []error
	changes int    // how often the queue changes before PublishAfter
	last    uint64 // of PublishAfter
	marked  []export.ID
	markErr error
}

func (t *tray) take(p published) error {
	if len(t.refuse) > 0 {
		err := t.refuse[0]
		t.refuse = t.refuse[1:]
		if err != nil {
			return err
		}
	}
	t.out = append(t.out, p)
	return nil
}

func (t *tray) Publish(_ context.Context, subject, key string, msg *message.Message) error {
	return t.take(published{subject: subject, key: key, msg: msg})
}

func (t *tray) PublishOnce(_ context.Context, subject, filter string, msg *message.Message) error {
	return t.take(published{subject: subject, filter: filter, msg: msg})
}

func (t *tray) PublishAfter(ctx context.Context, subject, key string, last uint64, msg *message.Message) (bool, error) {
	if t.changes > 0 {
		t.changes--
		return false, nil
	}
	t.last = last
	err := t.Publish(ctx, subject, key, msg)
	return err == nil, err
}

func (t *tray) PublishEphemeral(subject string, msg *message.Message) error {
	return t.take(published{subject: subject, msg: msg})
}

func (t *tray) MarkPublished(_ context.Context, id export.ID) error {
	t.marked = append(t.marked, id)
	return t.markErr
}

// delivered is a message as the broker delivers it.
func delivered(subject, body string) *message.Message {
	return deliveredAs(delivery.Delivery{Subject: subject}, body)
}

func deliveredAs(d delivery.Delivery, body string) *message.Message {
	d.EventID, d.Number, d.Stream, d.Sequence = "eabc-7", 1, "Q@1", 7
	msg := message.NewMessage("u", []byte(body))
	msg.SetContext(delivery.NewContext(context.Background(), d))
	return msg
}

// answer is a use case that records its calls and has a configured answer.
type answer struct {
	req     export.Request
	out     export.Outcome
	err     error
	gathers bool
	group   export.Group
}

func (a *answer) Run(ctx context.Context, req export.Request, _ delivery.Delivery, g export.Group) (export.Outcome, error) {
	a.req, a.group = req, g
	if a.gathers {
		a.group.Member = g.Gather(ctx, export.GroupKey{Role: "r"})
	}
	return a.out, a.err
}

func (a *answer) Announce(context.Context, export.Outcome) error { return nil }

func TestRequestedDecodesMessages(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, subject, body, repeated string
		header                        map[string]string
		id                            export.ID
		refused                       bool
	}{
		{name: "a bare body", subject: "backup.requested.acme", body: `{"project_id":"acme"}`, id: export.ID{Project: "acme", Request: "eabc-7"}},
		{name: "an id of its own", subject: "backup.requested.acme", body: `{"project_id":"acme","request_id":"r1"}`, id: export.ID{Project: "acme", Request: "r1"}},
		{name: "an unreadable message", subject: "backup.requested._", body: `rubbish`, id: export.ID{Project: "_", Request: "eabc-7"}, refused: true},
		{name: "an unknown field under a project's subject", subject: "backup.requested.acme", body: `{"project_id":"acme","request_id":"r1","x":1}`, id: export.ID{Project: "acme", Request: "r1"}, refused: true},
		{name: "a subject that contradicts the body", subject: "backup.requested.acme", body: `{"project_id":"bolt","request_id":"r1"}`, id: export.ID{Project: "acme", Request: "r1"}, refused: true},
		{name: "a repeated header", subject: "backup.requested.acme", body: `{"project_id":"acme"}`, header: map[string]string{"ce-id": "1"}, repeated: "ce-id", id: export.ID{Project: "acme", Request: "eabc-7"}, refused: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			core, msg := &answer{}, deliveredAs(delivery.Delivery{Subject: c.subject, RepeatedHeader: c.repeated}, c.body)
			for k, v := range c.header {
				msg.Metadata.Set(k, v)
			}
			h := &handlers.Requested{Exporter: core, Announcer: core}
			if err := h.Handle(msg); err != nil {
				t.Fatal(err)
			}
			if core.req.ID != c.id || (core.req.Refusal != nil) != c.refused {
				t.Errorf("request %v, refusal %v", core.req.ID, core.req.Refusal)
			}
			if c.refused && core.req.Refusal.Code != codes.InvalidRequest {
				t.Errorf("code %s", core.req.Refusal.Code)
			}
			if core.req.Digest != sha256.Sum256(core.req.Payload) {
				t.Error("the digest is not the payload's")
			}
			stored := handlers.DecodeStored(delivery.Of(msg.Context()), headerLists(c.header, c.repeated), []byte(c.body))
			if stored.ID != core.req.ID || stored.Digest != core.req.Digest || (stored.Refusal == nil) != (core.req.Refusal == nil) {
				t.Errorf("decoded from the queue: %v, %v", stored.ID, stored.Refusal)
			}
		})
	}
}

func headerLists(h map[string]string, repeated string) map[string][]string {
	out := map[string][]string{}
	for k, v := range h {
		out[k] = []string{v}
		if k == repeated {
			out[k] = append(out[k], "2")
		}
	}
	return out
}

func TestTwoSpellingsAreTheSameRequest(t *testing.T) {
	t.Parallel()
	var digests [2][32]byte
	for i, body := range []string{`{"project_id":"acme","request_id":"r"}`, ` { "request_id" : "r", "compress":true, "format":"sql","project_id":"acme" } `} {
		core := &answer{}
		h := &handlers.Requested{Exporter: core, Announcer: core}
		if err := h.Handle(delivered("backup.requested.acme", body)); err != nil {
			t.Fatal(err)
		}
		digests[i] = core.req.Digest
	}
	if digests[0] != digests[1] {
		t.Error("their digests differ")
	}
}

func TestDecisionsOnADelivery(t *testing.T) {
	t.Parallel()
	core := &answer{}
	h := &handlers.Requested{Exporter: core, Announcer: core}
	handle := func(err error) error {
		core.err = err
		return h.Handle(delivered("backup.requested.acme", `{"project_id":"acme"}`))
	}
	if err := handle(nil); err != nil {
		t.Errorf("done: %v", err)
	}
	if err := handle(export.ErrSuperseded); !errors.Is(err, delivery.ErrDrop) {
		t.Errorf("superseded: %v", err)
	}
	err := handle(&export.TurnError{Wait: time.Second})
	if snooze, ok := errors.AsType[*delivery.SnoozeError](err); !ok || snooze.After != time.Second {
		t.Errorf("out of turn: %v", err)
	}
	fault := &export.Fault{Code: codes.DumpFailed}
	if err := handle(fault); !errors.Is(err, fault) {
		t.Errorf("a fault to be tried again gave %v", err)
	}
}

func TestTheIntakeRoutesEverything(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, body, subject, contains string }{
		{"a request without an id gets one", `{"project_id":"acme"}`, "backup.requested.acme", `"request_id":"eabc-7"`},
		{"a refused one goes to its project unchanged", `{"project_id":"acme","x":1}`, "backup.requested.acme", `{"project_id":"acme","x":1}`},
		{"a message without a project goes to the subject for none", `rubbish`, "backup.requested._", `rubbish`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out := &tray{}
			h := &handlers.Intake{Publisher: out, Source: "test"}
			msg := delivered("backup.requested", c.body)
			msg.Metadata.Set("Nats-Rollup", "all")
			if err := h.Handle(msg); err != nil {
				t.Fatal(err)
			}
			p := out.out[0]
			if p.subject != c.subject || p.key != "eabc-7" || !strings.Contains(string(p.msg.Payload), c.contains) {
				t.Errorf("published %s to %s under key %s", p.msg.Payload, p.subject, p.key)
			}
			if p.msg.Metadata.Get("Nats-Rollup") != "" {
				t.Error("a command to the broker was passed on")
			}
		})
	}
}

func failedOutcome() export.Outcome {
	at := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	return export.Outcome{
		ID: export.ID{Project: "acme", Request: "r1"}, State: export.Failed, Attempt: 3,
		Code: codes.SourceUnavailable, Message: "the source cannot be reached", StartedAt: at, FinishedAt: at.Add(time.Second),
		Payload: []byte(`{"project_id":"acme","request_id":"r1","format":"sql","compression":"gzip"}`),
		Trace:   export.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	}
}

// If the broker's limit is raised while an outcome waits, the outcome is published whole.
func TestAnOutcomeIsShortenedForTheLimitOfTheMoment(t *testing.T) {
	t.Parallel()
	out := &tray{refuse: []error{handlers.ErrTooLarge, handlers.ErrTooLarge, nil}} // whole, without its request, whole
	a := &handlers.Announcer{Publisher: out, Outbox: out, Source: "test", Log: slog.New(slog.DiscardHandler)}
	if err := a.Announce(t.Context(), failedOutcome()); err != nil {
		t.Fatal(err)
	}
	p := out.out[0]
	decoded, err := events.DecodeOutcome(events.Message{Subject: p.subject, Header: p.msg.Metadata, Body: p.msg.Payload})
	if err != nil || decoded.Failed.Request == nil || decoded.Failed.Message != failedOutcome().Message {
		t.Errorf("decodes to %+v, %v", decoded.Failed, err)
	}
}

// refusing refuses every outcome until it is told to accept.
type refusing struct {
	*tray
	accept chan struct{}
}

func (r refusing) PublishOnce(ctx context.Context, subject, filter string, msg *message.Message) error {
	select {
	case <-r.accept:
		return r.tray.PublishOnce(ctx, subject, filter, msg)
	default:
		return export.ErrUnavailable
	}
}

// A worker and a sweeper of one process try the same outcome. The sweeper gives up first.
func TestAnOutcomeWaitsAsLongAsOneAnnouncementRuns(t *testing.T) {
	t.Parallel()
	out := refusing{&tray{}, make(chan struct{})}
	told := make(chan error)
	a := &handlers.Announcer{Publisher: out, Outbox: out, Source: "test", Log: slog.New(slog.DiscardHandler), Waiting: func(_ export.ID, err error) { told <- err }}
	ended := make(chan error, 1)
	go func() { ended <- a.Announce(t.Context(), failedOutcome()) }()
	if err := <-told; !errors.Is(err, export.ErrUnavailable) {
		t.Fatalf("reported %v", err)
	}
	sweep, giveUp := context.WithCancel(t.Context())
	giveUp()
	swept := make(chan error, 1)
	go func() { swept <- a.Announce(sweep, failedOutcome()) }()
	for waits := true; waits; {
		select {
		case err := <-told:
			if err == nil {
				t.Error("reported that nothing waits")
			}
		case err := <-swept:
			waits = false
			if err == nil {
				t.Error("the sweeper published")
			}
		}
	}
	close(out.accept)
	for err := errors.New("not told yet"); err != nil; {
		err = <-told
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAnOutcomeIsAnnouncedOnceTheBrokerIsBack(t *testing.T) {
	t.Parallel()
	out := &tray{refuse: []error{export.ErrUnavailable, nil}, markErr: export.ErrLedgerUnavailable}
	a := &handlers.Announcer{Publisher: out, Outbox: out, Source: "test", Log: slog.New(slog.DiscardHandler)}
	if err := a.Announce(t.Context(), failedOutcome()); err != nil {
		t.Fatal(err)
	}
	p := out.out[0]
	if p.subject != "backup.failed.acme.r1" || p.filter != "backup.*.acme.r1" || p.msg.Metadata.Get("traceparent") == "" {
		t.Errorf("published to %s, filter %s, metadata %v", p.subject, p.filter, p.msg.Metadata)
	}
	if len(out.marked) != 1 {
		t.Errorf("marked %v", out.marked)
	}
	again := &tray{}
	a = &handlers.Announcer{Publisher: again, Outbox: again, Source: "test", Log: slog.New(slog.DiscardHandler)}
	if err := a.Announce(t.Context(), failedOutcome()); err != nil {
		t.Fatal(err)
	}
	if string(again.out[0].msg.Payload) != string(p.msg.Payload) {
		t.Error("announcing again gives other bytes")
	}
	decoded, err := events.DecodeOutcome(events.Message{Subject: p.subject, Header: p.msg.Metadata, Body: p.msg.Payload})
	if err != nil || decoded.Failed.Code != codes.SourceUnavailable || decoded.Failed.Request == nil {
		t.Errorf("decodes to %+v, %v", decoded.Failed, err)
	}
}
