package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api/access"
)

// badCase is the part of a row of testdata/bad-input that this test uses.
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
	Expect struct{ Verdict, Code, Project, Result string }
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

// differs are the rows with another verdict in a call, over HTTP or NATS, with the reason.
var differs = map[string]int{
	// The path, or the subject, names the project, so the body may leave it out or be absent.
	"no fields": 202, "no project on the intake": 202, "empty": 202, "empty on the intake": 202,
	"a status of the broker, 100": 202, "a status of the broker, 404": 202, "a status of the broker, 409": 202, "a status of the broker, 503": 202,
	"a status on the intake": 202, "raw: an inline status": 202,
	// The broker's headers have no meaning here, and are not passed on.
	"an expected stream": 202, "an expected sequence": 202, "a rollup": 202, "a schedule": 202,
	// The header block of a call is unchanged; a stream adds a line, after which it cannot be
	// decoded.
	"raw: a bare line feed": 422,
	// It is refused before the id is looked at.
	"replay: a refused body under a used id": 422,
}

// way is how the catalogue's requests are sent.
type way struct {
	// send returns ok false for a row that cannot be sent like this.
	send func(project, id string, c badCase) (got answer, ok bool)
	// cancel sends a row of the cancels. Nil: it cannot be sent in this way.
	cancel func(body []byte) answer
}

func overHTTP(b *bench) way {
	tok := b.token(access.AllProjects, access.Admin)
	return way{send: func(project, id string, c badCase) (answer, bool) {
		if c.RawHeader != "" { // of the broker's own protocol
			return answer{}, false
		}
		header := []string{}
		for _, h := range c.Headers {
			header = append(header, h[0], h[1])
		}
		got, err := b.repeat("/v1/projects/"+project+"/exports", tok, string(c.bytes(id)), header)
		return got, err == nil // the client library itself refuses to write some headers
	}}
}

func overNATS(b *bench) way {
	b.serveCalls()
	raw := b.rawConnection()
	return way{
		send: func(project, id string, c badCase) (answer, bool) {
			subject := events.CallSubject(project, events.CallRequest)
			if c.RawHeader != "" {
				return raw.request(subject, c.RawHeader, c.bytes(id)), true
			}
			m := &nats.Msg{Subject: subject, Data: c.bytes(id), Header: nats.Header{}}
			for _, h := range c.Headers {
				m.Header[h[0]] = append(m.Header[h[0]], h[1]) // as in the row
			}
			got, err := b.ask(m)
			if errors.Is(err, nats.ErrMaxPayload) { // as in the catalogue
				return answer{}, false
			}
			b.must(err)
			return got, true
		},
		cancel: func(body []byte) answer {
			got, err := b.ask(&nats.Msg{Subject: events.CallSubject("acme", events.CallCancel), Data: body})
			b.must(err)
			return got
		},
	}
}

// The catalogue's messages get the same verdict over HTTP and in calls over NATS. What a worker
// would refuse as invalid is refused at once, a conflict is a conflict, and everything else is
// queued unchanged.
func TestTheCatalogueOfBadInputHasTheSameVerdicts(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*bench) way{"HTTP": overHTTP, "NATS": overNATS} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.tryCatalogue(name, open(b))
		})
	}
}

func (b *bench) tryCatalogue(name string, w way) {
	t := b.t
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "bad-input", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	s, err := b.js.Stream(t.Context(), events.StreamRequests)
	b.must(err)
	tried, passed, elsewhere := 0, 0, 0
	check := func(c badCase, got answer, want []int) {
		tried++
		if !slices.Contains(want, got.status) {
			t.Errorf("%s: %d %.300s, want %v (%s %s)", c.Name, got.status, got.body, want, c.Expect.Verdict, c.Expect.Code)
			return
		}
		if got.status != http.StatusAccepted {
			p := got.problem(t)
			if strings.ContainsFunc(p.Detail, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%s: the detail is not plain: %q", c.Name, p.Detail)
			}
		}
		passed++
	}
	refused := []int{http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge}
	for _, file := range files {
		text, err := os.ReadFile(file)
		b.must(err)
		var family struct{ Cases []badCase }
		b.must(json.Unmarshal(text, &family))
		for _, c := range family.Cases {
			id := fmt.Sprint("bad-", tried+elsewhere)
			if strings.HasPrefix(c.Subject, events.TypeCancel) && w.cancel != nil && c.Expect.Result == "invalid" {
				check(c, w.cancel(c.bytes(id)), refused)
				continue
			}
			project, ok := strings.CutPrefix(c.Subject, events.TypeRequested)
			project = strings.TrimPrefix(project, ".")
			if project == "" { // the path or the subject must name one: the body's, if it has one
				var named struct {
					Project string `json:"project_id"`
				}
				if project = "good"; json.Unmarshal(c.bytes("x"), &named) == nil && events.ValidProject(named.Project) {
					project = named.Project
				}
			}
			// Cancels and subjects with several tokens exist at the broker only; a path names one
			// project.
			if !ok || strings.HasSuffix(c.Subject, ".") || !events.ValidProject(project) {
				elsewhere++
				continue
			}
			b.must(s.Purge(t.Context()))
			if c.Before != "" {
				if got, _ := w.send(project, id, badCase{Body: c.Before}); got.status != http.StatusAccepted {
					t.Errorf("%s: before: %d %s", c.Name, got.status, got.body)
				}
			}
			var want []int
			switch {
			case differs[c.Name] != 0:
				want = []int{differs[c.Name]}
			case c.Expect.Verdict == "failed" && c.Expect.Code == "invalid_request", c.Expect.Verdict == "refused at the publisher":
				want = refused
			case c.Expect.Code == "request_conflict":
				want = []int{http.StatusConflict}
			default: // accepted, or for the worker to refuse by its control plane
				want = []int{http.StatusAccepted}
			}
			got, ok := w.send(project, id, c)
			if !ok {
				elsewhere++
				continue
			}
			check(c, got, want)
		}
	}
	t.Logf("bad input over %s: %d of %d, %d rows may have another verdict because the call names the project; %d rows are of the broker only", name, passed, tried, len(differs), elsewhere)
	if tried < 50 {
		t.Errorf("%d rows only", tried)
	}
}
