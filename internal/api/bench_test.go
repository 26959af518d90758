package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api/access"
)

// of returns a quantile.
func of(all []time.Duration, q float64) time.Duration {
	slices.Sort(all)
	return all[min(len(all)-1, int(q*float64(len(all))))]
}

// A POST ends when the broker has stored backup.requested and the ledger has stored the request.
// The test cluster runs without fsync.
func BenchmarkPostToStored(b *testing.B) {
	x := setup(b)
	tok := x.token(access.AllProjects, access.Export)
	s, err := x.js.Stream(b.Context(), events.StreamRequests)
	x.must(err)
	var all []time.Duration
	for i := 0; b.Loop(); i++ {
		path := fmt.Sprintf("/v1/projects/p%d/exports", i%1000)
		begun := time.Now()
		got := x.call("POST", path, tok, `{"format":"custom"}`)
		all = append(all, time.Since(begun))
		if got.status != http.StatusAccepted {
			b.Fatalf("%d %s", got.status, got.body)
		}
		if i%5000 == 4999 {
			x.must(s.Purge(b.Context()))
		}
	}
	b.ReportMetric(float64(of(all, 0.5).Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(of(all, 0.99).Microseconds())/1000, "p99-ms")
}

// Every page of 100,000 exports of one project.
func BenchmarkPageOfAHundredThousand(b *testing.B) {
	x := setup(b)
	tok := x.token("acme", access.Read)
	attempt, r := x.claim("acme", "model")
	x.complete(attempt, r)
	x.exec(`INSERT INTO pgcourier.requests (project_id, request_id, payload, digest, refused, origin, state, attempt, queue, queue_sequence, delivery, outcome, code, created_at, started_at, finished_at, published_at)
SELECT 'acme', 'r' || n, payload, digest, false, origin, 'completed', 1, queue, n, 1, outcome, NULL, created_at - n * interval '1 second', started_at, finished_at, finished_at
FROM pgcourier.requests, generate_series(1, 99999) n WHERE request_id = 'model'`)
	x.exec(`INSERT INTO pgcourier.attempts (project_id, request_id, attempt, worker, delivery, object, started_at, ended_at, result)
SELECT 'acme', 'r' || n, 1, 'w', 1, 'acme/r' || n, started_at, ended_at, 'completed' FROM pgcourier.attempts, generate_series(1, 99999) n WHERE request_id = 'model'`)
	x.exec("VACUUM ANALYZE pgcourier.requests, pgcourier.attempts")
	var all []time.Duration
	cursor, seen := "", 0
	for b.Loop() {
		begun := time.Now()
		got := x.call("GET", acme+"?limit=50&cursor="+cursor, tok, "")
		all = append(all, time.Since(begun))
		var page struct {
			Exports []struct{}
			Next    string `json:"next_cursor"`
		}
		got.into(b, &page)
		seen += len(page.Exports)
		if cursor = page.Next; cursor == "" && seen%100_000 != 0 {
			b.Fatalf("%d exports were seen in the end", seen)
		}
	}
	b.ReportMetric(float64(of(all, 0.5).Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(of(all, 0.99).Microseconds())/1000, "p99-ms")
}
