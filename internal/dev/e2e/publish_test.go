package e2e_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
)

func TestRequestsArriveInEveryMode(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start()
	const data = `{"project_id":"globex","request_id":"ID","format":"custom","compression":"none","metadata":{"k":"v"}}`
	const minimal = `{"project_id":"globex"}`
	binary := nats.Header{
		"ce-specversion": {"1.0"}, "ce-type": {"backup.requested"}, "ce-source": {"/gateway"}, "ce-id": {"42"},
		"Content-Type": {"application/json; charset=utf-8"},
	}
	structured := func(data string) string {
		return `{"specversion":"1.0","type":"backup.requested","source":"/gateway","id":"42","datacontenttype":"application/json","data":` + data + `}`
	}
	media := nats.Header{"Content-Type": {"application/cloudevents+json"}}
	for i, c := range []struct {
		name    string
		subject string
		header  nats.Header
		body    string
		full    bool // not minimal
	}{
		{"bare body on the intake", "backup.requested", nil, minimal, false},
		{"bare body on the project's subject", "backup.requested.globex", nil, minimal, false},
		{"binary mode on the intake", "backup.requested", binary, data, true},
		{"binary mode on the project's subject", "backup.requested.globex", binary, data, true},
		{"structured mode on the intake", "backup.requested", media, structured(data), true},
		{"structured mode on the project's subject", "backup.requested.globex", media, structured(data), true},
		{"structured mode without its media type", "backup.requested", nil, structured(minimal), false},
		{"the older boolean", "backup.requested", nil, `{"project_id":"globex","compress":false,"format":"custom","metadata":{"k":"v"}}`, true},
	} {
		id := "mode-" + string(rune('a'+i))
		p.publish(c.subject, c.header, strings.ReplaceAll(c.body, `"ID"`, `"`+id+`"`))
		_, out := p.announced(uint64(i + 1))
		got := out.Completed
		if got == nil {
			t.Fatalf("%s: failed: %+v", c.name, out.Failed)
		}
		if c.full && (got.Format != events.FormatCustom || got.Compression != events.CompressionNone || got.Metadata["k"] != "v") ||
			!c.full && (got.Format != events.FormatSQL || got.Compression != events.CompressionGzip) {
			t.Errorf("%s: completed as %+v", c.name, got)
		}
		if strings.Contains(c.body, `"ID"`) && got.RequestID != id || !events.ValidRequest(got.RequestID) {
			t.Errorf("%s: request id is %q, sent was %q", c.name, got.RequestID, id)
		}
	}
	// The gateway's client makes an id itself, and a second request with it is the first.
	r := events.Requested{ProjectID: "quoted", Schemas: []string{`Ten*ant "x"`}}
	r.RequestID = p.request(r)
	first := p.completed("quoted", r.RequestID)
	if again, err := p.client.RequestBackup(t.Context(), r); err != nil || again != r.RequestID {
		t.Errorf("asked again: %q, %v", again, err)
	}
	if again := p.completed("quoted", r.RequestID); again.SHA256 != first.SHA256 || !again.FinishedAt.Equal(first.FinishedAt) {
		t.Errorf("the second outcome is %+v, the first %+v", again, first)
	}
	if !slices.Equal(first.Schemas, r.Schemas) || first.Rows != 100 {
		t.Errorf("completed %q with %d rows", first.Schemas, first.Rows)
	}
}
