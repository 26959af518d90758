package ledger_test

import (
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

func TestClaimAnswersByTheRequestsState(t *testing.T) {
	t.Parallel()
	r := request("r1", `{"a":1}`)
	first := claimOf(r, 1)
	for name, tc := range map[string]struct {
		given   func(t *testing.T, b *bench)
		ask     export.ClaimRequest
		want    export.Verdict
		attempt int
	}{
		"absent": {func(*testing.T, *bench) {}, first, export.Granted, 1},
		"waiting": {func(t *testing.T, b *bench) {
			tok := b.granted(t, first)
			if err := b.Finish(t.Context(), tok, export.Ending{Retry: &export.Fault{Code: codes.LockTimeout}}); err != nil {
				t.Fatal(err)
			}
		}, claimOf(r, 2), export.Granted, 2},
		"held by another":       {func(t *testing.T, b *bench) { b.granted(t, first) }, claimOf(r, 2), export.Leased, 0},
		"held by this very one": {func(t *testing.T, b *bench) { b.granted(t, first) }, first, export.Granted, 1},
		"held by this very one, its lease ended in the outage": {func(t *testing.T, b *bench) {
			b.granted(t, first)
			b.expire(t)
		}, first, export.Granted, 1},
		"lease ended": {func(t *testing.T, b *bench) {
			b.granted(t, first)
			b.expire(t)
		}, claimOf(r, 2), export.Granted, 2},
		"terminal": {func(t *testing.T, b *bench) {
			tok := b.granted(t, first)
			if err := b.Finish(t.Context(), tok, export.Ending{Outcome: outcome(tok, r)}); err != nil {
				t.Fatal(err)
			}
		}, claimOf(r, 2), export.Ended, 0},
		"other payload, running":  {func(t *testing.T, b *bench) { b.granted(t, first) }, claimOf(request("r1", `{"a":2}`), 1), export.Conflicting, 0},
		"same id, other project":  {func(t *testing.T, b *bench) { b.granted(t, first) }, claimOf(inProject("globex", r), 1), export.Granted, 1},
		"other payload, terminal": {endedBy(first, r), claimOf(request("r1", `{"a":2}`), 1), export.Conflicting, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			tc.given(t, b)
			got, err := b.Claim(t.Context(), tc.ask)
			if err != nil {
				t.Fatal(err)
			}
			if got.Verdict != tc.want || got.Token.Attempt != tc.attempt {
				t.Fatalf("verdict %v attempt %d, want %v attempt %d", got.Verdict, got.Token.Attempt, tc.want, tc.attempt)
			}
			switch got.Verdict {
			case export.Ended:
				if want := *outcome(export.Token{ID: r.ID, Attempt: 1}, r); !reflect.DeepEqual(got.Outcome, want) {
					t.Errorf("outcome %+v, want %+v", got.Outcome, want)
				}
			case export.Leased, export.Busy:
				if got.Wait <= 0 || got.Wait > 30*time.Second {
					t.Errorf("wait %v, want the rest of 30 s", got.Wait)
				}
			case export.Granted:
				if got.Started.IsZero() || got.Token.ID != tc.ask.Request.ID {
					t.Errorf("granted %+v, want its start and its id", got)
				}
			case export.Conflicting:
			}
		})
	}
}

func inProject(p string, r export.Request) export.Request {
	r.Project = p
	return r
}

