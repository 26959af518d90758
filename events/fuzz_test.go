package events_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/pgcourier/pgcourier/events"
)

// Whatever is accepted has one canonical form, which decodes to itself; whatever is
// refused is refused in safe words, and believed no further than the alphabets go.
func FuzzDecode(f *testing.F) {
	f.Add("backup.requested", "", "", []byte(`{"project_id":"acme","schemas":["b","a"],"compress":false}`))
	f.Add("backup.requested.acme", "application/cloudevents+json", "", []byte(`{"specversion":"1.0","type":"backup.requested","data":{"project_id":"acme"}}`))
	f.Add("backup.requested.acme", "application/json", "backup.requested", []byte(`{"project_id":"acme","metadata":{"a":"\u001b"}}`))
	f.Add("backup.requested._", "text/plain", "x", []byte(`{"project_id":"\ud800"}`))
	f.Fuzz(func(t *testing.T, subject, contentType, ceType string, body []byte) {
		header := map[string]string{}
		if contentType != "" {
			header["Content-Type"] = contentType
		}
		if ceType != "" {
			header["ce-type"] = ceType
		}
		r, err := events.Decode(events.Raw{Subject: subject, Header: header, Body: body})
		if err != nil {
			checkRefusal(t, r, err)
			return
		}
		canonical, err := r.Canonical()
		if err != nil {
			t.Fatalf("accepted, but not canonical: %v", err)
		}
		again, err := events.Decode(events.Raw{Body: canonical})
		if err != nil {
			t.Fatalf("the canonical form %s is refused: %v", canonical, err)
		}
		twice, err := again.Canonical()
		if err != nil || !bytes.Equal(canonical, twice) {
			t.Fatalf("canonical forms differ: %s, %s, %v", canonical, twice, err)
		}
		if r.RequestID != "" {
			m, err := r.Encode("fuzz")
			if err != nil {
				t.Fatalf("accepted, but cannot be published: %v", err)
			}
			if back, err := events.Decode(m); err != nil || !reflect.DeepEqual(back, r) {
				t.Fatalf("published %+v, read %+v, %v", r, back, err)
			}
		}
	})
}

func checkRefusal(t *testing.T, r events.Requested, err error) {
	t.Helper()
	inv, ok := errors.AsType[*events.InvalidError](err)
	if !ok || inv.Field == "" || inv.Reason == "" {
		t.Fatalf("refused with %#v", err)
	}
	if len(err.Error()) > 1000 || bytes.ContainsFunc([]byte(err.Error()), func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Fatalf("unsafe text: %q", err)
	}
	if (r.ProjectID != "" && !events.ValidProject(r.ProjectID)) || (r.RequestID != "" && !events.ValidRequest(r.RequestID)) {
		t.Fatalf("believed too much: %+v", r)
	}
	r.ProjectID, r.RequestID, r.RequestedBy = "", "", ""
	if !reflect.DeepEqual(r, events.Requested{}) {
		t.Fatalf("believed more than the ids: %+v", r)
	}
}

// Whatever is accepted can be published again, and then reads the same.
func FuzzDecodeOutcome(f *testing.F) {
	for _, e := range contractEvents() {
		m, err := e.encode(e.full)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.Subject, m.Header["ce-type"], m.Body)
	}
	f.Fuzz(func(t *testing.T, subject, ceType string, body []byte) {
		header := map[string]string{}
		if ceType != "" {
			header["ce-type"] = ceType
		}
		o, err := events.DecodeOutcome(events.Message{Subject: subject, Header: header, Body: body})
		if err != nil {
			if inv, ok := errors.AsType[*events.InvalidError](err); !ok || inv.Field == "" || inv.Reason == "" {
				t.Fatalf("refused with %#v", err)
			}
			return
		}
		if (o.Completed == nil) == (o.Failed == nil) {
			t.Fatalf("not exactly one outcome: %+v", o)
		}
		m := encodeEvent(t, events.Event{Outcome: o})
		again, err := events.DecodeOutcome(m)
		if err != nil {
			t.Fatalf("%s is refused: %v", m.Body, err)
		}
		if twice := encodeEvent(t, events.Event{Outcome: again}); !reflect.DeepEqual(twice, m) {
			t.Fatalf("published %s, then %s", m.Body, twice.Body)
		}
	})
}
