package ledger_test

import (
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

func TestRecoverMakesTheRowsThatTheLedgerHad(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request("r1", `{"project_id":"acme"}`)
	r.RequestedBy, r.Metadata = "ops", map[string]string{"ticket": "1"}
	tok := b.granted(t, claimOf(r, 1))
	done := outcome(tok, r)
	done.StartedAt, done.FinishedAt = time.Now().Add(-time.Minute).UTC(), time.Now().UTC()
	if err := b.Finish(t.Context(), tok, export.Ending{Outcome: done}); err != nil {
		t.Fatal(err)
	}
	if err := b.MarkPublished(t.Context(), r.ID); err != nil {
		t.Fatal(err)
	}
	had, err := b.Get(t.Context(), "r1", "acme")
	if err != nil || len(had) != 1 {
		t.Fatalf("%v, %v", had, err)
	}
	m := export.Manifest{Version: 1, Key: "acme/r1.1.sql.gz", Outcome: *done}
	// An existing row is not changed, whatever the manifest says.
	other := m
	other.Message = "another"
	if made, err := b.Recover(t.Context(), r, other); err != nil || made {
		t.Errorf("recovered over a row: %t, %v", made, err)
	}
	b.exec(t, "DELETE FROM pgcourier.requests")
	for i, want := range []bool{true, false} {
		if made, err := b.Recover(t.Context(), r, m); err != nil || made != want {
			t.Fatalf("recovered %t, %v at the %d. time", made, err, i+1)
		}
	}
	got, err := b.Get(t.Context(), "r1", "acme")
	if err != nil || len(got) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	g, h := got[0], had[0]
	if g.State != h.State || g.Attempt != h.Attempt || string(g.Payload) != string(h.Payload) || g.RequestedBy != "ops" || g.Metadata["ticket"] != "1" ||
		g.Outcome.Artifact.SHA256 != h.Outcome.Artifact.SHA256 || g.PublishedAt == nil || len(g.Attempts) != 1 || g.Attempts[0].Object != m.Key {
		t.Errorf("recovered\n%+v, had\n%+v", g, h)
	}
	// A redelivered message is answered, and is not a conflict.
	c, err := b.Claim(t.Context(), claimOf(r, 2))
	if err != nil || c.Verdict != export.Ended || c.Outcome.Artifact == nil {
		t.Errorf("claim = %+v, %v; want Ended", c, err)
	}
	m.State = export.Failed
	if _, err := b.Recover(t.Context(), r, m); err == nil {
		t.Error("a failed request was recovered")
	}
}

func TestRemoveKeepsTheFirstTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request("r1", `{}`)
	if known, err := b.Remove(t.Context(), r.ID); err != nil || known {
		t.Errorf("an unknown request: %t, %v", known, err)
	}
	tok := b.granted(t, claimOf(r, 1))
	if known, err := b.Remove(t.Context(), r.ID); err != nil || known {
		t.Errorf("a running request: %t, %v", known, err)
	}
	if err := b.Finish(t.Context(), tok, export.Ending{Outcome: outcome(tok, r)}); err != nil {
		t.Fatal(err)
	}
	var times [2]time.Time
	for i := range times {
		if known, err := b.Remove(t.Context(), r.ID); err != nil || !known {
			t.Fatalf("%t, %v", known, err)
		}
		got, err := b.Get(t.Context(), "r1", "")
		if err != nil || len(got) != 1 || got[0].RemovedAt == nil || got[0].Outcome == nil {
			t.Fatalf("%+v, %v", got, err)
		}
		times[i] = *got[0].RemovedAt
	}
	if !times[0].Equal(times[1]) {
		t.Errorf("removed at %v, then at %v", times[0], times[1])
	}
}
