package events_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
)

func TestTheCancelOfARestoreIsAskedOnItsOwnSubject(t *testing.T) {
	t.Parallel()
	nc := newBroker(t).connect(t)
	client, err := events.NewClient(nc)
	if err != nil {
		t.Fatal(err)
	}
	ask := events.RestoreCancel{RestoreID: "r1", ProjectID: "acme", RequestedBy: "ann"}
	if _, err := client.CancelRestore(t.Context(), ask); !errors.Is(err, events.ErrUnavailable) || !strings.Contains(err.Error(), "no restorer listens") {
		t.Errorf("without a restorer: %v", err)
	}
	if _, err := client.CancelRestore(t.Context(), events.RestoreCancel{RestoreID: "a.b"}); err == nil || !strings.Contains(err.Error(), "restore_id") {
		t.Errorf("a malformed id: %v", err)
	}
	want := events.RestoreCancelReply{RestoreID: "r1", ProjectID: "acme", Result: events.CancelTooLate, Outcome: events.TypeRestoreCompleted, Message: "m"}
	away := events.RestoreCancelReply{RestoreID: "r1", Result: events.CancelUnavailable, Message: "the ledger is away"}
	asked := make(chan events.RestoreCancel, 1)
	sub, err := nc.Subscribe(events.RestoreCancelFilter, func(m *nats.Msg) {
		c, err := events.DecodeRestoreCancel(events.Message{Subject: m.Subject, Body: m.Data})
		if err != nil {
			t.Error(err)
		}
		asked <- c
		for _, r := range []events.RestoreCancelReply{away, want} { // of two restorers
			out, err := r.Encode()
			if err != nil {
				t.Error(err)
			}
			if err := m.Respond(out.Body); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	if got, err := client.CancelRestore(t.Context(), ask); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if got := <-asked; got != ask {
		t.Errorf("asked %+v, want %+v", got, ask)
	}
}

func FuzzDecodeRestoreCancel(f *testing.F) {
	f.Add("restore.cancel.r1", []byte(`{"project_id":"acme","requested_by":"ann"}`))
	f.Add("restore.cancel.", []byte(`{}`))
	f.Add("backup.cancel.r1", []byte(`{"project_id":"acme"}`))
	f.Add("", []byte(`{"restore_id":"r1","result":"too_late","outcome":"restore.failed","code":"size_limit","message":"m","later":1}`))
	f.Add("", []byte(`{"restore_id":"r1","result":"too_late","outcome":"backup.failed","message":"m"}`))
	f.Fuzz(func(t *testing.T, subject string, body []byte) {
		c, err := events.DecodeRestoreCancel(events.Message{Subject: subject, Body: body})
		if err == nil {
			m, err := c.Encode()
			if err != nil {
				t.Fatalf("accepted, but cannot be published: %v", err)
			}
			if again, err := events.DecodeRestoreCancel(m); err != nil || again != c || m.Subject != subject {
				t.Fatalf("published %+v, read %+v, %v", c, again, err)
			}
		} else if c.ProjectID != "" || c.RequestedBy != "" || c.RestoreID != "" && !events.ValidRequest(c.RestoreID) {
			t.Fatalf("refused with %v, but decoded as: %+v", err, c)
		}
		r, err := events.DecodeRestoreCancelReply(events.Message{Body: body})
		if err != nil {
			if r != (events.RestoreCancelReply{}) {
				t.Fatalf("refused with %v, but decoded as: %+v", err, r)
			}
			return
		}
		m, err := r.Encode()
		if err != nil {
			t.Fatalf("accepted, but cannot be sent: %v", err)
		}
		if again, err := events.DecodeRestoreCancelReply(m); err != nil || again != r {
			t.Fatalf("sent %+v, read %+v, %v", r, again, err)
		}
	})
}
