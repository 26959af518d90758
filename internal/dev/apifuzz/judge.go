package apifuzz

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const problemMedia = "application/problem+json"

// answer is the answer to a call.
type answer struct {
	status int
	header http.Header
	body   []byte // empty for an event stream
}

// judge returns the fault of an answer; empty: none.
func (d *Document) judge(c call, a answer) string {
	media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	switch {
	case a.status == http.StatusExpectationFailed && bytes.Contains(c.text, []byte("Expect: ")):
		return "" // by the server's library, before any operation
	case c.odd && (a.status == http.StatusNotImplemented || a.status == http.StatusHTTPVersionNotSupported) && media == "text/plain":
		return "" // no well-formed HTTP
	case a.status >= 500 && a.status != http.StatusServiceUnavailable && (a.status != http.StatusNotImplemented || media != problemMedia): // 501: there is no restorer
		return "a fault of the server"
	case media == problemMedia:
		return d.judgeProblem(c, a)
	case c.odd:
		return judgeOdd(c, a, media)
	}
	if want := c.refusal(); want != 0 {
		return fmt.Sprintf("want %d for this token", want)
	}
	documented, ok := c.operation.Answers[a.status]
	if !ok {
		return "the status is not documented, and it is no problem"
	}
	if len(documented) == 0 {
		if len(a.body) > 0 {
			return "a body is not documented"
		}
		return ""
	}
	schema, ok := documented[media]
	if !ok {
		return fmt.Sprintf("the media type %q is not documented", media)
	}
	if schema != nil && !c.head {
		return fits(schema, a.body)
	}
	return ""
}

// refusal returns the status that a call must get because of its token; 0: the token permits the
// call.
func (c call) refusal() int {
	switch op := c.operation; {
	case c.token == nil:
		return http.StatusUnauthorized
	case len(op.Scopes) == 0:
		return 0
	case c.token.Project != "*" && c.token.Project != c.project:
		return http.StatusForbidden
	case slices.Contains(c.token.Scopes, "admin"):
		return 0
	case !slices.ContainsFunc(c.token.Scopes, func(s string) bool { return slices.Contains(op.Scopes, s) }):
		return http.StatusForbidden
	}
	return 0
}

func (d *Document) judgeProblem(c call, a answer) string {
	if a.status < 400 {
		return "a problem with the status of a success"
	}
	if a.status == http.StatusUnauthorized && a.header.Get("WWW-Authenticate") == "" {
		return "401 without WWW-Authenticate"
	}
	if (a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable) && a.header.Get("Retry-After") == "" {
		return "without Retry-After"
	}
	if c.operation != nil && a.status != http.StatusServiceUnavailable && a.status != http.StatusTooManyRequests {
		want := c.refusal()
		if want != 0 && a.status != want || want == 0 && (a.status == http.StatusUnauthorized || a.status == http.StatusForbidden) {
			return fmt.Sprintf("want %d for this token", want)
		}
	}
	if c.head {
		return ""
	}
	if wrong := fits(d.problem, a.body); wrong != "" {
		return wrong
	}
	var p struct {
		Status int
		Detail string
	}
	if err := json.Unmarshal(a.body, &p); err != nil || p.Status != a.status {
		return "the problem has another status"
	}
	if strings.ContainsFunc(p.Detail, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "the detail holds control characters"
	}
	return ""
}

// judgeOdd judges answers that the server's library may give itself, and download links.
func judgeOdd(c call, a answer, media string) string {
	switch a.status {
	case http.StatusOK:
		// An encoded slash belongs to a project's name, which no project has.
		if bytes.HasPrefix(c.text, []byte("OPTIONS * ")) {
			return "" // by the server's library
		}
		if media != "application/openapi+json" && !c.head && string(bytes.TrimSpace(a.body)) != `{"exports":[]}` {
			return "a success for no operation"
		}
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect:
		if at := a.header.Get("Location"); !strings.HasPrefix(at, "/") || strings.HasPrefix(at, "//") {
			return "it leads to another server"
		}
	case http.StatusNotFound, http.StatusMethodNotAllowed: // a link's pages
	case http.StatusBadRequest, http.StatusRequestHeaderFieldsTooLarge, http.StatusExpectationFailed: // no well-formed HTTP
	default:
		return "an odd call is answered like this"
	}
	return ""
}

func fits(schema *jsonschema.Schema, body []byte) string {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Sprintf("the body is no JSON: %v", err)
	}
	if err := schema.Validate(v); err != nil {
		return fmt.Sprintf("the body breaks its schema: %v", err)
	}
	return ""
}
