package ledger_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/retention"
)

const (
	day     = 24 * time.Hour
	keep    = 400 * day
	longAgo = "interval '401 days'"
)

// fails makes a request that failed and was published.
func (b *bench) fails(t *testing.T, id string) {
	t.Helper()
	r := request(id, `{}`)
	tok := b.granted(t, claimOf(r, 1))
	ok(t, b.Finish(t.Context(), tok, export.Ending{Outcome: failure(r, 1, codes.DumpFailed)}), b.MarkPublished(t.Context(), r.ID))
}

// age moves all times into the past.
func (b *bench) age(t *testing.T) {
	t.Helper()
	b.exec(t, `UPDATE pgcourier.requests SET created_at = created_at - `+longAgo+`, touched_at = touched_at - `+longAgo+`,
		started_at = started_at - `+longAgo+`, finished_at = finished_at - `+longAgo+`, published_at = published_at - `+longAgo+`,
		removed_at = removed_at - `+longAgo)
	b.exec(t, `UPDATE pgcourier.attempts SET collect_after = collect_after - `+longAgo)
}

// collected lets the collector finish.
func (b *bench) collected(t *testing.T) {
	t.Helper()
	b.exec(t, "UPDATE pgcourier.attempts SET collect_after = NULL")
}

func (b *bench) forget(t *testing.T, limit int) int {
	t.Helper()
	n, err := b.Forget(t.Context(), keep, time.Now().Add(-keep), limit)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (b *bench) ids(t *testing.T) []string {
	t.Helper()
	var all string
	b.scan(t, "SELECT coalesce(string_agg(request_id, ' ' ORDER BY request_id), '') FROM pgcourier.requests", &all)
	return strings.Fields(all)
}

func TestRequestsThatAreOverAreForgotten(t *testing.T) {
	t.Parallel()
	b := setup(t)
	// A failed request leaves an object to look for; the collector has finished with those of the
	// others.
	b.fails(t, "failed")
	b.fails(t, "failed-locked")
	r := request("refused", "{")
	r.Refusal = &export.Fault{Code: codes.InvalidRequest}
	_, err := b.FailUnclaimed(t.Context(), r, delivery.Delivery{}, 0)
	ok(t, err, b.MarkPublished(t.Context(), r.ID))
	b.complete(t, "stored", "removed", "expired", "expired-silently", "begun-and-removed", "unpublished", "removed-unpublished")
	for _, id := range []string{"stored", "removed", "expired", "expired-silently", "begun-and-removed"} {
		ok(t, b.MarkPublished(t.Context(), acme(id)), b.NoteVerification(t.Context(), acme(id), false))
	}
	for _, id := range []string{"expired", "expired-silently", "begun-and-removed"} {
		ok(t, b.Warned(t.Context(), acme(id), "no rule"))
		if begun, err := b.BeginDeletion(t.Context(), acme(id), 0); err != nil || !begun {
			t.Fatal(begun, err)
		}
	}
	ok(t, b.Deleted(t.Context(), acme("expired"), []retention.Result{}), b.Announced(t.Context(), acme("expired")),
		b.Deleted(t.Context(), acme("expired-silently"), []retention.Result{}))
	for _, id := range []string{"removed", "begun-and-removed", "removed-unpublished"} {
		if known, err := b.Remove(t.Context(), acme(id)); err != nil || !known {
			t.Fatal(known, err)
		}
	}
	tok := b.granted(t, claimOf(request("waiting", `{}`), 1))
	ok(t, b.Finish(t.Context(), tok, export.Ending{Retry: &export.Fault{Code: codes.LockTimeout}}))
	b.collected(t)
	b.fails(t, "failed-collectable")
	ok(t, b.Note(t.Context(), "telegram:1", "acme/failed.1.sql.gz", "part"))
	b.age(t)
	b.fails(t, "failed-lately")
	b.exec(t, "UPDATE pgcourier.attempts SET collect_after = NULL WHERE request_id = 'failed-lately'")
	// A deletion is remembered as long as an outcome is, however old the export was.
	b.complete(t, "removed-lately")
	ok(t, b.MarkPublished(t.Context(), acme("removed-lately")))
	b.exec(t, `UPDATE pgcourier.requests SET finished_at = finished_at - `+longAgo+`, published_at = published_at - `+longAgo+` WHERE request_id = 'removed-lately'`)
	_, err = b.Remove(t.Context(), acme("removed-lately"))
	ok(t, err)
	b.granted(t, claimOf(request("running", `{}`), 1))

	// The statement does not wait for a row that another worker has locked.
	tx, err := b.pool.Begin(t.Context())
	ok(t, err)
	if _, err := tx.Exec(t.Context(), "SELECT FROM pgcourier.requests WHERE request_id = 'failed-locked' FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Forget(t.Context(), keep, time.Now().Add(-keep-2*day), 100); err != nil || n != 0 {
		t.Errorf("%d forgotten that were not over before, %v", n, err)
	}
	if n := b.forget(t, 100); n != 5 {
		t.Errorf("%d forgotten, want 5", n)
	}
	stay := []string{
		"expired-silently", "failed-collectable", "failed-lately", "failed-locked", "removed-lately", "removed-unpublished",
		"running", "stored", "unpublished", "waiting",
	}
	if got := b.ids(t); !slices.Equal(got, stay) {
		t.Errorf("left are %q, want %q", got, stay)
	}
	ok(t, tx.Rollback(t.Context()))
	if n := b.forget(t, 100); n != 1 || slices.Contains(b.ids(t), "failed-locked") {
		t.Errorf("%d forgotten, left are %q", n, b.ids(t))
	}
	var loose int
	b.scan(t, `SELECT count(*) FROM (SELECT request_id FROM pgcourier.attempts UNION ALL SELECT request_id FROM pgcourier.verifications
		UNION ALL SELECT request_id FROM pgcourier.expiries) x WHERE request_id NOT IN (SELECT request_id FROM pgcourier.requests)`, &loose)
	if refs, err := b.Notes(t.Context(), "telegram:1", "acme/failed.1.sql.gz"); err != nil || loose != 0 || len(refs) != 1 {
		t.Errorf("%d rows outlived their request; notes %q, %v", loose, refs, err)
	}
	// A forgotten request is unknown: the same id runs again.
	if got, err := b.Gone(t.Context(), "removed"); err != nil || len(got) != 0 {
		t.Errorf("deleted long ago: %+v, %v", got, err)
	}
	b.exec(t, "DELETE FROM pgcourier.requests WHERE request_id = 'running'")
	if tok := b.granted(t, claimOf(request("failed", `{}`), 1)); tok.Attempt != 1 {
		t.Errorf("attempt %d of an unknown request", tok.Attempt)
	}
}

// over is a row of the property: ages in days, -1: it did not happen.
type over struct {
	state                    export.State
	published, removed       int
	collectable              bool
	warned, deleted, unheard bool // the steps of an expiry
}

// goes states the rule of the statement in Go.
func (o over) goes(before int) bool {
	switch {
	case o.published < 0, o.collectable, o.deleted && o.unheard:
		return false
	case o.state == export.Completed:
		return o.removed >= before && o.published >= before
	default:
		return o.state == export.Failed && o.published >= before
	}
}

func (o over) last() int {
	if o.removed >= 0 {
		return min(o.removed, o.published)
	}
	return o.published
}

// For any content of the ledger, only permitted rows are deleted, the oldest first, a batch at a
// time.
func TestForgettingAsAProperty(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ages := []int{0, 1, 399, 401, 450, 800}
	rapid.Check(t, func(rt *rapid.T) {
		b.exec(t, "TRUNCATE pgcourier.requests, pgcourier.attempts CASCADE")
		all := map[string]over{}
		for i := range rapid.IntRange(1, 25).Draw(rt, "rows") {
			o := over{state: rapid.SampledFrom([]export.State{export.Waiting, export.Running, export.Completed, export.Failed}).Draw(rt, "state"), published: -1, removed: -1}
			if o.state == export.Completed || o.state == export.Failed {
				o.published = rapid.SampledFrom(append(ages, -1)).Draw(rt, "published")
			}
			if o.state == export.Completed {
				o.removed = rapid.SampledFrom(append(ages, -1, -1)).Draw(rt, "removed")
				o.deleted, o.unheard = o.removed >= 0 && rapid.Bool().Draw(rt, "deleted"), rapid.Bool().Draw(rt, "unheard")
				o.warned = o.deleted || rapid.Bool().Draw(rt, "warned")
			}
			o.collectable = o.state != export.Running && rapid.IntRange(0, 3).Draw(rt, "collectable") == 0
			id := fmt.Sprintf("r%02d", i)
			all[id] = o
			b.lay(t, id, o)
		}
		before, limit := rapid.SampledFrom([]int{400, 425}).Draw(rt, "before"), rapid.IntRange(1, 9).Draw(rt, "batch")
		due := slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(id string) bool { return !all[id].goes(before) })
		for left := len(due); left > 0; {
			n, err := b.Forget(t.Context(), keep, time.Now().Add(-time.Duration(before)*day), limit)
			if err != nil || n != min(left, limit) {
				rt.Fatalf("%d forgotten of %d with batches of %d, %v", n, left, limit, err)
			}
			left -= n
			gone := map[string]bool{}
			for id := range all {
				gone[id] = true
			}
			for _, id := range b.ids(t) {
				delete(gone, id)
			}
			for id := range gone {
				for _, other := range due {
					if !gone[other] && all[other].last() > all[id].last() {
						rt.Fatalf("%s of %d days went before %s of %d days", id, all[id].last(), other, all[other].last())
					}
				}
			}
		}
		if n, err := b.Forget(t.Context(), keep, time.Now().Add(-time.Duration(before)*day), limit); err != nil || n != 0 {
			rt.Fatalf("%d more, %v", n, err)
		}
		want := slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(id string) bool { return all[id].goes(before) })
		if got := b.ids(t); !slices.Equal(got, want) {
			rt.Fatalf("left are %q, want %q of %+v", got, want, all)
		}
	})
}

