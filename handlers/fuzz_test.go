package handlers_test

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// Any message in the queue becomes a request with valid ids, which is canonical or a refusal.
// Another delivery of it gives the same result. A repeated header of the contract is refused, for
// any value.
func FuzzDecodeStored(f *testing.F) {
	f.Add("backup.requested.acme", "ce-id", "1", "", false, []byte(`{"project_id":"acme","request_id":"r1"}`))
	f.Add("backup.requested.acme", "ce-id", "1", "1", true, []byte(`{"project_id":"acme"}`))
	f.Add("backup.requested.acme", "X-Own", "1", "2", true, []byte(`{"project_id":"acme"}`))
	f.Add("backup.requested._", "Content-Type", "application/cloudevents+json", "", false, []byte(`{"specversion":"1.0","type":"backup.requested","data":{"project_id":"acme"}}`))
	f.Add("backup.requested", "Content-Encoding", "gzip", "identity", true, []byte("\x1f\x8b"))
	f.Add("", "", "", "", false, []byte("null"))
	f.Fuzz(func(t *testing.T, subject, name, value, second string, repeated bool, body []byte) {
		is := delivery.Delivery{Subject: subject}
		stored := delivery.Of(deliveredAs(is, "").Context())
		lists := map[string][]string{name: {value}}
		if repeated {
			lists[name] = append(lists[name], second)
			is.RepeatedHeader = name
		}
		got := handlers.DecodeStored(stored, lists, body)
		checkStored(t, got, subject, body)
		if folded := strings.ToLower(name); repeated && got.Refusal == nil && (strings.HasPrefix(folded, "ce-") || folded == "content-type" || folded == "content-encoding" || folded == "traceparent") {
			t.Fatalf("%s is accepted twice: %q and %q", name, value, second)
		}
		core, msg := &answer{}, deliveredAs(is, string(body))
		msg.Metadata.Set(name, value)
		if err := (&handlers.Requested{Exporter: core, Announcer: core}).Handle(msg); err != nil {
			t.Fatal(err)
		}
		again := core.req
		if again.ID != got.ID || again.Digest != got.Digest || !bytes.Equal(again.Payload, got.Payload) || (again.Refusal == nil) != (got.Refusal == nil) {
			t.Fatalf("decoded from the queue: %+v, delivered: %+v", got, again)
		}
	})
}

func checkStored(t *testing.T, got export.Request, subject string, body []byte) {
	t.Helper()
	if !events.ValidRequest(got.Request) || !events.ValidProject(got.Project) && got.Project != events.NoProject {
		t.Fatalf("made %q", got.ID)
	}
	if project, ok := strings.CutPrefix(subject, events.TypeRequested+"."); ok && events.ValidProject(project) && got.Project != project {
		t.Fatalf("on %s it is a request of %s", subject, got.Project)
	}
	if got.Refusal != nil {
		if got.Refusal.Code != codes.InvalidRequest || got.Digest != sha256.Sum256(body) || len(got.Payload) > events.MaxRequestBytes ||
			!bytes.HasPrefix(body, got.Payload) || got.Schemas != nil || got.StoragePath != "" || got.Metadata != nil {
			t.Fatalf("the refusal is %+v", got)
		}
		return
	}
	r, err := events.Decode(events.Message{Subject: events.RequestSubject(got.Project), Body: got.Payload})
	if err != nil || r.RequestID != got.Request || got.Digest != sha256.Sum256(got.Payload) {
		t.Fatalf("the payload %s reads %+v, %v", got.Payload, r, err)
	}
	if canonical, err := r.Canonical(); err != nil || !bytes.Equal(canonical, got.Payload) {
		t.Fatalf("the payload %s is not canonical: %s, %v", got.Payload, canonical, err)
	}
}
