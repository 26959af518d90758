package ledger_test

import (
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

// Guides for poolers recommend a query mode in DATABASE_URL: a request runs to its end in each of
// them. With -exec-mode the whole suite runs in one.
func TestARequestEndsInEveryQueryMode(t *testing.T) {
	t.Parallel()
	for _, setting := range append(settings("default_query_exec_mode=", execModes...),
		"statement_cache_capacity=0", "default_query_exec_mode=exec&description_cache_capacity=0") {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			url := newDatabase(t)
			pool := newPool(t, url+"&"+setting)
			l, err := ledger.Open(t.Context(), ledger.Config{Pool: pool})
			if err != nil {
				t.Fatal(err)
			}
			b := &bench{l, pool, url}
			r := request("r1", `{"a": "\\u0041"}`)
			tok := b.granted(t, claimOf(r, 1))
			if err := b.Renew(t.Context(), tok); err != nil {
				t.Fatal(err)
			}
			if err := b.Finish(t.Context(), tok, export.Ending{Outcome: outcome(tok, r)}); err != nil {
				t.Fatal(err)
			}
			b.exec(t, "UPDATE pgcourier.requests SET finished_at = finished_at - interval '1 hour'")
			waiting, err := b.Unpublished(t.Context(), time.Minute, 10)
			if err != nil || len(waiting) != 1 || string(waiting[0].Payload) != string(r.Payload) || waiting[0].Metadata["ticket"] != "7" {
				t.Fatalf("%+v, %v", waiting, err)
			}
			if err := b.MarkPublished(t.Context(), r.ID); err != nil {
				t.Fatal(err)
			}
			again, err := b.Claim(t.Context(), claimOf(r, 2))
			if err != nil || again.Verdict != export.Ended || again.Outcome.Artifact.SizeBytes != 10 {
				t.Errorf("%+v, %v", again, err)
			}
		})
	}
}

func settings(name string, values ...string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = name + v
	}
	return out
}
