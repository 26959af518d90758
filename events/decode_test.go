package events_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
)

const (
	subject   = "backup.requested.acme"
	canonical = `{"project_id":"acme","format":"sql","compression":"gzip"}`
)

func TestDecodeAccepts(t *testing.T) {
	t.Parallel()
	ce := map[string]string{
		"ce-specversion": "1.0", "ce-type": "backup.requested", "ce-source": "/gw", "ce-id": "1",
		"ce-time": "2026-03-14T09:26:53+01:00", "content-type": "application/json; charset=UTF-8",
	}
	shouted := map[string]string{"CE-Type": "backup.requested", "Content-Type": "application/json", "Nats-Msg-Id": "x", "nats-msg-id": "y"}
	structured := `{"specversion":"1.0","type":"backup.requested","source":"/gw","id":"1","data":`
	for name, c := range map[string]struct {
		subject, body string
		header        map[string]string
		want          string
	}{
		"a bare body on the bare subject":      {"backup.requested", `{"project_id":"acme"}`, nil, canonical},
		"a bare body on the project's subject": {subject, `{"project_id":"acme"}`, nil, canonical},
		"no subject":                           {"", `{"project_id":"acme"}`, nil, canonical},
		"white space around":                   {subject, " \r\n{\"project_id\" : \"acme\"}\n", nil, canonical},
		"binary mode":                          {subject, `{"project_id":"acme"}`, ce, canonical},
		"header names in capitals":             {subject, `{"project_id":"acme"}`, shouted, canonical},
		"identity encoding":                    {subject, `{"project_id":"acme"}`, map[string]string{"Content-Encoding": "identity"}, canonical},
		"structured mode by its content type": {subject, structured + `{"project_id":"acme"}}`,
			map[string]string{"content-type": "application/cloudevents+json"}, canonical},
		"structured mode by its body": {subject, structured + `{"project_id":"acme"},"datacontenttype":"application/json","myext":true,"time":null}`, nil, canonical},
		"structured mode with bytes": {subject, `{"specversion":"1.0","type":"backup.requested","data_base64":"` +
			base64.StdEncoding.EncodeToString([]byte(`{"project_id":"acme"}`)) + `"}`, nil, canonical},
		"defaults spelt out":   {subject, `{"compression":"gzip","format":"sql","project_id":"acme"}`, nil, canonical},
		"compress":             {subject, `{"project_id":"acme","compress":true}`, nil, canonical},
		"compress and zstd":    {subject, `{"project_id":"acme","compress":true,"compression":"zstd"}`, nil, `{"project_id":"acme","format":"sql","compression":"zstd"}`},
		"no compress":          {subject, `{"project_id":"acme","compress":false}`, nil, `{"project_id":"acme","format":"sql","compression":"none"}`},
		"no compress and none": {subject, `{"project_id":"acme","compress":false,"compression":"none"}`, nil, `{"project_id":"acme","format":"sql","compression":"none"}`},
		"odd but real schemas, in any order": {subject, `{"project_id":"acme","schemas":["b","Ten*ant \"x\"","-o","\u202e","a"]}`, nil,
			`{"project_id":"acme","schemas":["-o","Ten*ant \"x\"","a","b","` + "\u202e" + `"],"format":"sql","compression":"gzip"}`},
		"escapes instead of letters": {subject, `{"project\u005fid":"ac\u006de"}`, nil, canonical},
		"a surrogate pair":           {subject, `{"project_id":"acme","requested_by":"\ud83d\ude80"}`, nil, `{"project_id":"acme","format":"sql","compression":"gzip","requested_by":"🚀"}`},
		"hostile looks in metadata":  {subject, `{"project_id":"acme","metadata":{"b":"<script>","a":"\u001b[31m\n"}}`, nil, `{"project_id":"acme","format":"sql","compression":"gzip","metadata":{"a":"\u001b[31m\n","b":"<script>"}}`},
		"empty metadata":             {subject, `{"project_id":"acme","metadata":{}}`, nil, canonical},
		"a schema kept elsewhere":    {subject, `{"project_id":"acme"}`, map[string]string{"ce-dataschema": "https://gw.example/s/backup.requested.v1.json"}, canonical},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := events.Decode(events.Raw{Subject: c.subject, Header: c.header, Body: []byte(c.body)})
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.Canonical()
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != c.want {
				t.Errorf("canonical form:\n got %s\nwant %s", got, c.want)
			}
			again, err := events.Decode(events.Raw{Body: got})
			if err != nil || !reflect.DeepEqual(again.Schemas, r.Schemas) {
				t.Errorf("the canonical form decodes to %+v, %v", again, err)
			}
		})
	}
}

// bad is a request's body with one more member.
func bad(member string) string { return `{"project_id":"acme",` + member + `}` }

