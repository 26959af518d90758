package apifuzz

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// generator makes the calls of one seed.
type generator struct {
	document *Document
	tokens   []Token
	rand     *rand.Rand
	links    []string // ids of links that were made
}

// call is one call as it is sent.
type call struct {
	operation *Operation // nil: none of the document
	project   string     // of the path, as the server decodes it
	token     *Token     // nil: none, or none that is valid
	head      bool
	// odd says that the call is malformed HTTP or has an unclean path: the server's library may answer
	// it before any operation does.
	odd bool
	// unread says that the server may close the connection before it has read the whole call.
	unread bool
	text   []byte
}

// next returns the next call.
func (g *generator) next() call {
	if g.one(25) {
		return g.stray()
	}
	op := pick(g.rand, g.document.Operations)
	if op.Method == http.MethodDelete && !g.one(4) { // else there would be little to look at
		op = pick(g.rand, g.document.Operations)
	}
	c := call{operation: &op, head: op.Method == http.MethodGet && g.one(30)}
	path := op.Path
	query := url.Values{}
	header := [][2]string{{"Host", "fuzz"}}
	for _, p := range op.Parameters {
		switch v := g.text(p.Name); {
		case p.In == "path":
			for v == "" || v == "." || v == ".." { // no segment of a path
				v = g.text(p.Name)
			}
			if p.Name == "project" {
				c.project = v
			}
			path = strings.ReplaceAll(path, "{"+p.Name+"}", url.PathEscape(v))
		case g.one(2):
		case p.In == "query":
			query.Add(p.Name, v)
			if g.one(20) {
				query.Add(p.Name, g.text(p.Name))
			}
		case p.In == "header" && plain(v):
			header = append(header, [2]string{p.Name, v})
			if g.one(20) {
				header = append(header, [2]string{p.Name, "f-0"})
			}
		}
	}
	if g.one(30) {
		query.Add(g.text(""), g.text(""))
	}
	raw := query.Encode()
	if g.one(40) {
		raw += pick(g.rand, []string{"&%zz", "&=", "&&;", "&a=%ff", "&" + strings.Repeat("a=1&", 500)})
	}
	if raw != "" {
		path += "?" + raw
	}
	header = append(header, g.authorization(&c)...)
	header = append(header, g.extra()...)
	method := op.Method
	if c.head {
		method = "HEAD"
	}
	var body []byte
	if op.Body != nil || g.one(30) {
		var media [][2]string
		body, media = g.body(op.Body)
		header = append(header, media...)
	}
	c.text = g.write(&c, method, path, header, body)
	return c
}

// authorization chooses the token of a call.
func (g *generator) authorization(c *call) [][2]string {
	const name = "Authorization"
	if g.one(40) {
		return pick(g.rand, [][][2]string{
			{}, {{name, "Bearer"}}, {{name, "Bearer "}}, {{name, "Basic eDp5"}}, {{name, "Bearer pgc_forged"}}, {{name, "Bearer " + strings.Repeat("x", 4000)}},
			{{name, "Bearer a.b.c"}}, {{name, "Bearer \xff"}}, {{name, "Bearer " + g.tokens[0].Secret}, {name, "Bearer " + g.tokens[0].Secret}},
		})
	}
	token := g.tokens[0]
	if g.one(3) {
		token = pick(g.rand, g.tokens)
	}
	c.token = &token
	return [][2]string{{name, pick(g.rand, []string{"Bearer ", "Bearer ", "bearer ", "BEARER "}) + token.Secret}}
}

