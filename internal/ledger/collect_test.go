package ledger_test

import (
	"slices"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

// objects returns what the collector may delete now.
func (b *bench) objects(t testing.TB) []string {
	t.Helper()
	left, err := b.Collectable(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, l := range left {
		keys = append(keys, l.Object)
	}
	slices.Sort(keys)
	return keys
}

func TestTheCollectorIsNeverOfferedWhatCouldStillCommit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request("r1", `{}`)
	expect := func(when string, want ...string) {
		t.Helper()
		if got := b.objects(t); !slices.Equal(got, want) {
			t.Errorf("%s: collectable %q, want %q", when, got, want)
		}
	}
	b.granted(t, claimOf(r, 1))
	expect("running")
	b.expire(t)
	expect("lease ended, not yet superseded")
	second := b.granted(t, claimOf(r, 2))
	expect("superseded", "acme/r1.1.sql.gz")
	if err := b.Finish(t.Context(), second, export.Ending{Retry: &export.Fault{Code: codes.DumpFailed}}); err != nil {
		t.Fatal(err)
	}
	expect("to be retried", "acme/r1.1.sql.gz", "acme/r1.2.sql.gz")
	third := b.granted(t, claimOf(r, 3))
	expect("a third runs", "acme/r1.1.sql.gz", "acme/r1.2.sql.gz")
	if err := b.Finish(t.Context(), third, export.Ending{Outcome: outcome(third, r)}); err != nil {
		t.Fatal(err)
	}
	expect("completed by the third", "acme/r1.1.sql.gz", "acme/r1.2.sql.gz")

	r2 := request("r2", `{}`)
	tok := b.granted(t, claimOf(r2, 1))
	if err := b.Finish(t.Context(), tok, export.Ending{Outcome: failure(r2, 1, codes.SizeLimit)}); err != nil {
		t.Fatal(err)
	}
	expect("another one failed", "acme/r1.1.sql.gz", "acme/r1.2.sql.gz", "acme/r2.1.sql.gz")

	r3 := request("r3", `{}`)
	b.granted(t, claimOf(r3, 3))
	b.expire(t)
	if _, err := b.FailStranded(t.Context(), export.Stranded{ID: r3.ID, Attempt: 1}, 0); err != nil {
		t.Fatal(err)
	}
	expect("another one was reaped", "acme/r1.1.sql.gz", "acme/r1.2.sql.gz", "acme/r2.1.sql.gz", "acme/r3.1.sql.gz")
}

// The database itself refuses to schedule a live or a winning attempt for collection.
func TestTheSchemaForbidsCollectingALiveOrCompletedAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request("r1", `{}`)
	tok := b.granted(t, claimOf(r, 1))
	const schedule = `UPDATE pgcourier.attempts SET collect_after = clock_timestamp()`
	if _, err := b.pool.Exec(t.Context(), schedule); err == nil {
		t.Error("a running attempt was scheduled")
	}
	if err := b.Finish(t.Context(), tok, export.Ending{Outcome: outcome(tok, r)}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.pool.Exec(t.Context(), schedule); err == nil {
		t.Error("a completed attempt was scheduled")
	}
}

func TestTheCollectorLooksAgainAfterPauses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request("r1", `{}`)
	b.granted(t, claimOf(r, 1))
	b.expire(t)
	b.granted(t, claimOf(r, 2))
	for look, pause := range []string{"1 minute", "10 minutes", "1 day", ""} {
		left, err := b.Collectable(t.Context(), 100)
		if err != nil || len(left) != 1 || left[0].Look != look || left[0].Attempt != 1 {
			t.Fatalf("look %d: %+v %v, want the first attempt", look, left, err)
		}
		for range 2 { // two concurrent collectors count as one look
			if err := b.Collected(t.Context(), left); err != nil {
				t.Fatal(err)
			}
		}
		if got := b.objects(t); len(got) != 0 {
			t.Fatalf("right after look %d: %q, want none", look, got)
		}
		if pause == "" {
			break
		}
		var due bool
		b.scan(t, `SELECT collect_after - collected_at BETWEEN interval '`+pause+`' - interval '1 s' AND interval '`+pause+`' + interval '1 s'
			FROM pgcourier.attempts WHERE attempt = 1`, &due)
		if !due {
			t.Errorf("look %d is not followed by one after %s", look, pause)
		}
		b.exec(t, `UPDATE pgcourier.attempts SET collect_after = collect_after - interval '25 hours' WHERE collect_after IS NOT NULL`)
	}
	var done bool
	b.scan(t, `SELECT collect_after IS NULL AND looks = 4 FROM pgcourier.attempts WHERE attempt = 1`, &done)
	if !done {
		t.Error("the attempt is not done with after four looks")
	}
	if err := b.Collected(t.Context(), nil); err != nil {
		t.Errorf("nothing collected: %v", err)
	}
}