func TestDecodeRefusesBodies(t *testing.T) {
	t.Parallel()
	entries := func(n int, format string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = fmt.Sprintf(format, i)
		}
		return strings.Join(parts, ",")
	}
	for name, c := range map[string]struct{ body, field, reason string }{
		"nothing":              {"", "body", "is empty"},
		"only white space":     {" \n", "body", "is empty"},
		"null":                 {"null", "body", "not a JSON object"},
		"an array":             {`[{"project_id":"acme"}]`, "body", "not a JSON object"},
		"a string":             {`"acme"`, "body", "not a JSON object"},
		"gzip":                 {"\x1f\x8b\x08\x00\x00", "body", "not valid JSON"},
		"a byte order mark":    {"\xef\xbb\xbf{\"project_id\":\"acme\"}", "body", "byte order mark"},
		"UTF-16":               {"\xff\xfe{\x00}\x00", "body", "not valid JSON"},
		"trailing data":        {`{"project_id":"acme"} {}`, "body", "not valid JSON"},
		"a trailing comma":     {`{"project_id":"acme",}`, "body", "not valid JSON"},
		"a comment":            {`{"project_id":"acme"/**/}`, "body", "not valid JSON"},
		"cut off":              {`{"project_id":"acme"`, "body", "not valid JSON"},
		"a name twice":         {bad(`"project_id":"acme"`), "body", "twice"},
		"a name twice, masked": {bad(`"project\u005fid":"other"`), "body", "twice"},
		"a name twice inside":  {bad(`"metadata":{"a":"1","a":"2"}`), "body", "twice"},
		"another case":         {`{"Project_ID":"acme"}`, "Project_ID", "not a field"},
		"two cases":            {bad(`"PROJECT_ID":"other"`), "PROJECT_ID", "not a field"},
		"invalid UTF-8":        {bad("\"requested_by\":\"\xff\""), "body", "not valid JSON"},
		"a lone surrogate":     {bad(`"requested_by":"\ud800"`), "body", "not valid JSON"},
		"a reversed pair":      {bad(`"requested_by":"\udc00\ud800"`), "body", "not valid JSON"},
		"a raw control byte":   {bad("\"requested_by\":\"a\x01\""), "body", "not valid JSON"},
		"a NUL in metadata":    {bad(`"metadata":{"a":"\u0000"}`), "metadata.a", "NUL"},
		"nested deeply":        {bad(`"metadata":` + strings.Repeat(`{"a":`, 20) + `""` + strings.Repeat("}", 20)), "body", "nested deeper"},
		"nested very deeply":   {strings.Repeat("[", 60000), "body", "nested deeper"},
		"too large":            {bad(`"metadata":{"a":"` + strings.Repeat("x", events.MaxRequestBytes) + `"}`), "body", "larger than 65536"},
		"a huge number":        {bad(`"compress":1e999999`), "body", "not valid JSON"},

		"no project":             {`{}`, "project_id", "is missing"},
		"a null project":         {`{"project_id":null}`, "project_id", "type string"},
		"a number":               {`{"project_id":7}`, "project_id", "type string"},
		"an empty project":       {`{"project_id":""}`, "project_id", "1 to 100"},
		"a dotted project":       {`{"project_id":"a.b"}`, "project_id", "1 to 100"},
		"a wildcard project":     {`{"project_id":"*"}`, "project_id", "1 to 100"},
		"a look-alike project":   {`{"project_id":"аcme"}`, "project_id", "1 to 100"},
		"a project and a line":   {`{"project_id":"acme\n"}`, "project_id", "1 to 100"},
		"an overlong project":    {`{"project_id":"` + strings.Repeat("x", 101) + `"}`, "project_id", "1 to 100"},
		"the reserved project":   {`{"project_id":"_"}`, "project_id", "reserved"},
		"an empty request id":    {bad(`"request_id":""`), "request_id", "1 to 100"},
		"a request id with >":    {bad(`"request_id":"a>"`), "request_id", "1 to 100"},
		"an unknown field":       {bad(`"pg_options":["--file=/tmp/x"]`), "pg_options", "not a field"},
		"a hostile unknown name": {bad(`"\u001b[31m<b>` + strings.Repeat("x", 200) + `":1`), `"\x1b[31m<b>` + strings.Repeat("x", 32) + `"...`, "not a field"},
		"a data field":           {bad(`"data":{}`), "data", "not a field"},

		"no schemas":                   {bad(`"schemas":[]`), "schemas", "at least 1"},
		"null schemas":                 {bad(`"schemas":null`), "schemas", "type array"},
		"one schema as a string":       {bad(`"schemas":"acme"`), "schemas", "type array"},
		"a number as a schema":         {bad(`"schemas":["a",1]`), "schemas[1]", "type string"},
		"an empty schema":              {bad(`"schemas":[""]`), "schemas[0]", "at least 1"},
		"a schema with NUL":            {bad(`"schemas":["a\u0000"]`), "schemas[0]", "control"},
		"a schema with a break":        {bad(`"schemas":["a\nb"]`), "schemas[0]", "control"},
		"a schema of 64 bytes":         {bad(`"schemas":["` + strings.Repeat("x", 64) + `"]`), "schemas[0]", "63"},
		"a schema of 64 in two":        {bad(`"schemas":["` + strings.Repeat("ü", 32) + `"]`), "schemas[0]", "63 bytes"},
		"the same schema twice":        {bad(`"schemas":["a","b","a"]`), "schemas", "twice"},
		"too many schemas":             {bad(`"schemas":[` + entries(1001, `"s%d"`) + `]`), "schemas", "at most 1000"},
		"an unknown format":            {bad(`"format":"directory"`), "format", `"sql", "tar", "custom"`},
		"a format in capitals":         {bad(`"format":"SQL"`), "format", "one of"},
		"an empty format":              {bad(`"format":""`), "format", "one of"},
		"an unknown compression":       {bad(`"compression":"lz4"`), "compression", "one of"},
		"compress as a string":         {bad(`"compress":"true"`), "compress", "type boolean"},
		"compress against none":        {bad(`"compress":true,"compression":"none"`), "compress", "contradicts"},
		"no compress against gzip":     {bad(`"compress":false,"compression":"gzip"`), "compress", "contradicts"},
		"an empty requester":           {bad(`"requested_by":""`), "requested_by", "at least 1"},
		"a requester of two lines":     {bad(`"requested_by":"a\r\nb"`), "requested_by", "one line"},
		"an overlong requester":        {bad(`"requested_by":"` + strings.Repeat("x", 201) + `"`), "requested_by", "at most 200"},
		"metadata as a list":           {bad(`"metadata":["a"]`), "metadata", "type object"},
		"metadata of numbers":          {bad(`"metadata":{"a":1}`), "metadata.a", "type string"},
		"metadata of objects":          {bad(`"metadata":{"a":{}}`), "metadata.a", "type string"},
		"a metadata name of two lines": {bad(`"metadata":{"a\nb":"1"}`), "metadata", "names must"},
		"an empty metadata name":       {bad(`"metadata":{"":"1"}`), "metadata", "names must"},
		"an overlong value":            {bad(`"metadata":{"a":"` + strings.Repeat("ü", 1025) + `"}`), "metadata.a", "at most 1024"},
		"too much metadata":            {bad(`"metadata":{` + entries(33, `"k%d":""`) + `}`), "metadata", "at most 32"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, events.Raw{Subject: subject, Body: []byte(c.body)}, c.field, c.reason)
		})
	}
}

