package ledger_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

func TestTheNewestSuccessOfEachProjectIsFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, perProject := range []bool{false, true} {
		if got, err := b.Successes(t.Context(), perProject); err != nil || len(got) != 0 {
			t.Errorf("of an empty ledger: %v, %v", got, err)
		}
	}
	begun := time.Now().Add(-time.Minute)
	for _, r := range []export.Request{request("a1", `{}`), inProject("globex", request("g1", `{}`)), inProject("bad", request("b1", `{}`))} {
		tok := b.granted(t, claimOf(r, 1))
		e := export.Ending{Outcome: outcome(tok, r)}
		if r.Project == "bad" {
			e = export.Ending{Outcome: failure(r, 1, codes.SizeLimit)}
		}
		if err := b.Finish(t.Context(), tok, e); err != nil {
			t.Fatal(err)
		}
	}
	b.exec(t, `UPDATE pgcourier.requests SET finished_at = finished_at - interval '2 days' WHERE project_id = 'globex'`)
	each, err := b.Successes(t.Context(), true)
	if names := slices.Sorted(maps.Keys(each)); err != nil || !slices.Equal(names, []string{"acme", "globex"}) {
		t.Fatalf("%v, %v", each, err)
	}
	if !each["acme"].After(begun) || each["globex"].After(begun) {
		t.Errorf("times of success are %v", each)
	}
	newest, err := b.Successes(t.Context(), false)
	if err != nil || len(newest) != 1 || !newest[""].Equal(each["acme"]) {
		t.Errorf("the newest is %v (%v), want %s", newest, err, each["acme"])
	}
}
