package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api/access"
)

// badCase is what a row of testdata/bad-input says that matters here.
type badCase struct {
	Name      string
	Subject   string
	Headers   [][2]string
	RawHeader string `json:"raw_header"`
	Body      string
	Base64    []byte
	Generate  *struct {
		Head, Unit, Tail string
		Times            int
	}
	Before string
	Expect struct{ Verdict, Code, Project string }
}

func (c badCase) bytes(id string) []byte {
	body := c.Body
	if g := c.Generate; g != nil {
		head, times := strings.ReplaceAll(g.Head, "{{id}}", id), g.Times
		if times < 0 {
			times = (-times - len(head) - len(g.Tail)) / len(g.Unit)
		}
		var b strings.Builder
		for n := range times {
			b.WriteString(strings.ReplaceAll(g.Unit, "{{n}}", strconv.Itoa(n)))
		}
		body = head + b.String() + g.Tail
	}
	if c.Base64 != nil {
		return c.Base64
	}
	return []byte(strings.ReplaceAll(body, "{{id}}", id))
}

// differs are the rows with another verdict over HTTP, each for a reason of HTTP.
var differs = map[string]int{
	// The path names the project, so the body may leave it out, and may be left out itself.
	"no fields": 202, "no project on the intake": 202, "empty": 202, "empty on the intake": 202,
	"a status of the broker, 100": 202, "a status of the broker, 404": 202, "a status of the broker, 409": 202, "a status of the broker, 503": 202,
	"a status on the intake": 202,
	// The broker's headers mean nothing here, and are not passed on.
	"an expected stream": 202, "an expected sequence": 202, "a rollup": 202, "a schedule": 202,
	// It is refused before the id is looked at.
	"replay: a refused body under a used id": 422,
}

// The catalogue's messages get the same verdict over HTTP: what a worker would refuse as invalid is
// refused at once, what conflicts is a conflict, and everything else is queued as it is, for the
// worker to judge.
func TestTheCatalogueOfBadInputHasTheSameVerdicts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tok := b.token(access.AllProjects, access.Admin)
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "bad-input", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	s, err := b.js.Stream(t.Context(), events.StreamRequests)
	b.must(err)
	tried, passed, elsewhere := 0, 0, 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		b.must(err)
		var family struct{ Cases []badCase }
		b.must(json.Unmarshal(text, &family))
		for _, c := range family.Cases {
			project, ok := strings.CutPrefix(c.Subject, events.TypeRequested)
			project = strings.TrimPrefix(project, ".")
			if project == "" { // the path must name one: the body's, where it does
				var named struct {
					Project string `json:"project_id"`
				}
				if project = "good"; json.Unmarshal(c.bytes("x"), &named) == nil && events.ValidProject(named.Project) {
					project = named.Project
				}
			}
			// Cancels, raw header blocks and subjects are the broker's own; a path names one project.
			if !ok || c.RawHeader != "" || strings.HasSuffix(c.Subject, ".") || !events.ValidProject(project) {
				elsewhere++
				continue
			}
			tried++
			id := fmt.Sprint("bad-", tried)
			b.must(s.Purge(t.Context()))
			if c.Before != "" {
				if got := b.call("POST", "/v1/projects/"+project+"/exports", tok, strings.ReplaceAll(c.Before, "{{id}}", id)); got.status != http.StatusAccepted {
					t.Errorf("%s: before: %d %s", c.Name, got.status, got.body)
				}
			}
			var want []int
			switch {
			case differs[c.Name] != 0:
				want = []int{differs[c.Name]}
			case c.Expect.Verdict == "failed" && c.Expect.Code == "invalid_request", c.Expect.Verdict == "refused at the publisher":
				want = []int{http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge}
			case c.Expect.Code == "request_conflict":
				want = []int{http.StatusConflict}
			default: // accepted, or for the worker to refuse by its control plane
				want = []int{http.StatusAccepted}
			}
			header := []string{}
			body := string(c.bytes(id))
			for _, h := range c.Headers {
				header = append(header, h[0], h[1])
			}
			got, err := b.repeat("/v1/projects/"+project+"/exports", tok, body, header)
			if err != nil { // the client library itself refuses to write such a header
				elsewhere++
				tried--
				continue
			}
			fits := false
			for _, w := range want {
				fits = fits || got.status == w
			}
			if !fits {
				t.Errorf("%s: %d %.300s, want %v (%s %s)", c.Name, got.status, got.body, want, c.Expect.Verdict, c.Expect.Code)
				continue
			}
			if got.status != http.StatusAccepted {
				p := got.problem(t)
				if strings.ContainsFunc(p.Detail, func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Errorf("%s: the detail is not plain: %q", c.Name, p.Detail)
				}
			}
			passed++
		}
	}
	t.Logf("bad input over HTTP: %d of %d, %d of them with another verdict for a reason of HTTP; %d rows are of the broker only", passed, tried, len(differs), elsewhere)
	if tried < 50 {
		t.Errorf("%d rows only", tried)
	}
}