// refused checks that a message is refused for the reason, in safe words.
func refused(t *testing.T, m events.Raw, field, reason string) events.Requested {
	t.Helper()
	r, err := events.Decode(m)
	inv, ok := errors.AsType[*events.InvalidError](err)
	if !ok {
		t.Fatalf("got %+v, %v; want an InvalidError", r, err)
	}
	if inv.Field != field || !strings.Contains(inv.Reason, reason) {
		t.Errorf("got %q: %q, want %q: ...%s...", inv.Field, inv.Reason, field, reason)
	}
	if text := inv.Error(); len(text) > 400 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("the text is not safe: %q", text)
	}
	for range 20 { // the validator walks maps in random order
		if _, again := events.Decode(m); again.Error() != err.Error() {
			t.Fatalf("the reason varies: %v, then %v", err, again)
		}
	}
	return r
}

func TestDecodeRefusesStoragePaths(t *testing.T) {
	t.Parallel()
	for _, p := range []string{
		"", "/", "/etc", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "a/./b", ".hidden", "a/.hidden", "a.", "a ", " a",
		"a /b", `a\b`, `..\a`, "C:", "C:/x", "a%2e%2e", "%2e%2e/x", "%252e%252e", "a:b", "file:///etc", "s3://b/k", "~", "~/a",
		"a\x00b", "a\nb", "-rf", "a/-rf", "．．/a", "a/․․/b", "ä", "a*", "a?b=c", "a#b", "$HOME", "`id`", "a|b", "a;b", "a'b", `a"b`,
		strings.Repeat("x", 256), strings.Repeat("a/", 16) + "a",
	} {
		_, err := events.Requested{ProjectID: "acme", StoragePath: p}.Normalize()
		if p == "" {
			// The Go value's zero is absence; in JSON the empty string is refused.
			refused(t, events.Raw{Body: []byte(bad(`"storage_path":""`))}, "storage_path", "")
			continue
		}
		if inv, ok := errors.AsType[*events.InvalidError](err); !ok || inv.Field != "storage_path" {
			t.Errorf("storage path %q: %v", p, err)
		}
	}
	for _, p := range []string{"a", "nightly", "nightly/2026", "A b/c.d_e-f", "a..b", "_x", "9", strings.Repeat("x", 255), strings.Repeat("a/", 15) + "a"} {
		if _, err := (events.Requested{ProjectID: "acme", StoragePath: p}).Normalize(); err != nil {
			t.Errorf("storage path %q: %v", p, err)
		}
	}
}