// extra are headers that the document does not name.
func (g *generator) extra() (out [][2]string) {
	for g.one(4) {
		out = append(out, pick(g.rand, [][2]string{
			{"Range", "bytes=0-0"}, {"Range", "bytes=5-"}, {"Range", "bytes=-1"}, {"Range", "bytes=999999999-"}, {"Range", "bytes=9-1"}, {"Range", "x"},
			{"Range", "bytes=0-1,3-4"}, {"If-Range", `"x"`}, {"If-None-Match", "*"}, {"If-Match", `"x"`}, {"If-Modified-Since", "x"},
			{"Accept", "text/html"}, {"Accept", "application/cbor"}, {"Accept", "*/*;q=0"}, {"Accept", "\xff"}, {"Accept", strings.Repeat("a/b,", 900)},
			{"Accept-Encoding", "gzip, br"}, {"Accept-Language", "\xff"}, {"Content-Encoding", "gzip"}, {"X-HTTP-Method-Override", "DELETE"},
			{"X-Forwarded-For", "1.2.3.4"}, {"X-Forwarded-Host", "evil.example"}, {"Origin", "null"}, {"Cookie", "a=b"}, {"ce-type", "backup.requested"},
			{"ce-id", "f-1"}, {"ce-specversion", "0.3"}, {"ce-type", "\xff"}, {"traceparent", "00-00-00-00"}, {"traceparent", "x"}, {"tracestate", "a=b,a=b"},
			{"Nats-Rollup", "all"}, {"Nats-Expected-Stream", "x"}, {"Upgrade", "h2c"}, {"Expect", "200-ok"}, {"Content-Type", "x"},
			{"Last-Event-ID", strings.Repeat("9", 300)}, {"Last-Event-ID", "backup.completed.1"}, {"X-" + strings.Repeat("a", 200), "b"},
		}))
	}
	return out
}

// body makes a body, and its headers.
func (g *generator) body(schema map[string]any) ([]byte, [][2]string) {
	media := [][2]string{{"Content-Type", "application/json"}}
	if g.one(12) {
		media = pick(g.rand, [][][2]string{
			nil, {{"Content-Type", ""}}, {{"Content-Type", "text/plain"}}, {{"Content-Type", "application/json; charset=utf-16"}}, {{"Content-Type", "application/xml"}},
			{{"Content-Type", "multipart/form-data"}}, {{"Content-Type", "multipart/form-data; boundary=x"}}, {{"Content-Type", "application/x-www-form-urlencoded"}},
			{{"Content-Type", "application/cloudevents+json"}}, {{"Content-Type", "\xff"}}, {{"Content-Type", "application/json"}, {"Content-Type", "text/html"}},
			{{"Content-Type", "APPLICATION/JSON"}}, {{"Content-Type", "application/problem+json"}}, {{"Content-Type", ";"}}, {{"Content-Type", strings.Repeat("a", 3000)}},
		})
	}
	text, err := json.Marshal(g.value("", schema, 0))
	if err != nil {
		text = []byte("{}")
	}
	switch g.rand.IntN(32) {
	case 9, 10, 11, 12, 13, 14, 15, 16:
		text = []byte("{}")
	case 0:
		text = nil
	case 1:
		text = text[:g.rand.IntN(len(text)+1)]
	case 2:
		text[g.rand.IntN(len(text))] = "\x00\n\"\\{}[],:09aZ\x7f\x80\xff"[g.rand.IntN(17)]
	case 3:
		text = slices.Concat(text, text)
	case 4:
		text = []byte(strings.Replace(string(text), "{", `{"format":"sql","format":"tar","request_id":"f-1",`, 1))
	case 5:
		text = []byte(pick(g.rand, []string{
			"null", "[]", "0", `""`, "true", "{}{}", "\x00", "\xef\xbb\xbf{}", "\xff\xfe{\x00}\x00", "{'a':1}", "{\"a\":1,}", "NaN", "{\"\\ud800\":1}",
			`{"metadata":{"a\u0000b":"c"}}`, `{"request":{"request":{}}}`, `{"__proto__":{"x":1}}`, "{\"requested_by\":\"\xff\"}",
		}))
	case 6:
		text = []byte(strings.Repeat(pick(g.rand, []string{"[", `{"a":`, `{"metadata":`}), pick(g.rand, []int{10, 200, 9000})))
	case 7:
		text = []byte(`{"requested_by":"` + strings.Repeat("x", pick(g.rand, []int{1000, 65_000, 65_536, 70_000, 300_000})) + `"}`)
	case 8:
		var b strings.Builder
		for i := range 2000 {
			fmt.Fprintf(&b, `"%d":"x",`, i)
		}
		text = []byte(`{"metadata":{` + b.String() + `"z":""}}`)
	}
	return text, media
}

