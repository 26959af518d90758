package events_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
)

func TestDecodeRefusesEnvelopes(t *testing.T) {
	t.Parallel()
	body := `{"project_id":"acme"}`
	h := func(pairs ...string) map[string]string {
		out := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i]] = pairs[i+1]
		}
		return out
	}
	structured := func(members string) string {
		return `{"specversion":"1.0","type":"backup.requested","source":"/gw","id":"1"` + members + `}`
	}
	for name, c := range map[string]struct {
		header        map[string]string
		body          string
		field, reason string
	}{
		"another type":           {h("ce-type", "backup.completed"), body, "ce-type", "backup.requested"},
		"a versioned type":       {h("ce-type", "backup.requested.v2"), body, "ce-type", "backup.requested"},
		"an empty type":          {h("ce-type", ""), body, "ce-type", "backup.requested"},
		"another specversion":    {h("ce-specversion", "0.3"), body, "ce-specversion", "1.0"},
		"an empty id":            {h("ce-id", ""), body, "ce-id", "empty"},
		"an empty source":        {h("ce-source", ""), body, "ce-source", "empty"},
		"a wrong time":           {h("ce-time", "yesterday"), body, "ce-time", "RFC 3339"},
		"a time with a comma":    {h("ce-time", "2026-03-14T09:26:53,5Z"), body, "ce-time", "RFC 3339"},
		"an hour of one digit":   {h("ce-time", "2026-03-14T9:26:53Z"), body, "ce-time", "RFC 3339"},
		"a later schema":         {h("ce-dataschema", "https://x/backup.requested.v2.json"), body, "ce-dataschema", "another schema"},
		"another data type":      {h("ce-datacontenttype", "text/xml"), body, "ce-datacontenttype", "application/json"},
		"another media type":     {h("Content-Type", "text/plain"), body, "content-type", "application/json"},
		"a malformed media type": {h("Content-Type", ";"), body, "content-type", "application/json"},
		"a batch":                {h("content-type", "application/cloudevents-batch+json"), "[]", "content-type", "application/json"},
		"another charset":        {h("content-type", "application/json; charset=latin1"), body, "content-type", "charset"},
		"gzip":                   {h("Content-Encoding", "gzip"), body, "content-encoding", "identity"},
		"a header twice":         {h("ce-type", "backup.requested", "Ce-Type", "backup.requested"), body, "ce-type", "twice"},
		"a blank behind a name":  {h("ce-type ", "backup.failed"), body, "ce-type", "backup.requested"},
		"a repeated header":      {h("ce-type", "backup.requested, backup.requested"), body, "ce-type", "backup.requested"},

		"structured without specversion": {h("content-type", "application/cloudevents+json"), `{"type":"backup.requested","data":` + body + `}`, "specversion", "missing"},
		"structured without type":        {nil, `{"specversion":"1.0","data":` + body + `}`, "type", "missing"},
		"structured without data":        {nil, structured(""), "data", "missing"},
		"structured null data":           {nil, structured(`,"data":null`), "data", "not a JSON object"},
		"structured text data":           {nil, structured(`,"data":"{\"project_id\":\"acme\"}"`), "data", "not a JSON object"},
		"structured, two data":           {nil, structured(`,"data":{},"data_base64":"e30="`), "data", "beside"},
		"structured, wrong base64":       {nil, structured(`,"data_base64":"***"`), "data_base64", "base64"},
		"structured, base64 number":      {nil, structured(`,"data_base64":7`), "data_base64", "type string"},
		"structured, inner BOM":          {nil, structured(`,"data_base64":"77u/e30="`), "data", "byte order mark"},
		"structured, wrong type":         {nil, `{"specversion":"1.0","type":"x","data":` + body + `}`, "type", "backup.requested"},
		"structured, number as version":  {nil, `{"specversion":1,"type":"backup.requested","data":` + body + `}`, "specversion", "1.0"},
		"structured, odd attribute":      {nil, structured(`,"My_Ext":"x","data":` + body), "My_Ext", "not a CloudEvents attribute"},
		"structured, nested attribute":   {nil, structured(`,"ext":{},"data":` + body), "ext", "string"},
		"structured, fields outside":     {nil, structured(`,"project_id":"acme","data":` + body), "project_id", "not a CloudEvents attribute"},
		"structured, unknown field":      {nil, structured(`,"data":{"project_id":"acme","x":1}`), "x", "not a field"},
		"headers contradict structure":   {h("ce-type", "backup.failed"), structured(`,"data":` + body), "ce-type", "backup.requested"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, events.Message{Subject: subject, Header: c.header, Body: []byte(c.body)}, c.field, c.reason)
		})
	}
}