func TestDecodeRefusesMailAddresses(t *testing.T) {
	t.Parallel()
	for _, a := range []string{
		"ops", "@example.com", "ops@", "ops@localhost", "ops@example.com,b@example.com", "a@example.com b@example.com",
		"a@b@example.com", "Ops <ops@example.com>", "<ops@example.com>", `"o p"@example.com`, "ops@[127.0.0.1]", "ops@[IPv6:::1]",
		"ops@127.0.0.1", "ops@example.com\r\nBcc: x@example.com", "ops@example.com\n", "\nops@example.com", "ops@example.com ",
		"ops(c)@example.com", "ops@example..com", "ops@-example.com", "ops@example-.com", "ops@example.com.", ".ops@example.com",
		"ops.@example.com", "o..ps@example.com", "-oQ/tmp@example.com", "a%b.org@example.com", "b.org!a@example.com", "|id@example.com",
		"mailto:ops@example.com", "öps@example.com", "ops@exämple.com", "ops\x00@example.com", "ops@example.com;x@example.com",
		strings.Repeat("x", 65) + "@example.com", "a@" + strings.Repeat("x", 64) + ".com",
		"a@" + strings.Repeat(strings.Repeat("x", 50)+".", 5) + "com",
	} {
		_, err := events.Requested{ProjectID: "acme", NotifyEmail: a}.Normalize()
		if inv, ok := errors.AsType[*events.InvalidError](err); !ok || inv.Field != "notify_email" {
			t.Errorf("address %q: %v", a, err)
		}
	}
	for _, a := range []string{"ops@example.com", "a.b+tag@mail.example.co.uk", "o'neil@example.com", "_x@xn--exmple-cua.com", strings.Repeat("x", 64) + "@example.com"} {
		if _, err := (events.Requested{ProjectID: "acme", NotifyEmail: a}).Normalize(); err != nil {
			t.Errorf("address %q: %v", a, err)
		}
	}
}

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
		"a later schema":         {h("ce-dataschema", "https://x/backup.requested.v2.json"), body, "ce-dataschema", "another schema"},
		"another data type":      {h("ce-datacontenttype", "text/xml"), body, "ce-datacontenttype", "application/json"},
		"another media type":     {h("Content-Type", "text/plain"), body, "content-type", "application/json"},
		"a malformed media type": {h("Content-Type", ";"), body, "content-type", "application/json"},
		"a batch":                {h("content-type", "application/cloudevents-batch+json"), "[]", "content-type", "application/json"},
		"another charset":        {h("content-type", "application/json; charset=latin1"), body, "content-type", "charset"},
		"gzip":                   {h("Content-Encoding", "gzip"), body, "content-encoding", "identity"},
		"a header twice":         {h("ce-type", "backup.requested", "Ce-Type", "backup.requested"), body, "ce-type", "twice"},
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
			refused(t, events.Raw{Subject: subject, Header: c.header, Body: []byte(c.body)}, c.field, c.reason)
		})
	}
}

// What a refused request is still believed about itself.
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
			got, err := events.Decode(events.Raw{Subject: c.subject, Body: []byte(c.body)})
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
			r, err := events.Decode(events.Raw{Subject: subject, Header: c.header, Body: []byte(c.body)})
			if err != nil || r.Trace != c.want {
				t.Errorf("got %+v, %v; want %+v", r.Trace, err, c.want)
			}
		})
	}
}

// Go values meet the same rules as messages.
func TestNormalizeLeavesItsReceiverAlone(t *testing.T) {
	t.Parallel()
	r := events.Requested{ProjectID: "acme", Schemas: []string{"b", "a"}, Compress: new(false), Metadata: map[string]string{"a": "b"}}
	n, err := r.Normalize()
	if err != nil || n.Compression != events.CompressionNone || n.Compress != nil || n.Schemas[0] != "a" {
		t.Errorf("normalized to %+v, %v", n, err)
	}
	if r.Schemas[0] != "b" || r.Compress == nil || r.Format != "" || !maps.Equal(r.Metadata, map[string]string{"a": "b"}) {
		t.Errorf("the receiver became %+v", r)
	}
	if _, err := (events.Requested{ProjectID: "acme", RequestedBy: "\xff"}).Canonical(); err == nil {
		t.Error("invalid UTF-8 was accepted")
	}
}
