package console_test

import (
	"bufio"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/api/console"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// follow opens the stream of live events and returns its lines.
func (v *browser) follow(path string) <-chan string {
	v.b.t.Helper()
	r, err := http.NewRequestWithContext(v.b.t.Context(), http.MethodGet, v.b.url+path, nil)
	v.b.must(err)
	r.Header.Set("Accept", "text/event-stream")
	r.AddCookie(v.cookie)
	res, err := http.DefaultTransport.RoundTrip(r)
	v.b.must(err)
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		v.b.t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(res.Body); s.Scan(); {
			lines <- s.Text()
		}
	}()
	v.b.t.Cleanup(func() { _ = res.Body.Close() })
	if first := <-lines; first != "retry: 3000" { // then the console watches
		v.b.t.Fatalf("begins with %q", first)
	}
	return lines
}

// progress publishes the progress of an export as a worker does.
func (b *bench) progress(project, id string, percent int64) {
	b.t.Helper()
	m, err := events.Progress{ProjectID: project, RequestID: id, Attempt: 1, SizeBytes: percent, EstimatedBytes: 100, At: time.Now()}.Encode("test")
	b.must(err)
	b.publish(m)
	b.must(b.nc.Flush())
}

func TestLiveEventsAreThoseOfTheOwnProjects(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.claim("acme", "mine")
	b.claim("globex", "theirs")
	lines := b.visit("acme", access.Read).follow(console.Prefix + "live")
	b.progress("globex", "theirs", 11)
	b.progress("acme", "mine", 42)
	b.completed("initech", "other")
	next := func() string {
		for line := range lines {
			if line != "" {
				return line
			}
		}
		return "the stream ended"
	}
	if got := next() + next(); got != `event: progressdata: {"of":"acme/mine","percent":42}` {
		t.Errorf("progress: %s", got)
	}
	m, err := events.Started{
		ProjectID: "acme", RequestID: "mine", Attempt: 1, Format: events.FormatSQL, Compression: events.CompressionGzip,
		Schemas: []string{"tenant_acme"}, ServerVersion: "15.1", PgDumpVersion: "15.1", StartedAt: time.Now(),
	}.Encode("test")
	b.must(err)
	b.publish(m)
	if got := next(); got != "event: changed" {
		t.Errorf("a start: %s", got)
	}
}

func TestTheLiveStreamNeedsASession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := (&browser{b: b}).do(http.MethodGet, "live", nil, "Accept", "text/event-stream")
	if got.status != http.StatusNoContent || strings.Contains(got.header.Get("Content-Type"), "event-stream") {
		t.Errorf("%d", got.status)
	}
}

// What happens after a page was made and before its script has connected is told as soon as it has.
func TestWhatHappensBeforeTheScriptConnectsIsNotLost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	live := regexp.MustCompile(`data-live="([^"]+)"`)
	v := b.visit("acme", access.Read)
	of := func() string {
		t.Helper()
		m := live.FindStringSubmatch(v.get("exports").body)
		if m == nil {
			t.Fatal("the page is not live")
		}
		return m[1]
	}
	first := of()
	b.completed("globex", "theirs")
	b.completed("acme", "mine")
	brokertest.Eventually(t, "the console has seen both events", func() bool { return strings.HasSuffix(of(), ".2") })
	for name, path := range map[string]string{"a page that missed it": first, "a page of another process": console.Prefix + "live?seen=x.1", "nonsense": console.Prefix + "live?seen=%00"} {
		lines := v.follow(path)
		<-lines // the end of the first event
		if got := <-lines; got != "event: changed" {
			t.Errorf("%s: %s", name, got)
		}
	}
	lines := v.follow(of())
	<-lines
	b.claim("acme", "next")
	b.progress("acme", "next", 42)
	if got := <-lines; got != "event: progress" {
		t.Errorf("a page that has seen it: %s", got)
	}
}