// lay inserts a row as o describes it.
func (b *bench) lay(t *testing.T, id string, o over) {
	t.Helper()
	b.exec(t, `INSERT INTO pgcourier.requests (project_id, request_id, payload, digest, refused, origin, queue, queue_sequence, delivery,
			state, lease_until, outcome, code, finished_at, published_at, removed_at)
		SELECT 'acme', $1, '', sha256(''), false, '{}', 'q', 1, 1, $2, CASE WHEN $2 = 'running' THEN now() END,
			CASE WHEN ended THEN '{}'::json END, CASE WHEN $2 = 'failed' THEN 'dump_failed' END, CASE WHEN ended THEN now() - interval '900 days' END,
			CASE WHEN $3 >= 0 THEN now() - make_interval(days => $3) END, CASE WHEN $4 >= 0 THEN now() - make_interval(days => $4) END
		FROM (SELECT $2 IN ('completed', 'failed') AS ended) x`, id, string(o.state), o.published, o.removed)
	b.exec(t, `INSERT INTO pgcourier.attempts (project_id, request_id, attempt, worker, delivery, object, ended_at, result, collect_after)
		SELECT 'acme', $1, 1, 'w', 1, $1, now(), 'retry', CASE WHEN $2 THEN now() END`, id, o.collectable)
	if o.warned {
		b.exec(t, `INSERT INTO pgcourier.expiries (project_id, request_id, reason, warned_at, deleting_at, deleted_at, announced_at)
			SELECT 'acme', $1, 'no rule', now(), now(), CASE WHEN $2 THEN now() END, CASE WHEN $2 AND NOT $3 THEN now() END`, id, o.deleted, o.unheard)
	}
}

// Several workers forget concurrently, each row once.
func TestManyForgetAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const rows = 300
	b.exec(t, `INSERT INTO pgcourier.requests (project_id, request_id, payload, digest, refused, origin, queue, queue_sequence, delivery, state, outcome, code, finished_at, published_at)
		SELECT 'acme', 'r' || i, '', sha256(''), false, '{}', 'q', 1, 1, 'failed', '{}', 'dump_failed', t, t
		FROM generate_series(1, $1::int) i, LATERAL (SELECT now() - `+longAgo+` - make_interval(secs => i) AS t) x`, rows)
	var wg sync.WaitGroup
	forgotten := make([]int, 4)
	for i := range forgotten {
		wg.Go(func() {
			for range 2 * rows { // a batch may be empty while others hold the rest
				n, err := b.Forget(t.Context(), keep, time.Now().Add(-keep), 7)
				if forgotten[i] += n; err != nil {
					t.Error(err)
					return
				}
				if n == 0 {
					return
				}
			}
		})
	}
	wg.Wait()
	total := 0
	for _, n := range forgotten {
		total += n
	}
	if total != rows || len(b.ids(t)) != 0 {
		t.Errorf("%v forgotten of %d, left are %q", forgotten, rows, b.ids(t))
	}
}
