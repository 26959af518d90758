package ledger_test

import (
	"crypto/sha256"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

const grace = time.Minute

func TestTheReaperEndsOnlyRequestsWithoutAnOwner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request("r1", `{"a":1}`)
	seen := export.Stranded{ID: r.ID, Attempt: 1}
	notLost := func(when string, s export.Stranded) {
		t.Helper()
		before := b.fingerprint(t)
		if _, err := b.FailStranded(t.Context(), s, grace); !errors.Is(err, export.ErrNotLost) {
			t.Errorf("%s: %v, want not lost", when, err)
		}
		if found, err := b.Stranded(t.Context(), grace, 10); err != nil || len(found) > 0 && found[0].Attempt == s.Attempt {
			t.Errorf("%s: stranded %v %v, want none", when, found, err)
		}
		if after := b.fingerprint(t); after != before {
			t.Errorf("%s: the ledger changed from\n%s\nto\n%s", when, before, after)
		}
	}
	notLost("unknown", seen)
	old := b.granted(t, claimOf(r, 1))
	notLost("running", seen)
	b.exec(t, `UPDATE pgcourier.requests SET lease_until = clock_timestamp() - interval '30 s'`)
	notLost("within the grace", seen)
	b.expire(t)
	if err := b.Renew(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	notLost("renewed since", seen)
	b.expire(t)
	tok := b.granted(t, claimOf(r, 2))
	b.expire(t)
	notLost("taken over since", seen)

	if err := b.Renew(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	if err := b.Finish(t.Context(), tok, export.Ending{Retry: &export.Fault{Code: codes.LockTimeout}}); err != nil {
		t.Fatal(err)
	}
	seen.Attempt = 2
	notLost("waiting for its next delivery", seen)
}

func TestAReapedRequestFailsOnceAndSupersedesItsOwner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request("r1", `{"a":1}`)
	tok := b.granted(t, claimOf(r, 3))
	b.expire(t)
	found, err := b.Stranded(t.Context(), grace, 10)
	if err != nil || len(found) != 1 {
		t.Fatalf("stranded %v %v, want one", found, err)
	}
	s := found[0]
	if s.ID != r.ID || s.Attempt != 1 || s.Stream != "BACKUP_REQUESTS@1" || s.Sequence != 1 || s.Delivery != 3 || s.Since.IsZero() {
		t.Errorf("stranded %+v, want its place in the queue", s)
	}
	o, err := b.FailStranded(t.Context(), s, grace)
	if err != nil {
		t.Fatal(err)
	}
	if o.Code != codes.WorkerLost || o.Permanent || o.Attempt != 1 || o.State != export.Failed ||
		string(o.Payload) != `{"a":1}` || o.RequestedBy != "ann" || o.Metadata["ticket"] != "7" || o.StartedAt.IsZero() || o.FinishedAt.IsZero() {
		t.Errorf("outcome %+v, want worker_lost with all of the request", o)
	}
	var fence int
	if b.scan(t, "SELECT attempt FROM pgcourier.requests", &fence); fence != 2 {
		t.Errorf("the fence stands at %d, want 2: past the paused owner's token", fence)
	}
	if again, err := b.FailStranded(t.Context(), s, grace); err != nil || !reflect.DeepEqual(again, o) {
		t.Errorf("again: %+v %v, want the same outcome", again, err)
	}
	if err := b.Finish(t.Context(), tok, export.Ending{Outcome: outcome(tok, r)}); !errors.Is(err, export.ErrSuperseded) {
		t.Errorf("the paused owner commits: %v, want superseded", err)
	}
	if c, err := b.Claim(t.Context(), claimOf(r, 3)); err != nil || c.Verdict != export.Ended || !reflect.DeepEqual(c.Outcome, o) {
		t.Errorf("claim: %+v %v, want the outcome", c, err)
	}
}

// A lost or refused request gets its outcome; one that only waited can still be run.
func TestAMessageThatIsNotDeliveredAgain(t *testing.T) {
	t.Parallel()
	d := delivery.Delivery{Number: 3, Stream: "q", Sequence: 7}
	refused := request("r1", "rubbish")
	refused.Refusal = &export.Fault{Code: codes.InvalidRequest, Message: "not JSON"}
	for name, tc := range map[string]struct {
		request export.Request
		given   func(t *testing.T, b *bench)
		code    codes.Code
		err     error
	}{
		"absent":            {request("r1", `{}`), nil, "", export.ErrNotBegun},
		"absent and broken": {refused, nil, codes.InvalidRequest, nil},
		"held": {request("r1", `{}`), func(t *testing.T, b *bench) {
			b.granted(t, claimOf(request("r1", `{}`), 3))
		}, "", export.ErrNotLost},
		"tried, and waits for the next time": {request("r1", `{}`), func(t *testing.T, b *bench) {
			tok := b.granted(t, claimOf(request("r1", `{}`), 1))
			if err := b.Finish(t.Context(), tok, export.Ending{Retry: &export.Fault{Code: codes.DumpFailed}}); err != nil {
				t.Fatal(err)
			}
			b.expire(t)
		}, "", export.ErrNotBegun},
		"held once": {request("r1", `{}`), func(t *testing.T, b *bench) {
			b.granted(t, claimOf(request("r1", `{}`), 3))
			b.expire(t)
		}, codes.WorkerLost, nil},
		"another's id": {request("r1", `{"other":1}`), func(t *testing.T, b *bench) {
			b.granted(t, claimOf(request("r1", `{}`), 3))
			b.expire(t)
		}, "", export.ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			if tc.given != nil {
				tc.given(t, b)
			}
			o, err := b.FailUnclaimed(t.Context(), tc.request, d, grace)
			if !errors.Is(err, tc.err) || o.Code != tc.code {
				t.Fatalf("%+v %v, want %q %v", o, err, tc.code, tc.err)
			}
			if tc.err != nil {
				return
			}
			if (o.Payload == nil) != (tc.request.Refusal != nil) {
				t.Errorf("payload %s, want it unless refused", o.Payload)
			}
			again, err := b.FailUnclaimed(t.Context(), tc.request, d, grace)
			if err != nil || !reflect.DeepEqual(again, o) {
				t.Errorf("again: %+v %v, want %+v", again, err, o)
			}
		})
	}
}