// stray returns a call of no operation: another method, another path, or malformed HTTP.
func (g *generator) stray() call {
	c := call{odd: true}
	header := append([][2]string{{"Host", "fuzz"}}, g.authorization(&c)...)
	c.token = nil
	path := pick(g.rand, []string{
		"/", "//", "/v1", "/v1/", "/v2/whoami", "/v1/whoami/", "//v1/whoami", "/v1//whoami", "/v1/./whoami", "/v1/../v1/whoami", "/V1/WHOAMI", "/v1/whoami%2f", "/v1%2fwhoami",
		"/v1/projects//exports", "/v1/projects/acme%2fexports", "/v1/projects/acme/exports/", "/v1/projects/acme/exports/..", "/v1/projects/acme/exports/%2e%2e/%2e%2e/globex/exports",
		"/v1/projects/..%2fglobex/exports", "/v1/projects/acme/exports/x/file/", "/v1/projects/acme/exports;a=b", "/d/", "/d/x", "/d/" + strings.Repeat("a", 26) + "." + strings.Repeat("b", 43),
		"/d/x/receipt", "/d/%00", "/metrics", "/debug/pprof/", "/console", "/.git/config", "/v1/openapi.json", "/v1/openapi.yaml", "*", "http://other/v1/none", "/%", "/%zz", "/\x00", "/a b",
		"/" + strings.Repeat("a/", 3000), "/" + strings.Repeat("%2e%2e/", 40), "/v1/whoami?" + strings.Repeat("a", 9000), "/v1/whoami#x", "",
	})
	method := pick(g.rand, []string{"GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "PROPFIND", "G\x00T", "", strings.Repeat("M", 300)})
	c.head = method == "HEAD"
	c.unread = true
	var body []byte
	if g.one(4) {
		body = []byte("{}")
	}
	c.text = g.write(&c, method, path, header, body)
	if g.one(6) {
		c.text = []byte(pick(g.rand, []string{
			"GET /v1/whoami HTTP/1.1\r\n\r\n", "GET /v1/whoami HTTP/1.0\r\n\r\n", "GET /v1/whoami HTTP/9.9\r\nHost: x\r\n\r\n", "GET /v1/whoami\r\n\r\n",
			"GET /v1/whoami HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "GET /v1/whoami HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n", "\x16\x03\x01\x00\xa5\x01\x00\r\n\r\n",
			"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /v1/whoami HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "GET /v1/whoami HTTP/1.1\r\nHost : x\r\n\r\n",
			"POST /v1/projects/acme/exports HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "\r\n\r\n\r\n", "GET /v1/whoami HTTP/1.1\r\nHost: x\r\nA:" + strings.Repeat("b", 40_000) + "\r\n\r\n",
			"POST /v1/projects/acme/exports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "POST /v1/projects/acme/exports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		}))
	}
	return c
}

// write encodes a call. A body has a Content-Length or is chunked.
func (g *generator) write(c *call, method, path string, header [][2]string, body []byte) []byte {
	var b strings.Builder
	b.WriteString(method + " " + path + " HTTP/1.1\r\n")
	for _, h := range header {
		b.WriteString(h[0] + ": " + h[1] + "\r\n")
	}
	switch {
	case body == nil && g.one(2):
		b.WriteString("\r\n")
	case g.one(12):
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		for part := range slices.Chunk(body, 8192) {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(part), part)
		}
		b.WriteString("0\r\n\r\n")
	default:
		b.WriteString("Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + string(body))
	}
	c.unread = c.unread || len(body) > 60_000
	return []byte(b.String())
}

// plain reports whether a text can be the value of a header.
func plain(v string) bool {
	return !strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) && strings.TrimSpace(v) == v
}
