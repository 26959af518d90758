package export_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// listening is a ledger that records the nonces of its calls.
type listening struct {
	*script
	nonces []string
}

func (l *listening) Claim(ctx context.Context, c export.ClaimRequest) (export.Claim, error) {
	l.nonces = append(l.nonces, c.Nonce)
	return l.script.Claim(ctx, c)
}

// A repeated claim after a lost reply is granted again, because it has the same nonce; another
// delivery has another one.
func TestAClaimIsRecognised(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		ledger := &listening{script: b.ledger}
		b.export.Ledger = ledger
		// Two answers are lost, then the request turns out to have ended.
		for range 2 {
			b.ledger.claims = []export.Claim{{}, {}, {Verdict: export.Ended}}
			if _, err := b.export.Run(t.Context(), b.req, delivery.Delivery{}, export.Group{}); err != nil {
				t.Fatal(err)
			}
		}
		first, second := ledger.nonces[:3], ledger.nonces[3:]
		if len(slices.Compact(slices.Clone(first))) != 1 || len(slices.Compact(slices.Clone(second))) != 1 {
			t.Errorf("the nonce changed within one delivery: %q, %q", first, second)
		}
		if first[0] == "" || first[0] == second[0] {
			t.Errorf("the nonces are %q and %q", first[0], second[0])
		}
	})
}

// taken is a ledger in which some ids belong to requests with another payload.
type taken struct {
	*script
	ids []string
}

func (l *taken) Claim(ctx context.Context, c export.ClaimRequest) (export.Claim, error) {
	if slices.Contains(l.ids, c.Request.Request) {
		return export.Claim{Verdict: export.Conflicting}, nil
	}
	return l.script.Claim(ctx, c)
}

// A publisher that has seen a message's id can use the next one for a request. Such a conflict
// ends too, each time under the same id.
func TestAConflictEndsAlsoWhenTheMessagesOwnIDIsTaken(t *testing.T) {
	t.Parallel()
	for want, ids := range map[string][]string{
		"e-7":    {"r"},
		"e-7-c1": {"r", "e-7"},
		"e-7-c2": {"r", "e-7", "e-7-c1"},
	} {
		for range 2 {
			b := newBench(nil)
			b.export.Ledger = &taken{b.ledger, ids}
			out, err := b.run(t.Context(), delivery.Delivery{EventID: "e-7"})
			if err != nil {
				t.Fatal(err)
			}
			if out.Request != want || out.Code != codes.RequestConflict || !strings.Contains(out.Message, "id r ") {
				t.Errorf("with %q taken it ended as %s, %s: %s", ids, out.ID, out.Code, out.Message)
			}
		}
	}
}

// broken is a ledger with claims that fail for a reason of their own.
type broken struct{ *script }

func (broken) Claim(context.Context, export.ClaimRequest) (export.Claim, error) {
	return export.Claim{}, errors.New("invalid input syntax for type json")
}

// Each such delivery is used up and leaves no row in the ledger: the log is the only trace.
func TestAnUnexpectedErrorOfAClaimIsLoggedEachTime(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	b := newBench(nil)
	b.export.Ledger = broken{b.ledger}
	b.export.Log = slog.New(slog.NewTextHandler(&text, nil))
	for range 3 {
		if _, err := b.run(t.Context(), delivery.Delivery{}); err == nil {
			t.Fatal("no error")
		}
	}
	if n := strings.Count(text.String(), "invalid input syntax for type json"); n != 3 {
		t.Errorf("logged %d times, want 3:\n%s", n, text.String())
	}
}