// A reaper that crashes between recording and ending leaves a request that Stranded finds.
func TestAReaperThatDiedHalfwayIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	digest := sha256.Sum256([]byte(`{}`))
	b.exec(t, `INSERT INTO pgcourier.requests (project_id, request_id, payload, digest, refused, origin, queue, queue_sequence, delivery)
		VALUES ('acme', 'r1', '{}', $1, false, '{}', 'q', 1, 3)`, digest[:])
	b.expire(t)
	found, err := b.Stranded(t.Context(), grace, 10)
	if err != nil || len(found) != 1 || found[0].Attempt != 0 {
		t.Fatalf("stranded %+v %v, want one that was never claimed", found, err)
	}
	if o, err := b.FailStranded(t.Context(), found[0], grace); err != nil || o.Attempt != 0 || o.Code != codes.WorkerLost {
		t.Errorf("%+v %v, want worker_lost after no attempt", o, err)
	}
}

func TestUnpublishedOutcomesAreFoundUntilTheyAreMarked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var want []export.Outcome
	for _, id := range []string{"r1", "r2"} {
		r := request(id, `{}`)
		tok := b.granted(t, claimOf(r, 1))
		if err := b.MarkPublished(t.Context(), r.ID); err == nil {
			t.Error("a running request was marked as published")
		}
		o := outcome(tok, r)
		if err := b.Finish(t.Context(), tok, export.Ending{Outcome: o}); err != nil {
			t.Fatal(err)
		}
		want = append(want, *o)
	}
	if got, err := b.Unpublished(t.Context(), time.Minute, 10); err != nil || len(got) != 0 {
		t.Errorf("within the minute: %v %v, want none", got, err)
	}
	b.exec(t, `UPDATE pgcourier.requests SET finished_at = finished_at - interval '1 hour'`)
	if got, err := b.Unpublished(t.Context(), time.Minute, 10); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("unpublished %+v %v, want %+v", got, err, want)
	}
	if got, err := b.Unpublished(t.Context(), time.Minute, 1); err != nil || !reflect.DeepEqual(got, want[:1]) {
		t.Errorf("limited to one: %+v %v, want the oldest", got, err)
	}
	for range 2 { // twice is the same as once
		if err := b.MarkPublished(t.Context(), want[0].ID); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := b.Unpublished(t.Context(), time.Minute, 10); err != nil || !reflect.DeepEqual(got, want[1:]) {
		t.Errorf("after the first was marked: %+v %v, want the second", got, err)
	}
}
