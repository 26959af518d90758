package ledger_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

func TestACancelIsAnsweredByTheRequestsState(t *testing.T) {
	t.Parallel()
	r := request("r1", `{"a":1}`)
	type answer struct {
		state export.State // empty: its owner will end it
		code  codes.Code
	}
	for name, tc := range map[string]struct {
		given func(t *testing.T, b *bench)
		want  answer
		err   error
	}{
		"unknown": {func(*testing.T, *bench) {}, answer{}, export.ErrUnknown},
		"waiting for its next delivery": {func(t *testing.T, b *bench) {
			tok := b.granted(t, claimOf(r, 1))
			if err := b.Finish(t.Context(), tok, export.Ending{Retry: &export.Fault{Code: codes.LockTimeout}}); err != nil {
				t.Fatal(err)
			}
		}, answer{export.Failed, codes.Cancelled}, nil},
		"running": {func(t *testing.T, b *bench) { b.granted(t, claimOf(r, 1)) }, answer{}, nil},
		"its owner is lost": {func(t *testing.T, b *bench) {
			b.granted(t, claimOf(r, 1))
			b.expire(t)
		}, answer{export.Failed, codes.Cancelled}, nil},
		"completed": {func(t *testing.T, b *bench) {
			tok := b.granted(t, claimOf(r, 1))
			if err := b.Finish(t.Context(), tok, export.Ending{Outcome: outcome(tok, r)}); err != nil {
				t.Fatal(err)
			}
		}, answer{export.Completed, ""}, nil},
		"failed": {func(t *testing.T, b *bench) {
			tok := b.granted(t, claimOf(r, 1))
			if err := b.Finish(t.Context(), tok, export.Ending{Outcome: failure(r, 1, codes.DumpTimeout)}); err != nil {
				t.Fatal(err)
			}
		}, answer{export.Failed, codes.DumpTimeout}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			tc.given(t, b)
			var first export.Cancellation
			for _, by := range []string{"ann", "bob"} {
				got, err := b.Cancel(t.Context(), r.ID, by)
				if !errors.Is(err, tc.err) {
					t.Fatalf("%v, want %v", err, tc.err)
				}
				if err != nil {
					return
				}
				if (got.Outcome == nil) != (tc.want.state == "") {
					t.Fatalf("outcome %+v, want %+v", got.Outcome, tc.want)
				}
				if by == "ann" {
					first = got
				} else if !reflect.DeepEqual(got, first) {
					t.Errorf("the second answer is %+v, the first was %+v", got.Outcome, first.Outcome)
				}
				o := got.Outcome
				if o == nil {
					continue
				}
				if o.State != tc.want.state || o.Code != tc.want.code || string(o.Payload) != `{"a":1}` {
					t.Errorf("outcome %+v, want %+v", o, tc.want)
				}
				if o.Code == codes.Cancelled && (!o.Permanent || o.Message != "the request was cancelled by ann") {
					t.Errorf("permanent %t: %s", o.Permanent, o.Message)
				}
			}
		})
	}
}

func TestTheOwnerOfACancelledRequestCanOnlyRecordTheCancel(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request("r1", `{"a":1}`)
	tok := b.granted(t, claimOf(r, 1))
	if got, err := b.Cancel(t.Context(), r.ID, "ann"); err != nil || got.Outcome != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	refused := func(what string, err error) {
		t.Helper()
		f := export.AsFault(err)
		if !errors.Is(err, export.ErrCancelled) || f.Code != codes.Cancelled || f.Message != "the request was cancelled by ann" {
			t.Errorf("%s: %v, want cancelled by ann", what, err)
		}
	}
	refused("renew", b.Renew(t.Context(), tok))
	refused("complete", b.Finish(t.Context(), tok, export.Ending{Outcome: outcome(tok, r)}))
	refused("fail", b.Finish(t.Context(), tok, export.Ending{Outcome: failure(r, 1, codes.SizeLimit)}))
	refused("retry", b.Finish(t.Context(), tok, export.Ending{Retry: &export.Fault{Code: codes.LockTimeout}}))
	if c, err := b.Claim(t.Context(), claimOf(r, 2)); err != nil || c.Verdict != export.Leased {
		t.Errorf("another claim: %+v, %v, want leased", c, err)
	}
	end := export.Ending{Outcome: failure(r, 1, codes.Cancelled)}
	for range 2 {
		if err := b.Finish(t.Context(), tok, end); err != nil {
			t.Error(err)
		}
	}
	if left, err := b.Collectable(t.Context(), 10); err != nil || len(left) != 1 {
		t.Errorf("collectable are %v, %v, want the attempt's object", left, err)
	}
}

