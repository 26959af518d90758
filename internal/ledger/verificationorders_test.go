package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

// An order is taken by one verifier at a time, is taken again when its holder is gone, and a former holder
// changes nothing.
func TestAnOrderToVerifyIsCarriedOutByOneHolder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	call := ledger.Call{Subject: "token:x", Address: "192.0.2.1", Action: "verify-export"}
	order := func(id string) error { return b.OrderVerification(t.Context(), acme(id), call) }
	take := func(hold time.Duration) *ledger.VerificationOrder {
		t.Helper()
		o, err := b.TakeVerification(t.Context(), hold, 5)
		ok(t, err)
		return o
	}
	if err := order("unknown"); !errors.Is(err, export.ErrUnknown) {
		t.Errorf("an unknown request: %v", err)
	}
	r := request("r1", `{}`)
	tok := b.granted(t, claimOf(r, 1))
	if err := order("r1"); !errors.Is(err, export.ErrNothingStored) {
		t.Errorf("a running request: %v", err)
	}
	ok(t, b.Finish(t.Context(), tok, export.Ending{Outcome: outcome(tok, r)}), order("r1"), order("r1"))
	first := take(time.Hour)
	if first == nil || first.ID != acme("r1") || first.Try != 1 {
		t.Fatalf("%+v", first)
	}
	if other := take(time.Hour); other != nil {
		t.Errorf("taken twice: %+v", other)
	}
	ok(t, b.HoldVerification(t.Context(), *first, 0)) // the holder is gone
	second := take(time.Hour)
	if second == nil || second.Try != 2 {
		t.Fatalf("%+v", second)
	}
	for name, err := range map[string]error{
		"hold": b.HoldVerification(t.Context(), *first, time.Hour), "done": b.VerificationDone(t.Context(), *first),
		"not made": b.VerificationNotMade(t.Context(), *first, "x", 0, true),
	} {
		if !errors.Is(err, ledger.ErrOrderLost) {
			t.Errorf("%s by the former holder: %v", name, err)
		}
	}
	ok(t, b.VerificationNotMade(t.Context(), *second, "the scratch server is away", 0, false))
	third := take(time.Hour)
	ok(t, b.VerificationNotMade(t.Context(), *third, "the scratch server is away", time.Hour, false))
	if early := take(time.Hour); early != nil {
		t.Errorf("taken in its pause: %+v", early)
	}
	story, err := b.Story(t.Context(), acme("r1"))
	ok(t, err)
	if story.VerifyOrderedAt == nil || story.VerifyOrderedBy != "token:x" || story.VerifyClosedAt != nil || story.VerifyFault == "" {
		t.Errorf("%+v", story)
	}
	b.exec(t, "UPDATE pgcourier.verification_orders SET held_until = NULL")
	fourth := take(time.Hour)
	ok(t, b.VerificationDone(t.Context(), *fourth))
	if story, err = b.Story(t.Context(), acme("r1")); err != nil || story.VerifyClosedAt == nil || story.VerifyFault != "" {
		t.Errorf("%+v, %v", story, err)
	}
	ok(t, order("r1")) // once more
	again := take(time.Hour)
	if again == nil || again.Try != 1 || !again.OrderedAt.After(first.OrderedAt) {
		t.Fatalf("%+v", again)
	}
	ok(t, b.VerificationNotMade(t.Context(), *again, "", 0, false)) // the verifier stops
	for try := 1; try <= 5; try++ {
		if o := take(0); o == nil || o.Try != try { // the verifier is killed
			t.Fatalf("try %d: %+v", try, o)
		}
	}
	if o := take(time.Hour); o != nil {
		t.Errorf("taken after five tries: %+v", o)
	}
	if story, err = b.Story(t.Context(), acme("r1")); err != nil || story.VerifyClosedAt == nil || story.VerifyFault == "" {
		t.Errorf("after five tries: %+v, %v", story, err)
	}
	var calls int
	ok(t, b.pool.QueryRow(t.Context(), "SELECT count(*) FROM pgcourier.api_calls WHERE action = 'verify-export' AND object = 'r1'").Scan(&calls))
	if calls != 2 {
		t.Errorf("%d calls in the audit, want 2: an open order is not ordered again", calls)
	}
}
