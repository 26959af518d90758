package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/apifuzz"
)

var (
	fuzzAPI  = flag.Duration("fuzz-api", 0, "call the HTTP API for so long; 0: some hundred calls")
	fuzzSeed = flag.Uint64("fuzz-api-seed", 1, "seed of these calls")
)

// fewCalls is the number of calls without -fuzz-api.
const fewCalls = 600

// The API answers every call as its OpenAPI document says, and continues to run. The calls are
// generated from the document: each operation with valid and hostile values, with tokens of every
// scope, and malformed calls.
func TestTheAPIAnswersAsDocumentedWhateverItIsAsked(t *testing.T) {
	t.Parallel()
	p := setup(t)
	s := p.startAPI("API_RATE=100000", "PUBLIC_URL=http://backups.example.org")
	p.start("CONCURRENCY=1")
	admin := p.token("*", "admin")
	tokens := []apifuzz.Token{{Secret: admin, Project: "*", Scopes: []string{"admin"}}}
	for _, scope := range []string{"export", "read", "download", "operate", "restore", "admin"} {
		tokens = append(tokens, apifuzz.Token{Secret: p.token("acme", scope), Project: "acme", Scopes: []string{scope}})
	}
	// When it begins, there are completed exports, a failed one, and links to one.
	for i := range 8 {
		id := fmt.Sprintf("f-%d", i)
		s.ask(admin, "acme", id)
		s.p.completed("acme", id)
	}
	s.ask(admin, "unborn", "f-0")
	s.p.failed("unborn", "f-0", codes.SchemaNotFound, 1)
	_, _, text := s.call(http.MethodGet, "/v1/openapi.json", "", "")
	document, err := apifuzz.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	c := apifuzz.Config{Address: strings.TrimPrefix(s.url, "http://"), Document: document, Tokens: tokens, Seed: *fuzzSeed, Workers: 4}
	ctx := t.Context()
	if *fuzzAPI > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *fuzzAPI)
		defer cancel()
	} else {
		c.Calls = fewCalls
	}
	begun := time.Now()
	report, err := apifuzz.Run(ctx, c)
	if err != nil {
		t.Error(err)
	}
	t.Logf("fuzz of the API: seed %d, %s, %s", c.Seed, time.Since(begun).Round(time.Second), report.Summary())
	for _, f := range report.Findings {
		t.Errorf("%s", f)
	}
	if status, _, text := s.call(http.MethodGet, "/v1/whoami", admin, ""); status != http.StatusOK {
		t.Errorf("afterwards: %d %s", status, text)
	}
	// The test does not check the requests that were made: the processes must end in order.
	for _, w := range p.workers {
		w.term()
		w.await()
		if w.err != nil {
			t.Errorf("a process ended with %v", w.err)
		}
		if log := w.logs.String(); strings.Contains(log, "panic") || strings.Contains(log, "pgc_") {
			t.Errorf("a log holds a panic or a token: %s", log)
		}
	}
	p.workers = nil
}

// ask requests an export.
func (s *apiServer) ask(token, project, id string) {
	s.t.Helper()
	if status, _, text := s.call(http.MethodPost, "/v1/projects/"+project+"/exports", token, "", "Idempotency-Key", id); status != http.StatusAccepted {
		s.t.Fatalf("%s/%s: %d %s", project, id, status, text)
	}
}
