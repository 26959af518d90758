package events_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pgcourier/pgcourier/events"
)

func ExampleDecodeFor() {
	r, err := events.DecodeFor("acme", events.Message{Body: []byte(`{"format":"custom"}`)})
	fmt.Println(r.ProjectID, r.Format, r.Compression, err)
	// Output: acme custom gzip <nil>
}

func TestABodyMayNotNameAnotherProjectThanThePath(t *testing.T) {
	t.Parallel()
	for body, field := range map[string]string{
		`{"project_id":"acme"}`:                       "",
		`{"project_id":"globex"}`:                     "project_id",
		`{"project_id":""}`:                           "project_id",
		`{"project_id":null}`:                         "project_id",
		`{"project_id":"acme","project_id":"globex"}`: "body",
		`{"unknown":1}`:                               "unknown",
		`[]`:                                          "body",
		``:                                            "body",
		`{"specversion":"1.0","type":"backup.requested","id":"1","source":"x","data":{"project_id":"globex"}}`: "project_id",
	} {
		r, err := events.DecodeFor("acme", events.Message{Body: []byte(body)})
		fault, _ := errors.AsType[*events.InvalidError](err)
		switch {
		case field == "" && (err != nil || r.ProjectID != "acme"):
			t.Errorf("%s: %+v, %v", body, r, err)
		case field != "" && (fault == nil || fault.Field != field):
			t.Errorf("%s: %v, want a fault of %s", body, err, field)
		}
	}
	for _, project := range []string{"", "_", "a/b", "a b"} {
		if _, err := events.DecodeFor(project, events.Message{Body: []byte(`{}`)}); err == nil {
			t.Errorf("project %q is accepted", project)
		}
	}
}
