package ledger_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

func finish(t testing.TB, b *bench, tok export.Token, r export.Request) {
	t.Helper()
	if err := b.Finish(t.Context(), tok, export.Ending{Outcome: outcome(tok, r)}); err != nil {
		t.Fatal(err)
	}
}

func verdict(t testing.TB, b *bench, c export.ClaimRequest) export.Claim {
	t.Helper()
	got, err := b.Claim(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func rows(t testing.TB, b *bench) (n int) {
	t.Helper()
	b.scan(t, "SELECT count(*) FROM pgcourier.requests", &n)
	return n
}

func TestOneRequestOfAProjectRunsAtATime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, second := claimOf(request("r1", `{}`), 1), claimOf(request("r2", `{}`), 1)
	tok := b.granted(t, first)
	for range 5 {
		if c := verdict(t, b, second); c.Verdict != export.Busy || c.Wait <= 0 || c.Wait > 30e9 {
			t.Fatalf("beside a running request: %+v, want busy for what remains of its lease", c)
		}
	}
	if n := rows(t, b); n != 1 {
		t.Errorf("%d requests are recorded, want the running one alone", n)
	}
	elsewhere := request("r2", `{}`)
	elsewhere.Project = "globex"
	b.granted(t, claimOf(elsewhere, 1))
	if c := verdict(t, b, claimOf(request("r1", `{}`), 2)); c.Verdict != export.Leased {
		t.Errorf("the running request itself: %v, want leased", c.Verdict)
	}
	finish(t, b, tok, first.Request)
	if tok := b.granted(t, second); tok.Attempt != 1 {
		t.Errorf("attempt %d: waiting cost one", tok.Attempt)
	}
}

// A refused or ended request does not wait for others, and others do not wait for it.
func TestARequestThatNeedsNoTurnDoesNotWait(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ended := claimOf(request("ended", `{}`), 1)
	finish(t, b, b.granted(t, ended), ended.Request)
	refused := claimOf(request("refused", "x"), 1)
	refused.Request.Refusal = &export.Fault{Code: codes.InvalidRequest, Message: "no"}
	refusedToken := b.granted(t, refused)
	b.granted(t, claimOf(request("runs", `{}`), 1)) // beside the refused one
	if err := b.Finish(t.Context(), refusedToken, export.Ending{Outcome: failure(refused.Request, 1, codes.InvalidRequest)}); err != nil {
		t.Error(err)
	}
	other := request("refused-too", "y")
	other.Refusal = refused.Request.Refusal
	b.granted(t, claimOf(other, 1))
	if c := verdict(t, b, claimOf(request("ended", `{}`), 2)); c.Verdict != export.Ended {
		t.Errorf("an ended request: %v", c.Verdict)
	}
	if c := verdict(t, b, claimOf(request("ended", `{"x":1}`), 1)); c.Verdict != export.Conflicting {
		t.Errorf("a conflict: %v", c.Verdict)
	}
	cancelled := request("cancelled", `{}`)
	if _, err := b.CancelQueued(t.Context(), cancelled, delivery.Delivery{Stream: "q", Sequence: 9, Number: 1}, "ann"); err != nil {
		t.Fatal(err)
	}
	if c := verdict(t, b, claimOf(cancelled, 1)); c.Verdict != export.Ended || c.Outcome.Code != codes.Cancelled {
		t.Errorf("a cancelled request: %+v", c)
	}
}

// A request that failed and is tried again keeps its place in the ledger while another request of
// its project runs.
func TestARetryWaitsForItsTurnToo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	again := claimOf(request("r1", `{}`), 1)
	tok := b.granted(t, again)
	if err := b.Finish(t.Context(), tok, export.Ending{Retry: &export.Fault{Code: codes.DumpFailed}}); err != nil {
		t.Fatal(err)
	}
	between := claimOf(request("r2", `{}`), 1)
	running := b.granted(t, between)
	retry := claimOf(request("r1", `{}`), 2)
	if c := verdict(t, b, retry); c.Verdict != export.Busy {
		t.Fatalf("a retry beside a running request: %v, want busy", c.Verdict)
	}
	finish(t, b, running, between.Request)
	if tok := b.granted(t, retry); tok.Attempt != 2 {
		t.Errorf("attempt %d, want 2", tok.Attempt)
	}
}

// The owner of an expired lease is superseded if another request of the project is running.
// Otherwise it continues.
func TestAnExpiredLeaseIsNotRenewedWhileAnotherRequestRuns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	paused := claimOf(request("r1", `{}`), 1)
	tok := b.granted(t, paused)
	b.expire(t)
	if err := b.Renew(t.Context(), tok); err != nil {
		t.Fatalf("the lease ended, no other request runs: %v", err)
	}
	b.expire(t)
	next := claimOf(request("r2", `{}`), 1)
	nextToken := b.granted(t, next)
	if err := b.Renew(t.Context(), tok); !errors.Is(err, export.ErrSuperseded) {
		t.Errorf("beside a running request: %v, want superseded", err)
	}
	if c := verdict(t, b, paused); c.Verdict != export.Busy { // a repeated claim, long after its reply was lost
		t.Errorf("its claim again: %v, want busy", c.Verdict)
	}
	finish(t, b, nextToken, next.Request)
	if err := b.Renew(t.Context(), tok); err != nil {
		t.Errorf("when that has ended: %v", err)
	}
}

// Of concurrent claims one is granted, whatever they wait for.
func TestClaimsOfAProjectThatMeet(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const rivals = 8
	got := make([]export.Claim, rivals)
	var all sync.WaitGroup
	for i := range rivals {
		all.Go(func() {
			var err error
			if got[i], err = b.Claim(t.Context(), claimOf(request(fmt.Sprintf("r%d", i), `{}`), 1)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	count := map[export.Verdict]int{}
	for _, c := range got {
		count[c.Verdict]++
	}
	if count[export.Granted] != 1 || count[export.Busy] != rivals-1 {
		t.Errorf("verdicts %v, want one granted and the others busy", count)
	}
}

// After an outage an expired lease does not mean that its owner is lost: it may be about to renew,
// and losing its place would cost it an attempt.
func TestAfterAnOutageOwnersMayRenewFirst(t *testing.T) {
	t.Parallel()
	b, p := proxied(t)
	tok := b.granted(t, claimOf(request("r1", `{}`), 1))
	b.expire(t)
	next := claimOf(request("r2", `{}`), 1)
	p.loseNextReply()
	if err := b.Ping(t.Context()); !errors.Is(err, export.ErrLedgerUnavailable) {
		t.Fatalf("%v, want ledger unavailable", err)
	}
	if c := verdict(t, b, next); c.Verdict != export.Busy {
		t.Errorf("right after an outage: %v, want busy", c.Verdict)
	}
	if err := b.Renew(t.Context(), tok); err != nil {
		t.Errorf("the owner after the outage: %v", err)
	}
}
