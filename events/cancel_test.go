package events_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
)

func TestACancelIsDecodedStrictly(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		subject, body, field string
		want                 events.Cancel
	}{
		"of a project":      {"backup.cancel.r1", `{"project_id":"acme","requested_by":"ann"}`, "", events.Cancel{RequestID: "r1", ProjectID: "acme", RequestedBy: "ann"}},
		"of any project":    {"backup.cancel.r1", `{}`, "", events.Cancel{RequestID: "r1"}},
		"no body":           {"backup.cancel.r1", ``, "body", events.Cancel{RequestID: "r1"}},
		"not an object":     {"backup.cancel.r1", `"acme"`, "body", events.Cancel{RequestID: "r1"}},
		"an unknown field":  {"backup.cancel.r1", `{"project":"acme"}`, "project", events.Cancel{RequestID: "r1"}},
		"a name twice":      {"backup.cancel.r1", `{"project_id":"a","project_id":"b"}`, "body", events.Cancel{RequestID: "r1"}},
		"no project's id":   {"backup.cancel.r1", `{"project_id":"_"}`, "project_id", events.Cancel{RequestID: "r1"}},
		"a wildcard":        {"backup.cancel.r1", `{"project_id":"*"}`, "project_id", events.Cancel{RequestID: "r1"}},
		"two lines":         {"backup.cancel.r1", `{"requested_by":"a\nb"}`, "requested_by", events.Cancel{RequestID: "r1"}},
		"another subject":   {"backup.started.r1", `{}`, "subject", events.Cancel{}},
		"no request":        {"backup.cancel", `{}`, "subject", events.Cancel{}},
		"too many tokens":   {"backup.cancel.a.b", `{}`, "subject", events.Cancel{}},
		"more than a token": {"backup.cancel." + strings.Repeat("x", 101), `{}`, "subject", events.Cancel{}},
	} {
		got, err := events.DecodeCancel(events.Message{Subject: tc.subject, Body: []byte(tc.body)})
		inv, refused := errors.AsType[*events.InvalidError](err)
		if got != tc.want || refused != (tc.field != "") || refused && inv.Field != tc.field {
			t.Errorf("%s: %+v, %v; want %+v and a fault of %q", name, got, err, tc.want, tc.field)
		}
	}
}

func FuzzDecodeCancel(f *testing.F) {
	f.Add("backup.cancel.r1", []byte(`{"project_id":"acme","requested_by":"ann"}`))
	f.Add("backup.cancel.r1", []byte(`{"project_id":"a","project_id":"b"}`))
	f.Add("backup.cancel.", []byte(`{}`))
	f.Add("backup.cancel.r1", []byte("\xef\xbb\xbf{}"))
	f.Fuzz(func(t *testing.T, subject string, body []byte) {
		c, err := events.DecodeCancel(events.Message{Subject: subject, Body: body})
		if err != nil {
			if c.ProjectID != "" || c.RequestedBy != "" || c.RequestID != "" && !events.ValidRequest(c.RequestID) {
				t.Fatalf("refused with %v, but decoded as: %+v", err, c)
			}
			return
		}
		m, err := c.Encode()
		if err != nil {
			t.Fatalf("accepted, but cannot be published: %v", err)
		}
		if again, err := events.DecodeCancel(m); err != nil || again != c || m.Subject != subject {
			t.Fatalf("published %+v, read %+v, %v", c, again, err)
		}
	})
}

// answering answers cancels as workers would; each worker is a function.
func answering(t *testing.T, nc *nats.Conn, workers ...func(*nats.Msg)) {
	t.Helper()
	for _, w := range workers {
		sub, err := nc.Subscribe(events.CancelFilter, w)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sub.Unsubscribe() })
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

func reply(t *testing.T, r events.CancelReply) func(*nats.Msg) {
	return func(m *nats.Msg) {
		out, err := r.Encode()
		if err != nil {
			t.Error(err)
			return
		}
		if err := m.Respond(out.Body); err != nil {
			t.Error(err)
		}
	}
}

func TestTheFirstDefiniteAnswerToACancelCounts(t *testing.T) {
	t.Parallel()
	nc := newBroker(t).connect(t)
	client, err := events.NewClient(nc)
	if err != nil {
		t.Fatal(err)
	}
	ask := events.Cancel{RequestID: "r1", ProjectID: "acme"}
	if _, err := client.Cancel(t.Context(), ask); !errors.Is(err, events.ErrUnavailable) || !strings.Contains(err.Error(), "no worker listens") {
		t.Errorf("without a worker: %v", err)
	}
	if _, err := client.Cancel(t.Context(), events.Cancel{RequestID: "a.b"}); err == nil || errors.Is(err, events.ErrUnavailable) {
		t.Errorf("a malformed id: %v", err)
	}
	away := reply(t, events.CancelReply{RequestID: "r1", Result: events.CancelUnavailable, Message: "the ledger is away"})
	foreign := func(m *nats.Msg) { _ = m.Respond([]byte("hello")) }
	mute := func(*nats.Msg) {}
	answering(t, nc, away, foreign, mute)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := client.Cancel(ctx, ask); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("with workers that cannot say: %v", err)
	}
	want := events.CancelReply{RequestID: "r1", ProjectID: "acme", Result: events.CancelAccepted, Message: "m"}
	answering(t, nc, reply(t, want))
	if got, err := client.Cancel(t.Context(), ask); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}

func FuzzDecodeCancelReply(f *testing.F) {
	f.Add([]byte(`{"request_id":"r1","result":"cancelled","message":"m"}`))
	f.Add([]byte(`{"request_id":"r1","result":"too_late","outcome":"backup.failed","code":"size_limit","message":"m","later":1}`))
	f.Add([]byte(`{"request_id":"r1","result":"perhaps","message":"m"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := events.DecodeCancelReply(events.Message{Body: body})
		if err != nil {
			if r != (events.CancelReply{}) {
				t.Fatalf("refused with %v, but decoded as: %+v", err, r)
			}
			return
		}
		m, err := r.Encode()
		if err != nil {
			t.Fatalf("accepted, but cannot be sent: %v", err)
		}
		if again, err := events.DecodeCancelReply(m); err != nil || again != r {
			t.Fatalf("sent %+v, read %+v, %v", r, again, err)
		}
	})
}