func endedBy(c export.ClaimRequest, r export.Request) func(*testing.T, *bench) {
	return func(t *testing.T, b *bench) {
		t.Helper()
		tok := b.granted(t, c)
		if err := b.Finish(t.Context(), tok, export.Ending{Outcome: outcome(tok, r)}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAConflictLeavesTheFirstRequestUntouched(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.granted(t, claimOf(request("r1", "first"), 1))
	before := b.fingerprint(t)
	other := claimOf(request("r1", "second"), 3)
	other.Delivery.Sequence = 99
	if c, err := b.Claim(t.Context(), other); err != nil || c.Verdict != export.Conflicting {
		t.Fatalf("%v %v, want a conflict", c.Verdict, err)
	}
	if after := b.fingerprint(t); after != before {
		t.Errorf("the ledger changed from\n%s\nto\n%s", before, after)
	}
}

func (b *bench) fingerprint(t testing.TB) string {
	t.Helper()
	var s string
	b.scan(t, `SELECT coalesce((SELECT string_agg(r::text, E'\n' ORDER BY project_id, request_id) FROM pgcourier.requests r), '')
		|| coalesce((SELECT string_agg(a::text, E'\n' ORDER BY project_id, request_id, attempt) FROM pgcourier.attempts a), '')`, &s)
	return s
}

func TestOfRacingClaimsOneIsGranted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, state := range []string{"absent", "lease ended"} {
		const racers = 50
		var wg sync.WaitGroup
		verdicts := make(chan export.Verdict, racers)
		start := make(chan struct{})
		for range racers {
			wg.Go(func() {
				<-start
				c, err := b.Claim(t.Context(), claimOf(request("r1", "p"), 1))
				if err != nil {
					t.Error(err)
				}
				verdicts <- c.Verdict
			})
		}
		close(start)
		wg.Wait()
		close(verdicts)
		count := map[export.Verdict]int{}
		for v := range verdicts {
			count[v]++
		}
		if count[export.Granted] != 1 || count[export.Leased] != racers-1 {
			t.Fatalf("%s: verdicts %v, want 1 granted and %d leased", state, count, racers-1)
		}
		b.expire(t)
	}
	var attempts, running int
	b.scan(t, `SELECT count(*), count(*) FILTER (WHERE result = 'running') FROM pgcourier.attempts`, &attempts, &running)
	if attempts != 2 || running != 1 {
		t.Errorf("%d attempts, %d running; want 2 and 1", attempts, running)
	}
}

func TestAClaimRecordsIntentAndPlaceInTheQueue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request("r1", "p")
	b.granted(t, claimOf(r, 1))
	b.expire(t)
	b.granted(t, claimOf(r, 2))
	// A stand-by updates the position in the queue; an older delivery of a lost worker does not set
	// it back.
	for _, delivery := range []int{3, 1} {
		if c, err := b.Claim(t.Context(), claimOf(r, delivery)); err != nil || c.Verdict != export.Leased {
			t.Fatalf("%v %v, want leased", c.Verdict, err)
		}
	}
	got, err := b.Get(t.Context(), "r1", "acme")
	if err != nil || len(got) != 1 || len(got[0].Attempts) != 2 {
		t.Fatalf("%+v %v, want one entry with two attempts", got, err)
	}
	e, old, cur := got[0], got[0].Attempts[0], got[0].Attempts[1]
	if e.Delivery != 3 || e.State != export.Running || e.Worker != "w1" {
		t.Errorf("entry %+v, want delivery 3, running, w1", e)
	}
	if old.Result != "superseded" || old.EndedAt == nil || old.Object != "acme/r1.1.sql.gz" {
		t.Errorf("first attempt %+v, want superseded with its object", old)
	}
	if cur.Result != "running" || cur.Delivery != 2 || cur.Object != "acme/r1.2.sql.gz" {
		t.Errorf("second attempt %+v, want running with its object", cur)
	}
}

func TestARefusedRequestIsRecordedWithoutAnObject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request("r1", "\xff\x00 not json")
	r.Refusal = &export.Fault{Code: codes.InvalidRequest, Message: "not JSON"}
	r.RequestedBy, r.Metadata = "nul \x00", map[string]string{"k\x00": "\x00"}
	tok := b.granted(t, claimOf(r, 1))
	out := failure(r, 0, codes.InvalidRequest)
	out.Payload, out.Message = nil, "bad \x00 \xff"
	if err := b.Finish(t.Context(), tok, export.Ending{Outcome: out}); err != nil {
		t.Fatal(err)
	}
	c, err := b.Claim(t.Context(), claimOf(r, 2))
	if err != nil || c.Verdict != export.Ended {
		t.Fatalf("%v %v, want ended", c.Verdict, err)
	}
	if c.Outcome.Payload != nil || c.Outcome.Metadata["k\x00"] != "\x00" || c.Outcome.RequestedBy != "nul \x00" {
		t.Errorf("outcome %+v, want no payload and the metadata as it came", c.Outcome)
	}
	if left, err := b.Collectable(t.Context(), 10); err != nil || len(left) != 0 {
		t.Errorf("collectable %v %v, want none", left, err)
	}
}

func TestTheAttemptsOfARequestAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request("r1", `{}`)
	for n := range 3 {
		tok := b.granted(t, claimOf(r, n+1))
		if tok.Attempt != n+1 {
			t.Fatalf("attempt %d, want %d", tok.Attempt, n+1)
		}
		b.expire(t)
	}
	// Another message carries the request, so the limit of the queue does not apply.
	again := claimOf(r, 1)
	again.Delivery.Sequence = 2
	c, err := b.Claim(t.Context(), again)
	if err != nil || c.Verdict != export.Ended {
		t.Fatalf("%v %v, want ended", c.Verdict, err)
	}
	if o := c.Outcome; o.Code != codes.WorkerLost || o.Attempt != 3 || string(o.Payload) != `{}` || o.Metadata["ticket"] != "7" || o.FinishedAt.IsZero() {
		t.Errorf("outcome %+v, want worker_lost after 3 attempts", o)
	}
	if again, err := b.Claim(t.Context(), again); err != nil || !reflect.DeepEqual(again.Outcome, c.Outcome) {
		t.Errorf("asked again: %+v %v, want the same outcome", again.Outcome, err)
	}
}
