package api_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
	"github.com/pgcourier/pgcourier/internal/export"
)

// seen is one event as a follower gets it.
type seen struct{ id, kind, data string }

// follower reads Server-Sent Events.
type follower struct {
	b      *bench
	status int
	events chan seen
	stop   context.CancelFunc
}

func (b *bench) follow(path, token, last string) *follower {
	b.t.Helper()
	ctx, stop := context.WithCancel(b.t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+path+"/events", nil)
	b.must(err)
	req.Header.Set("Authorization", "Bearer "+token)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(req)
	b.must(err)
	f := &follower{b: b, status: res.StatusCode, events: make(chan seen, 100), stop: stop}
	b.t.Cleanup(stop)
	go func() {
		defer close(f.events)
		defer func() { _ = res.Body.Close() }()
		var e seen
		lines := bufio.NewScanner(res.Body)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				e.id = value
			case "event":
				e.kind = value
			case "data":
				e.data = value
			case "":
				if e.kind != "" {
					f.events <- e
				}
				e = seen{}
			}
		}
	}()
	return f
}

func (f *follower) next(kind string) seen {
	f.b.t.Helper()
	e := brokertest.Receive(f.b.t, f.events)
	if e.kind != kind {
		f.b.t.Fatalf("received %+v, want %s", e, kind)
	}
	return e
}

// ended waits until the server has ended the stream.
func (f *follower) ended() {
	f.b.t.Helper()
	select {
	case e, open := <-f.events:
		if open {
			f.b.t.Errorf("received %+v, want the end", e)
		}
	case <-time.After(brokertest.Timeout):
		f.b.t.Error("the stream did not end")
	}
}

func (b *bench) started(id string, attempt int) {
	b.t.Helper()
	m, err := events.Started{
		ProjectID: "acme", RequestID: id, Attempt: attempt, Format: events.FormatSQL, Compression: events.CompressionGzip,
		Schemas: []string{"tenant_acme"}, EstimatedBytes: 100, ServerVersion: "15.1", PgDumpVersion: "15.1", StartedAt: time.Now(),
	}.Encode("test")
	b.must(err)
	b.publish(m)
}

func (b *bench) progress(id string, size int64) {
	b.t.Helper()
	m, err := events.Progress{ProjectID: "acme", RequestID: id, Attempt: 1, SizeBytes: size, EstimatedBytes: 100, At: time.Now()}.Encode("test")
	b.must(err)
	b.publish(m)
}

func (b *bench) verified(id string) {
	b.t.Helper()
	m, err := events.Verified{
		ProjectID: "acme", RequestID: id, Attempt: 1, Copies: []events.VerifiedCopy{{Destination: "file", URI: "file:x"}}, SHA256: strings.Repeat("ab", 32),
		DumpSHA256: strings.Repeat("ab", 32), ServerVersion: "15.1", StartedAt: time.Now(), FinishedAt: time.Now(),
	}.Encode("test")
	b.must(err)
	b.publish(m)
}

func TestEventsAreFollowedAndResumed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tok := b.token("acme", access.Read)
	attempt, r := b.claim("acme", "one")
	b.started("one", 1)
	f := b.follow(acme+"/one", tok, "")
	begun := f.next(events.TypeStarted)
	b.progress("one", 42)
	if e := f.next(events.TypeProgress); e.id != "" || !strings.Contains(e.data, `"size_bytes":42`) {
		t.Errorf("progress %+v", e)
	}
	if e := b.call("GET", acme+"/one", tok, "").export(t); e.Percent == nil || *e.Percent != 42 {
		t.Errorf("percent of %+v", e)
	}
	b.complete(attempt, r)
	ended := f.next(events.TypeCompleted)
	b.verified("one")
	last := f.next(events.TypeVerified)
	f.ended()
	for _, c := range []struct {
		last string
		want []string
	}{
		{"", []string{events.TypeStarted, events.TypeCompleted, events.TypeVerified}},
		{"nonsense", []string{events.TypeStarted, events.TypeCompleted, events.TypeVerified}},
		{begun.id, []string{events.TypeCompleted, events.TypeVerified}},
		{ended.id, []string{events.TypeVerified}},
	} {
		f := b.follow(acme+"/one", tok, c.last)
		for _, kind := range c.want {
			f.next(kind)
		}
		f.ended()
	}
	if f := b.follow(acme+"/one", tok, last.id); f.status != http.StatusNoContent {
		t.Errorf("after the last event: %d", f.status)
	}
	// A failure is the last event.
	attempt, r = b.claim("acme", "two")
	b.fail(attempt, r, export.Fault{Code: codes.DumpTimeout, Message: "too long"})
	f = b.follow(acme+"/two", tok, "")
	f.next(events.TypeFailed)
	f.ended()
	if got := b.call("GET", acme+"/none/events", tok, ""); got.status != http.StatusNotFound {
		t.Errorf("an unknown export: %d", got.status)
	}
}

var followers = flag.Int("followers", 300, "callers that follow events at the same time")

// With any number of followers the broker has one subscription, and each follower gets everything.
func TestManyFollowersShareOneSubscription(t *testing.T) {
	t.Parallel()
	many := *followers
	b := setup(t)
	tok := b.token("acme", access.Read)
	attempt, r := b.claim("acme", "one")
	b.started("one", 1)
	before := b.nc.NumSubscriptions()
	var ready, done sync.WaitGroup
	ready.Add(many)
	for range many {
		done.Go(func() {
			f := b.follow(acme+"/one", tok, "")
			f.next(events.TypeStarted)
			ready.Done()
			f.next(events.TypeCompleted)
			f.next(events.TypeVerified)
			f.ended()
		})
	}
	ready.Wait()
	// The subscriptions for replies come and go.
	brokertest.Eventually(t, fmt.Sprintf("one subscription for %d followers", many), func() bool { return b.nc.NumSubscriptions() <= before+1 })
	b.complete(attempt, r)
	b.verified("one")
	done.Wait()
}

func TestFollowersGoWhenTheServerDrains(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.claim("acme", "one")
	b.started("one", 1)
	f := b.follow(acme+"/one", b.token("acme", access.Read), "")
	f.next(events.TypeStarted)
	b.api.Drain()
	f.ended()
}
