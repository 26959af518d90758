package ledger_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

func TestListShowsWhatTheFilterAsksFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	finish := func(r export.Request, e func(export.Token) export.Ending) {
		t.Helper()
		tok := b.granted(t, claimOf(r, 1))
		if err := b.Finish(t.Context(), tok, e(tok)); err != nil {
			t.Fatal(err)
		}
	}
	old, done, big := request("old", `{}`), request("done", `{}`), inProject("globex", request("big", `{}`))
	finish(old, func(export.Token) export.Ending { return export.Ending{Outcome: failure(old, 1, codes.DumpFailed)} })
	b.exec(t, `UPDATE pgcourier.requests SET created_at = created_at - interval '2 days'`)
	finish(done, func(tok export.Token) export.Ending { return export.Ending{Outcome: outcome(tok, done)} })
	finish(big, func(export.Token) export.Ending { return export.Ending{Outcome: failure(big, 1, codes.SizeLimit)} })
	b.granted(t, claimOf(request("runs", `{}`), 1))

	for name, tc := range map[string]struct {
		filter ledger.Filter
		want   []string
	}{
		"all, newest first": {ledger.Filter{}, []string{"runs", "big", "done", "old"}},
		"a project":         {ledger.Filter{Project: "globex"}, []string{"big"}},
		"failed":            {ledger.Filter{States: []export.State{export.Failed}}, []string{"big", "old"}},
		"two states":        {ledger.Filter{States: []export.State{export.Completed, export.Running}}, []string{"runs", "done"}},
		"a code":            {ledger.Filter{Code: codes.SizeLimit}, []string{"big"}},
		"recent failures":   {ledger.Filter{States: []export.State{export.Failed}, Since: 24 * time.Hour}, []string{"big"}},
		"limited":           {ledger.Filter{Limit: 2}, []string{"runs", "big"}},
		"no match":          {ledger.Filter{Project: "acme' OR true --"}, nil},
	} {
		got, err := b.List(t.Context(), tc.filter)
		var ids []string
		for _, e := range got {
			ids = append(ids, e.Request)
		}
		if err != nil || !slices.Equal(ids, tc.want) {
			t.Errorf("%s: %q %v, want %q", name, ids, err, tc.want)
		}
	}
}

func TestGetShowsARequestWithItsAttempts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request("r1", `{"project_id":"acme"}`)
	tok := b.granted(t, claimOf(r, 1))
	if err := b.Finish(t.Context(), tok, export.Ending{Retry: &export.Fault{Code: codes.LockTimeout, Message: "locked"}}); err != nil {
		t.Fatal(err)
	}
	waiting, err := b.Get(t.Context(), "r1", "")
	if err != nil || len(waiting) != 1 || waiting[0].Code != codes.LockTimeout || waiting[0].Message != "locked" || waiting[0].Outcome != nil {
		t.Fatalf("%+v %v, want why it waits", waiting, err)
	}
	tok = b.granted(t, claimOf(r, 2))
	if err := b.Finish(t.Context(), tok, export.Ending{Outcome: outcome(tok, r)}); err != nil {
		t.Fatal(err)
	}
	b.granted(t, claimOf(inProject("globex", r), 1))

	both, err := b.Get(t.Context(), "r1", "")
	if err != nil || len(both) != 2 {
		t.Fatalf("%+v %v, want one for each project", both, err)
	}
	got, err := b.Get(t.Context(), "r1", "acme")
	if err != nil || len(got) != 1 || len(got[0].Attempts) != 2 {
		t.Fatalf("%+v %v, want one with two attempts", got, err)
	}
	e := got[0]
	if e.State != export.Completed || e.Attempt != 2 || e.FinishedAt == nil || e.Outcome == nil || e.Outcome.Artifact.SizeBytes != 10 || e.RequestedBy != "ann" {
		t.Errorf("entry %+v, want it completed in its second attempt", e)
	}
	if a := e.Attempts[0]; a.Result != "retry" || a.Code != codes.LockTimeout || a.EndedAt == nil {
		t.Errorf("first attempt %+v, want its retry", a)
	}
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), `"request":{"project_id":"acme"}`); n != 1 {
		t.Errorf("the request is there %d times in %s, want once", n, text)
	}
	if none, err := b.Get(t.Context(), "r1", "nobody"); err != nil || len(none) != 0 {
		t.Errorf("%+v %v, want none", none, err)
	}
}
