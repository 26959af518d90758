package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/export"
)

// desk is a use case of cancelling with a configured answer.
type desk struct {
	asked string
	out   *export.Outcome
	err   error
}

func (d *desk) Cancel(_ context.Context, request, project, by string) (export.ID, *export.Outcome, error) {
	d.asked = fmt.Sprintf("%s/%s by %s", project, request, by)
	return export.ID{Project: "acme", Request: request}, d.out, d.err
}

func TestEveryCancelIsAnswered(t *testing.T) {
	t.Parallel()
	const body = `{"requested_by":"ann"}`
	for name, tc := range map[string]struct {
		subject, body string
		desk          desk
		want          events.CancelReply
		asked         bool
	}{
		"running":   {"backup.cancel.r1", body, desk{}, events.CancelReply{ProjectID: "acme", Result: events.CancelAccepted}, true},
		"cancelled": {"backup.cancel.r1", body, desk{out: &export.Outcome{State: export.Failed, Code: codes.Cancelled}}, events.CancelReply{ProjectID: "acme", Result: events.CancelAccepted}, true},
		"completed": {"backup.cancel.r1", body, desk{out: &export.Outcome{State: export.Completed}}, events.CancelReply{ProjectID: "acme", Result: events.CancelTooLate, Outcome: events.TypeCompleted}, true},
		"failed": {"backup.cancel.r1", body, desk{out: &export.Outcome{State: export.Failed, Code: codes.SizeLimit}}, events.CancelReply{
			ProjectID: "acme", Result: events.CancelTooLate, Outcome: events.TypeFailed, Code: codes.SizeLimit}, true},
		"unknown":    {"backup.cancel.r1", body, desk{err: fmt.Errorf("x: %w", export.ErrUnknown)}, events.CancelReply{Result: events.CancelUnknown}, true},
		"ambiguous":  {"backup.cancel.r1", body, desk{err: export.ErrAmbiguous}, events.CancelReply{Result: events.CancelAmbiguous}, true},
		"an outage":  {"backup.cancel.r1", body, desk{err: errors.New("password canary")}, events.CancelReply{Result: events.CancelUnavailable}, true},
		"rubbish":    {"backup.cancel.r1", `rubbish`, desk{}, events.CancelReply{Result: events.CancelInvalid}, false},
		"a wildcard": {"backup.cancel.*", body, desk{}, events.CancelReply{Result: events.CancelInvalid}, false},
	} {
		h := &handlers.Cancel{Canceller: &tc.desk, Log: slog.New(slog.DiscardHandler)}
		got := h.Answer(t.Context(), events.Message{Subject: tc.subject, Body: []byte(tc.body)})
		m, err := got.Encode()
		if err != nil {
			t.Fatalf("%s: the answer %+v breaks the contract: %v", name, got, err)
		}
		if again, err := events.DecodeCancelReply(m); err != nil || again != got {
			t.Errorf("%s: read as %+v, %v", name, again, err)
		}
		if got.Message == "" || got.Message == "password canary" {
			t.Errorf("%s: message %q", name, got.Message)
		}
		if want := tc.asked; (tc.desk.asked == "/r1 by ann") != want || !want && tc.desk.asked != "" {
			t.Errorf("%s: asked %q", name, tc.desk.asked)
		}
		got.Message, got.RequestID = "", ""
		if got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestTheCancelOfARestoreIsAnsweredInItsOwnWords(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		subject string
		desk    desk
		want    events.RestoreCancelReply
	}{
		"running": {"restore.cancel.r1", desk{}, events.RestoreCancelReply{
			RestoreID: "r1", ProjectID: "acme", Result: events.CancelAccepted, Message: "the restore is cancelled"}},
		"completed": {"restore.cancel.r1", desk{out: &export.Outcome{State: export.Completed}}, events.RestoreCancelReply{
			RestoreID: "r1", ProjectID: "acme", Result: events.CancelTooLate, Outcome: events.TypeRestoreCompleted, Message: "the restore had completed before"}},
		"failed": {"restore.cancel.r1", desk{out: &export.Outcome{State: export.Failed, Code: codes.TargetOccupied}}, events.RestoreCancelReply{
			RestoreID: "r1", ProjectID: "acme", Result: events.CancelTooLate, Outcome: events.TypeRestoreFailed, Code: codes.TargetOccupied,
			Message: "the restore had failed before: target_occupied"}},
		"unknown": {"restore.cancel.r1", desk{err: export.ErrUnknown}, events.RestoreCancelReply{
			RestoreID: "r1", Result: events.CancelUnknown, Message: "no such restore is known or waits"}},
		"ambiguous": {"restore.cancel.r1", desk{err: export.ErrAmbiguous}, events.RestoreCancelReply{
			RestoreID: "r1", Result: events.CancelAmbiguous, Message: "several projects use this restore id: name the project"}},
		"an outage": {"restore.cancel.r1", desk{err: errors.New("password canary")}, events.RestoreCancelReply{
			RestoreID: "r1", Result: events.CancelUnavailable, Message: "it cannot be recorded now"}},
		"of an export": {"backup.cancel.r1", desk{}, events.RestoreCancelReply{
			Result: events.CancelInvalid, Message: "invalid subject: must be restore.cancel.<restore_id>"}},
	} {
		h := &handlers.Cancel{Canceller: &tc.desk, Log: slog.New(slog.DiscardHandler)}
		got := h.AnswerRestore(t.Context(), events.Message{Subject: tc.subject, Body: []byte(`{"requested_by":"ann"}`)})
		m, err := got.Encode()
		if err != nil {
			t.Fatalf("%s: the answer %+v breaks the contract: %v", name, got, err)
		}
		if again, err := events.DecodeRestoreCancelReply(m); err != nil || again != got || got != tc.want {
			t.Errorf("%s: %+v, read as %+v, %v; want %+v", name, got, again, err, tc.want)
		}
		if asked := tc.desk.asked == "/r1 by ann"; asked != (got.Result != events.CancelInvalid) {
			t.Errorf("%s: asked %q", name, tc.desk.asked)
		}
	}
}
