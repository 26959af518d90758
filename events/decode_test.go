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
		"a level":              {subject, `{"project_id":"acme","compression_level":"default"}`, nil, `{"project_id":"acme","format":"sql","compression":"gzip","compression_level":"default"}`},
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
			r, err := events.Decode(events.Message{Subject: c.subject, Header: c.header, Body: []byte(c.body)})
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
			again, err := events.Decode(events.Message{Body: got})
			if err != nil || !reflect.DeepEqual(again.Schemas, r.Schemas) {
				t.Errorf("the canonical form decodes to %+v, %v", again, err)
			}
		})
	}
}

// bad is a request's body with an additional member.
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
		"nested one too deep":  {bad(`"metadata":` + strings.Repeat(`[`, 16) + strings.Repeat(`]`, 16)), "body", "nested deeper"},
		"as deep as may be":    {bad(`"metadata":` + strings.Repeat(`[`, 15) + strings.Repeat(`]`, 15)), "metadata", "type object"},
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
		"an unknown format":            {bad(`"format":"folder"`), "format", `"sql", "tar", "custom", "directory"`},
		"no jobs":                      {bad(`"format":"directory","jobs":0`), "jobs", "at least 1"},
		"too many jobs":                {bad(`"format":"directory","jobs":17`), "jobs", "at most 16"},
		"half a job":                   {bad(`"format":"directory","jobs":1.5`), "jobs", "type integer"},
		"jobs of another format":       {bad(`"format":"custom","jobs":2`), "jobs", "directory"},
		"jobs without a format":        {bad(`"jobs":2`), "jobs", "directory"},
		"a format in capitals":         {bad(`"format":"SQL"`), "format", "one of"},
		"an empty format":              {bad(`"format":""`), "format", "one of"},
		"an unknown level":             {bad(`"compression_level":"9"`), "compression_level", `"fast", "default", "best"`},
		"a level in capitals":          {bad(`"compression_level":"Best"`), "compression_level", "one of"},
		"a level of none":              {bad(`"compression":"none","compression_level":"best"`), "compression_level", "goes with"},
		"a level and no compress":      {bad(`"compress":false,"compression_level":"default"`), "compression_level", "goes with"},
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
			refused(t, events.Message{Subject: subject, Body: []byte(c.body)}, c.field, c.reason)
		})
	}
}

// refused checks that a message is refused for the reason, and that the error repeats nothing of
// it.
func refused(t *testing.T, m events.Message, field, reason string) events.Requested {
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
