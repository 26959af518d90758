package events_test

import (
	"fmt"
	"testing"

	"github.com/pgcourier/pgcourier/events"
)

func ExampleDecodeExportCall() {
	fmt.Println(events.CallSubject("acme", events.CallStatus))
	fmt.Println(events.DecodeExportCall("acme", events.Message{Body: []byte(`{"request_id":"one"}`)}))
	_, err := events.DecodeExportCall("acme", events.Message{Body: []byte(`{"request_id":"one","project_id":"globex"}`)})
	fmt.Println(err)
	// Output:
	// backup.api.acme.status
	// {one acme} <nil>
	// invalid project_id: contradicts the subject
}

func TestACallWithoutABodyAsksForTheFirstPage(t *testing.T) {
	t.Parallel()
	got, err := events.DecodeListCall(events.Message{})
	if err != nil || got.Limit != 50 || got.Cursor != "" || got.State != nil || !got.Since.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestCallsThatBreakTheContractAreRefused(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		"", "{", "[]", "null", `{}`, `{"request_id":""}`, `{"request_id":"a.b"}`, `{"request_id":7}`, `{"request_id":"a","request_id":"a"}`,
		`{"request_id":"a","more":1}`, `{"request_id":"a"} {}`, `{"request_id":"a","project_id":"_"}`,
	} {
		if got, err := events.DecodeExportCall("acme", events.Message{Body: []byte(body)}); err == nil {
			t.Errorf("%s: %+v", body, got)
		}
	}
	for _, body := range []string{
		"{", "[]", "null", `{"limit":0}`, `{"limit":201}`, `{"limit":1.5}`, `{"limit":"5"}`, `{"state":"failed"}`, `{"state":["lost"]}`,
		`{"since":"yesterday"}`, `{"cursor":7}`, `{"request_id":"a"}`,
	} {
		if got, err := events.DecodeListCall(events.Message{Body: []byte(body)}); err == nil {
			t.Errorf("%s: %+v", body, got)
		}
	}
}
