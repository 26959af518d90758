package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
)

// badRequest is a message that must be refused without anything being executed.
type badRequest struct {
	name    string
	subject string // default: the intake
	header  nats.Header
	body    string
	project string      // whose outcome it is. Default acme
	id      string      // default: derived from the message's place in the stream
	code    events.Code // default: invalid_request
}

// badRequests are the messages to refuse; trap is a file that none of them may make.
func badRequests(trap string) []badRequest {
	const acme = "backup.requested.acme"
	field := func(text string) string { return `{"project_id":"acme","request_id":"ID",` + text + `}` }
	cases := []badRequest{
		{name: "no JSON", subject: acme, body: "{{{"},
		{name: "no JSON on the intake", body: "{{{", project: events.NoProject},
		{name: "nothing", subject: acme},
		{name: "nothing on the intake", project: events.NoProject},
		{name: "a list", subject: acme, body: `["acme"]`},
		{name: "no UTF-8", subject: acme, body: "{\"project_id\":\"acme\",\"requested_by\":\"\xff\"}"},
		{name: "a name twice", subject: acme, body: `{"project_id":"acme","project_id":"globex"}`},
		{name: "more after the end", subject: acme, body: `{"project_id":"acme"}{"project_id":"globex"}`},
		{name: "too large", subject: acme, body: field(`"metadata":{"k":"` + strings.Repeat("x", 70_000) + `"}`)},
		{name: "no project", body: `{"format":"sql"}`, project: events.NoProject},
		{name: "the reserved project", body: `{"project_id":"_"}`, project: events.NoProject},
		{name: "a project with a dot", body: `{"project_id":"acme.x"}`, project: events.NoProject},
		{name: "a project that is a wildcard", body: `{"project_id":"*"}`, project: events.NoProject},
		{name: "a subject that is no project", subject: "backup.requested.ac$me", body: `{"project_id":"acme"}`, project: events.NoProject},
		{name: "a subject that contradicts the body", subject: acme, body: `{"project_id":"globex","request_id":"ID"}`, id: "ID"},
		{name: "a request id with a dot", body: `{"project_id":"acme","request_id":"a.b"}`},
		{name: "a request id that is a path", body: `{"project_id":"acme","request_id":"../../x"}`},
		{name: "an unknown field", body: field(`"shell":"rm"`), id: "ID"},
		{name: "another case of a field", body: field(`"Format":"tar"`), id: "ID"},
		{name: "an unknown format", body: field(`"format":"directory"`), id: "ID"},
		{name: "an unknown compression", body: field(`"compression":"lz4"`), id: "ID"},
		{name: "a contradiction", body: field(`"compress":false,"compression":"zstd"`), id: "ID"},
		{name: "a number for a text", body: field(`"requested_by":7`), id: "ID"},
		{name: "no schema", body: field(`"schemas":[]`), id: "ID"},
		{name: "a schema with NUL", body: field(`"schemas":["tenant_acme\u0000"]`), id: "ID"},
		{name: "a schema that is too long", body: field(`"schemas":["` + strings.Repeat("ä", 32) + `"]`), id: "ID"},
		{name: "a header break in a mail address", body: field(`"notify_email":"a@example.com\r\nBcc: b@example.com"`), id: "ID"},
		{name: "two mail addresses", body: field(`"notify_email":"a@example.com,b@example.com"`), id: "ID"},
		{name: "a later version", header: nats.Header{"ce-specversion": {"2.0"}}, body: field(`"format":"sql"`), id: "ID"},
		{name: "another event", header: nats.Header{"ce-type": {"backup.completed"}}, body: field(`"format":"sql"`), id: "ID"},
		{name: "another version of the schema", header: nats.Header{"ce-dataschema": {"https://example.com/backup.requested.v2.json"}}, body: field(`"format":"sql"`), id: "ID"},
		{name: "a repeated header", subject: acme, header: nats.Header{"ce-id": {"a", "b"}}, body: field(`"format":"sql"`), id: "ID"},
		{name: "a header in two spellings", subject: acme, header: nats.Header{"ce-id": {"a"}, "Ce-Id": {"b"}}, body: field(`"format":"sql"`), id: "ID"},
		{name: "a packed body", header: nats.Header{"Content-Encoding": {"gzip"}}, body: field(`"format":"sql"`), id: "ID"},
		{name: "structured mode without data", body: `{"specversion":"1.0","type":"backup.requested","id":"1","source":"/x"}`, project: events.NoProject},
	}
	for _, path := range []string{"../globex", "/etc", "a/../../b", "..", `a\\..\\b`, "a//b", ".hidden", `a\u0000b`, "a b"} {
		cases = append(cases, badRequest{name: "storage path " + path, body: field(`"storage_path":"` + path + `"`), id: "ID"})
	}
	for _, schema := range []string{"tenant_globex", "tenant_*", "*", "tenant_acm?", "TENANT_ACME", "--file=" + trap, "--schema=tenant_globex", "pg_catalog", "public", `tenant_acme\" \"tenant_globex`} {
		cases = append(cases, badRequest{name: "schema " + schema, body: field(`"schemas":["tenant_acme","` + schema + `"]`), id: "ID", code: events.CodeSchemaNotAllowed})
	}
	for _, project := range []string{"nobody", "dormant", "ACME"} {
		cases = append(cases, badRequest{name: "project " + project, body: `{"project_id":"` + project + `","request_id":"ID"}`, id: "ID", project: project, code: events.CodeProjectNotFound})
	}
	return cases
}

