package ledger_test

import (
	"slices"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

// Whatever the ledger says of a request, an announced export is its outcome, and its object stays.
func TestAnAnnouncedExportIsTheOutcomeWhateverTheLedgerSays(t *testing.T) {
	t.Parallel()
	r := request("r1", `{}`)
	for name, c := range map[string]struct {
		before  func(t *testing.T, b *bench, first export.Token)
		changed bool
		collect []string // objects, afterwards
	}{
		"running": {func(*testing.T, *bench, export.Token) {}, true, nil},
		"claimed again": {func(t *testing.T, b *bench, _ export.Token) {
			b.expire(t)
			b.granted(t, claimOf(r, 2))
		}, true, []string{"acme/r1.2.sql.gz"}},
		"lost": {func(t *testing.T, b *bench, _ export.Token) {
			b.expire(t)
			if _, err := b.FailStranded(t.Context(), export.Stranded{ID: r.ID, Attempt: 1}, 0); err != nil {
				t.Fatal(err)
			}
		}, true, nil},
		"completed by another attempt": {func(t *testing.T, b *bench, _ export.Token) {
			b.expire(t)
			second := b.granted(t, claimOf(r, 2))
			if err := b.Finish(t.Context(), second, export.Ending{Outcome: outcome(second, r)}); err != nil {
				t.Fatal(err)
			}
		}, true, []string{"acme/r1.2.sql.gz"}},
		"without the attempt": {func(t *testing.T, b *bench, _ export.Token) {
			b.exec(t, "DELETE FROM pgcourier.attempts")
		}, true, nil},
		"completed": {func(t *testing.T, b *bench, first export.Token) {
			if err := b.Finish(t.Context(), first, export.Ending{Outcome: outcome(first, r)}); err != nil {
				t.Fatal(err)
			}
		}, false, nil},
		"unknown": {func(t *testing.T, b *bench, _ export.Token) {
			b.exec(t, "DELETE FROM pgcourier.requests")
		}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			first := b.granted(t, claimOf(r, 1))
			announced := *outcome(first, r)
			c.before(t, b, first)
			changed, err := b.RecordAnnounced(t.Context(), export.Manifest{Version: 1, Key: "acme/r1.1.sql.gz", Outcome: announced})
			if err != nil || changed != c.changed {
				t.Fatalf("changed %t, %v; want %t", changed, err, c.changed)
			}
			if name == "unknown" {
				return
			}
			e, err := b.List(t.Context(), ledger.Filter{})
			if err != nil || len(e) != 1 || e[0].State != export.Completed || e[0].Outcome.Attempt != 1 {
				t.Fatalf("the ledger has %+v, %v; want the request completed by attempt 1", e, err)
			}
			if got := b.objects(t); !slices.Equal(got, c.collect) {
				t.Errorf("collectable %q, want %q", got, c.collect)
			}
			var due bool
			if err := b.pool.QueryRow(t.Context(), "SELECT delivered_at IS NULL FROM pgcourier.requests").Scan(&due); err != nil || due != (name == "completed") {
				t.Errorf("a link is due: %t, %v", due, err)
			}
			var kept string
			if err := b.pool.QueryRow(t.Context(), "SELECT object FROM pgcourier.attempts WHERE attempt = 1 AND result = 'completed'").Scan(&kept); err != nil || kept != "acme/r1.1.sql.gz" {
				t.Errorf("the attempt that completed it has the object %q, %v", kept, err)
			}
			if again, err := b.RecordAnnounced(t.Context(), export.Manifest{Version: 1, Key: "acme/r1.1.sql.gz", Outcome: announced}); again || err != nil {
				t.Errorf("recorded twice: changed %t, %v", again, err)
			}
		})
	}
}

// An attempt that found an export under its key has stored nothing: what lies there is never collected.
func TestTheObjectOfAnotherIsNotCollected(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request("r1", `{}`)
	first := b.granted(t, claimOf(r, 1))
	if err := b.Finish(t.Context(), first, export.Ending{Retry: &export.Fault{Code: codes.InternalError}, Unwritten: true}); err != nil {
		t.Fatal(err)
	}
	second := b.granted(t, claimOf(r, 2))
	if err := b.Finish(t.Context(), second, export.Ending{Outcome: failure(r, 2, codes.InternalError), Unwritten: true}); err != nil {
		t.Fatal(err)
	}
	if got := b.objects(t); len(got) > 0 {
		t.Errorf("collectable %q, want nothing", got)
	}
}
