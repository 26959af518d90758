package handlers_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// restoring is a Restorer that answers as configured.
type restoring struct {
	got export.Request
	out export.Outcome
	err error
}

func (r *restoring) Run(_ context.Context, req export.Request, _ delivery.Delivery) (export.Outcome, error) {
	r.got = req
	if r.out.Payload == nil {
		r.out.Payload = req.Payload
	}
	r.out.ID = req.ID
	return r.out, r.err
}

func TestARequestForARestoreIsDecodedAndItsOutcomeAnnouncedOnce(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 14, 9, 26, 54, 0, time.UTC)
	const body = `{"project_id":"acme","restore_id":"r1","from":{"request_id":"latest"},"mode":"replace"}`
	for name, tc := range map[string]struct {
		out     export.Outcome
		subject string
	}{
		"completed": {export.Outcome{State: export.Completed, Attempt: 1, StartedAt: at, FinishedAt: at, Restored: []byte(
			`{"from":{"project_id":"acme","request_id":"one"},"mode":"replace","schemas":["s"],"tables":1,"rows":2,"server_version":"17.2","kept":["old"],"kept_until":"2026-03-21T09:26:54Z"}`)},
			"restore.completed.acme.r1"},
		"failed": {export.Outcome{State: export.Failed, Attempt: 1, StartedAt: at, FinishedAt: at, Code: codes.TargetOccupied, Permanent: true, Message: "m"},
			"restore.failed.acme.r1"},
	} {
		to, r := &tray{}, &restoring{out: tc.out}
		h := &handlers.Restore{Restorer: r, Announcer: &handlers.Announcer{Publisher: to, Outbox: to, Source: "test", Restores: true, Log: slog.New(slog.DiscardHandler)}}
		if err := h.Handle(delivered("restore.requested.acme", body)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.got.Refusal != nil || r.got.Project != "acme" || r.got.Request != "r1" {
			t.Errorf("%s: decoded %+v", name, r.got)
		}
		if len(to.out) != 1 || to.out[0].subject != tc.subject || to.out[0].filter != "restore.*.acme.r1" || len(to.marked) != 1 {
			t.Errorf("%s: published %+v, marked %v", name, to.out, to.marked)
			continue
		}
		e, err := events.DecodeEvent(events.Message{Subject: tc.subject, Body: to.out[0].msg.Payload})
		if err != nil || e.RestoreCompleted == nil && e.RestoreFailed == nil {
			t.Errorf("%s: %v, %s", name, err, to.out[0].msg.Payload)
		}
		if c := e.RestoreCompleted; c != nil && (c.Rows != 2 || c.From.RequestID != "one" || len(c.Kept) != 1 || c.Request == nil || c.Request.Mode != events.RestoreReplace) {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestARequestForARestoreThatCannotBeReadBecomesARefusal(t *testing.T) {
	t.Parallel()
	r := &restoring{err: export.ErrSuperseded}
	h := &handlers.Restore{Restorer: r}
	d := delivery.Delivery{Subject: "restore.requested.acme", EventID: "eabc-7"}
	if err := h.Handle(deliveredAs(d, `{"project_id":"acme","from":{"request_id":"x"},"dsn":"postgres://canary"}`)); !errors.Is(err, delivery.ErrDrop) {
		t.Errorf("superseded: %v", err)
	}
	if f := r.got.Refusal; f == nil || f.Code != codes.InvalidRequest || r.got.Project != "acme" || r.got.Request != "eabc-7" || strings.Contains(f.Message, "canary") {
		t.Errorf("got %+v", r.got)
	}
	r.err = &export.TurnError{Wait: time.Second}
	if _, ok := errors.AsType[*delivery.SnoozeError](h.Handle(delivered("restore.requested.acme", `{}`))); !ok {
		t.Error("a restore that waits for its turn is not snoozed")
	}
	r.err = &export.Fault{Code: codes.TargetUnavailable, Message: "down"}
	if err := h.Handle(delivered("restore.requested.acme", `{}`)); !errors.Is(err, r.err) {
		t.Errorf("a fault to be tried again: %v", err)
	}
}

// An outcome that the broker finds too large is shortened, and says so.
func TestTheOutcomeOfARestoreIsShortened(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 14, 9, 26, 54, 0, time.UTC)
	remarks := `"` + strings.Repeat(`long remark","`, 40) + `last"`
	for name, out := range map[string]export.Outcome{
		"completed": {State: export.Completed, Attempt: 1, StartedAt: at, FinishedAt: at, Restored: []byte(
			`{"from":{"project_id":"acme","request_id":"one"},"mode":"create","schemas":["s"],"tables":1,"rows":2,"server_version":"17.2","remarks":[` + remarks + `]}`)},
		"failed": {State: export.Failed, Attempt: 1, StartedAt: at, FinishedAt: at, Code: codes.RestoreRejected, Permanent: true, Message: "m", Metadata: map[string]string{"a": strings.Repeat("b", 1000)}},
	} {
		to := &tray{refuse: []error{handlers.ErrTooLarge}}
		a := &handlers.Announcer{Publisher: to, Outbox: to, Source: "test", Restores: true, Log: slog.New(slog.DiscardHandler)}
		out.ID = export.ID{Project: "acme", Request: "r1"}
		if err := a.Announce(t.Context(), out); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(to.out) != 1 || !strings.Contains(string(to.out[0].msg.Payload), "this event is shortened") {
			t.Errorf("%s: %s", name, to.out[0].msg.Payload)
		}
	}
}