func TestBadInputIsRefusedOnceAndNothingIsExecuted(t *testing.T) {
	t.Parallel()
	p := setup(t)
	recorder := fakePgDump(t, `exec "$real" "$@"`)
	p.start("CONCURRENCY=1", "PG_BIN_DIR="+recorder)
	// Short enough for a schema's name of 63 bytes.
	trap := filepath.Join(os.TempDir(), fmt.Sprintf("trap-%d", os.Getpid()))
	var refusals []string // of unknown and suspended projects
	for i, c := range badRequests(trap) {
		id := fmt.Sprintf("bad-%d", i)
		if c.subject == "" {
			c.subject = events.TypeRequested
		}
		if c.project == "" {
			c.project = "acme"
		}
		if c.code == "" {
			c.code = events.CodeInvalidRequest
		}
		before := len(executed(t, recorder))
		p.publish(c.subject, c.header, strings.ReplaceAll(c.body, `"ID"`, `"`+id+`"`))
		_, out := p.announced(uint64(2*i + 1))
		f := out.Failed
		if f == nil {
			t.Fatalf("%s: completed: %+v", c.name, out.Completed)
		}
		if f.Code != c.code || !f.Permanent || f.Attempts != 1 || f.ProjectID != c.project || f.Message == "" {
			t.Errorf("%s: failed as %+v, want project %s, code %s, permanent, 1 attempt", c.name, *f, c.project, c.code)
		}
		if c.id != "" && f.RequestID != id || c.id == "" && f.RequestID == id || !events.ValidRequest(f.RequestID) {
			t.Errorf("%s: the refusal's id is %q, sent was %q", c.name, f.RequestID, id)
		}
		if (f.Request != nil) != (c.code != events.CodeInvalidRequest) {
			t.Errorf("%s: the refusal holds the request %+v", c.name, f.Request)
		}
		if c.code == events.CodeProjectNotFound {
			refusals = append(refusals, fmt.Sprintf("%s %t %d", f.Message, f.Permanent, f.Attempts))
		}
		if n := len(executed(t, recorder)); n != before {
			t.Errorf("%s: pg_dump ran: %q", c.name, executed(t, recorder)[before:])
		}
		// The next one is not affected.
		p.request(events.Requested{ProjectID: "globex", RequestID: id, Compression: events.CompressionNone})
		if _, out := p.announced(uint64(2*i + 2)); out.Completed == nil || out.Completed.RequestID != id {
			t.Fatalf("after %q: the next request ended as %+v", c.name, out)
		}
		if n := len(executed(t, recorder)); n != before+1 {
			t.Errorf("after %q: pg_dump ran %d times for the next request", c.name, n-before)
		}
	}
	if len(refusals) != 3 || refusals[0] != refusals[1] || refusals[0] != refusals[2] {
		t.Errorf("unknown and suspended projects are told apart: %q", refusals)
	}
	if _, err := os.Stat(trap); !os.IsNotExist(err) {
		t.Errorf("an option in a schema's name was obeyed: %v", err)
	}
	p.settled() // each was acknowledged
	if n := p.consumer(events.StreamRequests, events.ConsumerExport).NumRedelivered; n != 0 {
		t.Errorf("%d messages were delivered again", n)
	}
}

func TestTheSameIDGivesTheFirstOutcomeAgain(t *testing.T) {
	t.Parallel()
	p := setup(t)
	recorder := fakePgDump(t, `exec "$real" "$@"`)
	p.start("PG_BIN_DIR=" + recorder)
	const subject = "backup.requested.globex"
	p.publish(subject, nil, `{"project_id":"globex","request_id":"nightly","metadata":{"a":"1","b":"2"}}`)
	first, out := p.announced(1)
	if out.Completed == nil {
		t.Fatalf("failed: %+v", out.Failed)
	}
	// Another spelling of the same contents: no second outcome.
	p.publish(subject, nil, ` {"compression":"gzip","metadata":{"b":"2","a":"1"},"request_id":"nightly","project_id":"globex"} `)
	p.outcomes--
	p.settled()
	if n := p.stream(events.StreamOutcomes).State.Msgs; n != 1 {
		t.Errorf("%d outcomes after the same request, want 1", n)
	}
	// Other contents under the id: a refusal of its own.
	p.publish(subject, nil, `{"project_id":"globex","request_id":"nightly","format":"custom"}`)
	_, out = p.announced(2)
	if f := out.Failed; f == nil || f.Code != events.CodeRequestConflict || f.RequestID == "nightly" || f.ProjectID != "globex" || !f.Permanent {
		t.Errorf("other contents under the same id ended as %+v", out)
	}
	// The id in another project is another request.
	p.publish("backup.requested", nil, `{"project_id":"quoted","request_id":"nightly"}`)
	if _, out = p.announced(3); out.Completed == nil || out.Completed.ProjectID != "quoted" {
		t.Errorf("the same id in another project ended as %+v", out)
	}
	if again, _ := p.announced(1); string(again.Data) != string(first.Data) || !again.Time.Equal(first.Time) {
		t.Errorf("the first outcome is now %s, was %s", again.Data, first.Data)
	}
	if got := p.completed("globex", "nightly"); got.Format != events.FormatSQL || got.Metadata["a"] != "1" {
		t.Errorf("awaiting the first request gives %+v", got)
	}
	if n := len(executed(t, recorder)); n != 2 {
		t.Errorf("pg_dump ran %d times, want 2", n)
	}
}