// A paused or lost owner cannot end a cancelled request. The next claim or the sweeper ends it,
// without the grace and without waiting for messages that are still in the queue.
func TestACancelledRequestWithoutAnOwnerEndsAtTheNextLook(t *testing.T) {
	t.Parallel()
	r := request("r1", `{"a":1}`)
	for name, end := range map[string]func(t *testing.T, b *bench) export.Outcome{
		"a claim": func(t *testing.T, b *bench) export.Outcome {
			c, err := b.Claim(t.Context(), claimOf(r, 2))
			if err != nil || c.Verdict != export.Ended {
				t.Fatalf("%+v, %v, want ended", c, err)
			}
			return c.Outcome
		},
		"the sweeper": func(t *testing.T, b *bench) export.Outcome {
			found, err := b.Stranded(t.Context(), grace, 10)
			if err != nil || len(found) != 1 || !found[0].Cancelled {
				t.Fatalf("stranded %+v, %v, want one that is cancelled", found, err)
			}
			o, err := b.FailStranded(t.Context(), found[0], grace)
			if err != nil {
				t.Fatal(err)
			}
			return o
		},
		"the burial of its message": func(t *testing.T, b *bench) export.Outcome {
			o, err := b.FailUnclaimed(t.Context(), r, delivery.Delivery{Number: 3}, grace)
			if err != nil {
				t.Fatal(err)
			}
			return o
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			tok := b.granted(t, claimOf(r, 1))
			if _, err := b.Cancel(t.Context(), r.ID, ""); err != nil {
				t.Fatal(err)
			}
			b.exec(t, `UPDATE pgcourier.requests SET lease_until = clock_timestamp()`)
			o := end(t, b)
			if o.Code != codes.Cancelled || o.State != export.Failed || o.Message != "the request was cancelled" {
				t.Errorf("outcome %+v", o)
			}
			if err := b.Renew(t.Context(), tok); !errors.Is(err, export.ErrSuperseded) {
				t.Errorf("the paused owner renews: %v, want superseded", err)
			}
		})
	}
}

func TestAQueuedRequestIsCancelledBeforeItIsClaimed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request("r1", `{"a":1}`)
	if found, err := b.Find(t.Context(), "r1", ""); err != nil || len(found) != 0 {
		t.Fatalf("found %v, %v", found, err)
	}
	d := delivery.Delivery{EventID: "q-1", Stream: "BACKUP_REQUESTS@1", Sequence: 1}
	got, err := b.CancelQueued(t.Context(), r, d, "ann")
	if err != nil || got.Outcome == nil || got.Outcome.Code != codes.Cancelled || got.Outcome.Attempt != 0 || got.Outcome.RequestedBy != "ann" {
		t.Fatalf("%+v, %v", got.Outcome, err)
	}
	c, err := b.Claim(t.Context(), claimOf(r, 1))
	if err != nil || c.Verdict != export.Ended || !reflect.DeepEqual(c.Outcome, *got.Outcome) {
		t.Errorf("its delivery finds %+v, %v", c, err)
	}
	other := r
	other.Project = "globex"
	b.granted(t, claimOf(other, 1))
	for project, want := range map[string]int{"": 2, "acme": 1, "nobody": 0} {
		if found, err := b.Find(t.Context(), "r1", project); err != nil || len(found) != want {
			t.Errorf("of %q found %v, %v", project, found, err)
		}
	}
	// It was claimed between the look into the queue and the cancel, so it is running then.
	if got, err := b.CancelQueued(t.Context(), other, d, "ann"); err != nil || got.Outcome != nil {
		t.Errorf("%+v, %v", got.Outcome, err)
	}
}