// A refused request keeps the fields that could be decoded.
func TestDecodeBelieves(t *testing.T) {
	t.Parallel()
	wrong := `"request_id":"r1","requested_by":"gw","format":"x"}`
	for name, c := range map[string]struct {
		subject, body            string
		project, request, author string
	}{
		"all of a well-formed body": {"backup.requested", `{"project_id":"acme",` + wrong, "acme", "r1", "gw"},
		"the subject's project":     {"backup.requested.other", `{"project_id":"acme",` + wrong, "other", "r1", "gw"},
		"the subject alone":         {"backup.requested.other", `{`, "other", "", ""},
		"a contradiction":           {"backup.requested.other", `{"project_id":"acme","request_id":"r1"}`, "other", "r1", ""},
		"no malformed ids":          {"backup.requested", `{"project_id":"a.b","request_id":"*","requested_by":"a\nb"}`, "", "", ""},
		"no wrong types":            {"backup.requested", `{"project_id":1,"request_id":[],"requested_by":{}}`, "", "", ""},
		"nothing that is no JSON":   {"backup.requested", `{"project_id":"acme","request_id":"r1"}}`, "", "", ""},
		"no duplicate":              {"backup.requested", `{"project_id":"acme","project_id":"acme"}`, "", "", ""},
		"nothing oversize":          {"backup.requested", `{"project_id":"acme"}` + strings.Repeat(" ", events.MaxRequestBytes), "", "", ""},
		"not the reserved project":  {"backup.requested", `{"project_id":"_","request_id":"r1"}`, "", "r1", ""},
		"no project under _":        {"backup.requested._", `{"project_id":"acme","request_id":"r1"}`, "", "r1", ""},
		"no malformed subject":      {"backup.requested.a b", `{"project_id":"acme","request_id":"r1"}`, "", "r1", ""},
		"no foreign subject":        {"backup.completed.acme.r1", `{"project_id":"acme","request_id":"r1"}`, "", "r1", ""},
		"a structured body's data":  {"backup.requested", `{"specversion":"1.0","type":"x","data":{"project_id":"acme",` + wrong + `}`, "acme", "r1", "gw"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := events.Decode(events.Message{Subject: c.subject, Body: []byte(c.body)})
			want := events.Requested{ProjectID: c.project, RequestID: c.request, RequestedBy: c.author}
			if err == nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v; want %+v and an error", got, err, want)
			}
		})
	}
}

func TestDecodeCarriesTrace(t *testing.T) {
	t.Parallel()
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	body := `{"project_id":"acme"}`
	for name, c := range map[string]struct {
		header map[string]string
		body   string
		want   events.Trace
	}{
		"headers":       {map[string]string{"Traceparent": parent, "tracestate": "a=b"}, body, events.Trace{Parent: parent, State: "a=b"}},
		"attributes":    {map[string]string{"ce-traceparent": parent}, body, events.Trace{Parent: parent}},
		"structured":    {nil, `{"specversion":"1.0","type":"backup.requested","traceparent":"` + parent + `","data":` + body + `}`, events.Trace{Parent: parent}},
		"malformed":     {map[string]string{"traceparent": "00-x", "tracestate": "a=b"}, body, events.Trace{}},
		"state alone":   {map[string]string{"tracestate": "a=b"}, body, events.Trace{}},
		"hostile state": {map[string]string{"traceparent": parent, "tracestate": "a\r\nb"}, body, events.Trace{Parent: parent}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := events.Decode(events.Message{Subject: subject, Header: c.header, Body: []byte(c.body)})
			if err != nil || r.Trace != c.want {
				t.Errorf("got %+v, %v; want %+v", r.Trace, err, c.want)
			}
		})
	}
}
