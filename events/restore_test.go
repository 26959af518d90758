package events_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
)

func ExampleSplitTable() {
	for _, name := range []string{`acme.invoices`, `"Ten.ant"."a""b"`} {
		t := events.SplitTable(name)
		fmt.Println(t.Schema, t.Name)
	}
	// Output:
	// acme invoices
	// Ten.ant a"b
}

func TestRequestsForRestoresThatBreakTheContractAreRefused(t *testing.T) {
	t.Parallel()
	const from = `"from":{"request_id":"r"}`
	for body, want := range map[string]string{
		`{"project_id":"acme"}`:                                                             "invalid from: is missing",
		`{"project_id":"acme","from":{}}`:                                                   "invalid from.request_id: is missing",
		`{"project_id":"acme","from":{"request_id":"a b"}}`:                                 "invalid from.request_id: must be 1 to 100 letters",
		`{"project_id":"globex",` + from + `}`:                                              "invalid project_id: contradicts the subject",
		`{"project_id":"acme",` + from + `,"dsn":"postgres://x"}`:                           "invalid dsn: is not a field of the contract",
		`{"project_id":"acme",` + from + `,"schema":"x"}`:                                   "invalid schema: is not a field of the contract",
		`{"project_id":"acme",` + from + `,"mode":"drop"}`:                                  `invalid mode: must be one of "create", "replace"`,
		`{"project_id":"acme",` + from + `,"plan":"yes"}`:                                   "invalid plan: must be of type boolean",
		`{"project_id":"acme",` + from + `,"tables":["t"]}`:                                 "invalid tables[0]: must be schema.table",
		`{"project_id":"acme",` + from + `,"tables":["a.b.c"]}`:                             "invalid tables[0]: must be schema.table",
		`{"project_id":"acme",` + from + `,"schemas":["a"],"tables":["b.t"]}`:               "invalid tables[0]: must be of one of the schemas",
		`{"project_id":"acme",` + from + `,"schemas":["` + strings.Repeat("ü", 32) + `"]}`:  "invalid schemas[0]: must have at most 63 bytes",
		`{"project_id":"acme",` + from + `,"tables":["a.` + strings.Repeat("ü", 32) + `"]}`: "invalid tables[0]: must have at most 63 bytes",
		`{"project_id":"acme",` + from + `,"restore_id":"a.b"}`:                             "invalid restore_id: must be 1 to 100 letters",
	} {
		r, err := events.DecodeRestore(events.Message{Subject: "restore.requested.acme", Body: []byte(body)})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
		if r.ProjectID != "acme" {
			t.Errorf("%s: the subject's project is %q", body, r.ProjectID)
		}
	}
	for _, subject := range []string{"", "restore.requested", "backup.requested.acme", "restore.requested.acme.x"} {
		r, err := events.DecodeRestore(events.Message{Subject: subject, Body: []byte(`{"project_id":"acme",` + from + `}`)})
		if err == nil || r.ProjectID != "" {
			t.Errorf("on %q: %+v, %v", subject, r, err)
		}
	}
}

// An accepted body has one canonical form, which decodes to itself and satisfies the schema.
func FuzzDecodeRestore(f *testing.F) {
	schema := validators(f)[events.TypeRestoreRequested]
	f.Add("restore.requested.acme", []byte(`{"project_id":"acme","from":{"request_id":"latest"},"tables":["a.\"b.\"\"c\""],"schemas":["a"]}`))
	f.Add("restore.requested.acme", []byte(`{"specversion":"1.0","type":"restore.requested","data":{"project_id":"acme","from":{"project_id":"b","request_id":"r"}}}`))
	f.Add("restore.requested.acme", []byte(`{"project_id":"acme","from":{"request_id":"r"},"plan":true,"mode":"replace"}`))
	f.Fuzz(func(t *testing.T, subject string, body []byte) {
		r, err := events.DecodeRestore(events.Message{Subject: subject, Body: body})
		if err != nil {
			if r.From.RequestID != "" || r.ProjectID != "" && !events.ValidProject(r.ProjectID) || r.RestoreID != "" && !events.ValidRequest(r.RestoreID) {
				t.Fatalf("refused, and believed %+v", r)
			}
			return
		}
		canonical, err := r.Canonical()
		if err != nil {
			t.Fatalf("accepted, but not canonical: %v", err)
		}
		if err := schema.Validate(parseJSON(t, canonical)); err != nil {
			t.Fatalf("the canonical form %s breaks the schema: %v", canonical, err)
		}
		again, err := events.DecodeRestore(events.Message{Subject: events.RestoreSubject(r.ProjectID), Body: canonical})
		if err != nil {
			t.Fatalf("the canonical form %s is refused: %v", canonical, err)
		}
		twice, err := again.Canonical()
		if err != nil || !bytes.Equal(canonical, twice) {
			t.Fatalf("canonical forms differ: %s, %s, %v", canonical, twice, err)
		}
		for _, name := range r.Tables {
			if one := events.SplitTable(name); one.Schema == "" || one.Name == "" {
				t.Fatalf("%q is taken apart into %+v", name, one)
			}
		}
		if r.RestoreID != "" {
			m, err := r.Encode("fuzz")
			if err != nil {
				t.Fatalf("accepted, but cannot be published: %v", err)
			}
			if back, err := events.DecodeRestore(m); err != nil || !reflect.DeepEqual(back, r) {
				t.Fatalf("published %+v, read %+v, %v", r, back, err)
			}
		}
	})
}
