package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/mail"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/pgcourier/pgcourier/events"
)

// An accepted body has one canonical form, which decodes to itself, satisfies the schema, and means
// the same to a lenient parser. The error of a refused body repeats nothing of it, and ids that it
// gives have the contract's alphabet.
func FuzzDecode(f *testing.F) {
	schema := validators(f)[events.TypeRequested]
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
		r, err := events.Decode(events.Message{Subject: subject, Header: header, Body: body})
		if err != nil {
			checkRefusal(t, r, err)
			return
		}
		canonical, err := r.Canonical()
		if err != nil {
			t.Fatalf("accepted, but not canonical: %v", err)
		}
		if len(body) > events.MaxRequestBytes || subject != "" && subject != events.TypeRequested && subject != events.RequestSubject(r.ProjectID) {
			t.Fatalf("accepted %d bytes for %s on %s", len(body), r.ProjectID, subject)
		}
		if err := schema.Validate(parseJSON(t, canonical)); err != nil {
			t.Fatalf("the canonical form %s breaks the schema: %v", canonical, err)
		}
		checkLenient(t, schema, body, canonical)
		again, err := events.Decode(events.Message{Body: canonical})
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

// checkLenient reads an accepted body with the first version of encoding/json, which folds case,
// takes the last of two equal names and repairs invalid text. The values differ if Decode accepted
// any of these.
func checkLenient(t *testing.T, schema *jsonschema.Schema, body, canonical []byte) {
	t.Helper()
	doc, ok := parseJSON(t, body).(map[string]any)
	if !ok {
		t.Fatalf("accepted %s", body)
	}
	if _, structured := doc["specversion"]; structured {
		return // the request is inside
	}
	if err := schema.Validate(doc); err != nil {
		t.Fatalf("accepted %s against the schema: %v", body, err)
	}
	var lenient events.Requested
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&lenient); err != nil || dec.More() {
		t.Fatalf("accepted %s: %v", body, err)
	}
	if again, err := lenient.Canonical(); err != nil || !bytes.Equal(again, canonical) {
		t.Fatalf("%s reads as %s, and to a lenient parser as %s, %v", body, canonical, again, err)
	}
}

// An accepted label cannot leave its project's prefix, with any file system, URL parser or Unicode
// normalisation.
func FuzzStoragePath(f *testing.F) {
	for _, p := range []string{"a", "nightly/2026", "../x", "a/../b", "%2e%2e/x", "%252e", `a\..\b`, "C:/x", "\uff0e\uff0e/a", "a//b", ".x", "x.", "s3://b/k", "a.part-00001", strings.Repeat("a/", 15) + "a"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if p == "" {
			return // absent
		}
		r, err := events.Requested{ProjectID: "acme", StoragePath: p}.Normalize()
		if err != nil {
			return
		}
		full := path.Join(r.ProjectID, r.StoragePath, "r1.1.sql")
		if r.StoragePath != p || path.Clean(p) != p || !filepath.IsLocal(p) || full != "acme/"+p+"/r1.1.sql" || len(p) > 200 {
			t.Fatalf("accepted %q, which gives %q", p, full)
		}
		for segment := range strings.SplitSeq(p, "/") {
			if segment == "" || strings.HasPrefix(segment, ".") || strings.HasPrefix(segment, "-") || strings.HasSuffix(segment, ".") {
				t.Fatalf("accepted the segment %q", segment)
			}
		}
		if strings.ContainsFunc(p, func(r rune) bool {
			return r > '~' || strings.ContainsRune("\\:%?#*\"'`$&;|<>(){}[]!~^= \x7f", r) || r < ' '
		}) {
			t.Fatalf("accepted %q", p)
		}
	})
}

// An accepted mail address is one plain address for net/mail too.
func FuzzNotifyEmail(f *testing.F) {
	for _, a := range []string{
		"ops@example.com", "o'neil+tag@mail.example.co.uk", "a@example.com,b@example.com", "Ops <ops@example.com>", "ops@[127.0.0.1]",
		"a@example.com\r\nBcc: x@example.com", "a%b@example.com", "a@b@example.com", `"o p"@example.com`, "ops@example.com.", "a;b@example.com",
	} {
		f.Add(a)
	}
	f.Fuzz(func(t *testing.T, a string) {
		if a == "" {
			return // absent
		}
		r, err := events.Requested{ProjectID: "acme", NotifyEmail: a}.Normalize()
		if err != nil {
			return
		}
		if r.NotifyEmail != a || len(a) > 254 || strings.Count(a, "@") != 1 || strings.ContainsFunc(a, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Fatalf("accepted %q as %q", a, r.NotifyEmail)
		}
		for _, header := range []string{a, "<" + a + ">"} {
			all, err := mail.ParseAddressList(header)
			if err != nil || len(all) != 1 || all[0].Address != a || all[0].Name != "" {
				t.Fatalf("accepted %q, which net/mail reads as %v, %v", a, all, err)
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
		t.Fatalf("decoded more than is valid: %+v", r)
	}
	r.ProjectID, r.RequestID, r.RequestedBy = "", "", ""
	if !reflect.DeepEqual(r, events.Requested{}) {
		t.Fatalf("decoded more than the ids: %+v", r)
	}
}

// An accepted message can be published again, and then decodes to the same.
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
