package export_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/pgcourier/pgcourier/internal/export"
)

// listening is a ledger that notes under which nonces it was asked.
type listening struct {
	*script
	nonces []string
}

func (l *listening) Claim(ctx context.Context, c export.ClaimRequest) (export.Claim, error) {
	l.nonces = append(l.nonces, c.Nonce)
	return l.script.Claim(ctx, c)
}

// A claim whose reply was lost is granted again, because it comes with the same nonce;
// another delivery has another one.
func TestAClaimIsRecognised(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		ledger := &listening{script: b.ledger}
		b.export.Ledger = ledger
		// Two answers are lost, then the request turns out to have ended.
		for range 2 {
			b.ledger.claims = []export.Claim{{}, {}, {Verdict: export.Ended}}
			if _, err := b.export.Run(t.Context(), b.req, export.Delivery{}); err != nil {
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
