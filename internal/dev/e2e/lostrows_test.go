package e2e_test

import (
	"slices"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

// A fail-over to a standby without the last commits takes the end of one completed export from the
// ledger, and all of another one. Both stay what they were announced as, and the end of the test finds
// their objects.
func TestCompletedExportsSurviveALedgerThatLosesRows(t *testing.T) {
	t.Parallel()
	p := setup(t)
	w := p.start("ACK_WAIT=2s")
	for _, id := range []string{"ended", "unknown"} {
		p.completed("acme", p.request(events.Requested{ProjectID: "acme", RequestID: id}))
	}
	p.settled()
	w.term()
	w.await()
	stored := p.stored()
	p.exec(`
UPDATE pgcourier.requests SET state = 'running', lease_until = clock_timestamp() - interval '1 hour', outcome = NULL, finished_at = NULL, published_at = NULL
 WHERE request_id = 'ended';
UPDATE pgcourier.attempts SET result = 'running', ended_at = NULL WHERE request_id = 'ended';
DELETE FROM pgcourier.requests WHERE request_id = 'unknown'`)

	p.publish(events.TypeRequested, nil, `{"project_id":"acme","request_id":"unknown"}`)
	p.outcomes-- // it has one already
	p.start("ACK_WAIT=2s")
	eventually(t, "both requests have ended", func() bool {
		entries := p.ledger()
		return len(entries) == 2 && !slices.ContainsFunc(entries, func(e ledger.Entry) bool { return e.Outcome == nil })
	})
	p.settled()
	// What is to be collected was collected, or never is.
	conn := p.sql()
	eventually(t, "nothing is to be collected", func() bool {
		var n int
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pgcourier.attempts WHERE collect_after IS NOT NULL AND looks = 0").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 0
	})
	for _, id := range []string{"ended", "unknown"} {
		if a := p.attempts("acme", id); len(a) != 1 || a[0].Result != "completed" {
			t.Errorf("attempts of %s are %+v, want the first one, completed", id, a)
		}
		if _, stderr, code := p.cli("verify", id); code != 0 {
			t.Errorf("verify %s: exit code %d, %s", id, code, stderr)
		}
	}
	if got := p.stored(); !slices.Equal(got, stored) {
		t.Errorf("stored are %q, want %q", got, stored)
	}
}
