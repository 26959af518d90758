package ledger_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/ledger"
)

// What goes is counted on the day on which its notice ends, what was deleted on the day of that, and what is stored
// and not announced on the day on which it was completed.
func TestRetentionIsCountedByDay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var now time.Time
	b.scan(t, "SELECT now()", &now)
	b.exec(t, `INSERT INTO pgcourier.requests (project_id, request_id, payload, digest, refused, origin, state, attempt, queue, queue_sequence, delivery, outcome, finished_at)
		SELECT 'p' || n % 2, 'r' || n, '{}', sha256(''), false, '{}', 'completed', 1, 'q', n, 1, '{}', $1::timestamptz - n * interval '1 day' FROM generate_series(1, 9) n`, now)
	b.exec(t, `INSERT INTO pgcourier.expiries (project_id, request_id, reason, warned_at, deleting_at, deleted_at)
		SELECT 'p' || n % 2, 'r' || n, why, $1::timestamptz + warned, $1::timestamptz + deleting, $1::timestamptz + deleted FROM (VALUES
			(1, 'a', interval '-1 hour', NULL::interval, NULL::interval), -- goes in an hour
			(2, 'a', '-3 days', NULL, NULL), -- is overdue
			(3, 'b', NULL, NULL, NULL), -- its warning is to be repeated
			(4, 'a', '-9 days', '-1 hour', NULL), -- is being deleted
			(5, 'a', '-9 days', '-2 days', '-2 days'),
			(6, 'a', '-90 days', '-80 days', '-80 days'),
			(7, 'a', '1 day', NULL, NULL)
		) AS e (n, why, warned, deleting, deleted)`, now)
	days := []time.Time{now.Add(-60 * time.Hour)}
	for i := range 4 {
		days = append(days, now.Add(time.Duration(24*i-36)*time.Hour)) // the last day holds now, and the next twelve hours
	}
	f := ledger.CalendarFilter{Days: days[:4], Notice: 2 * time.Hour, Each: 5}
	got, err := b.RetentionDays(t.Context(), f)
	want := []ledger.RetentionDay{
		{Day: 0, Project: "p1", Reason: "a", Gone: true, Count: 1, All: 1},
		{Day: 2, Project: "p0", Reason: "a", Count: 2, All: 4}, {Day: 2, Project: "p1", Reason: "a", Count: 1, All: 4}, {Day: 2, Project: "p1", Reason: "b", Count: 1, All: 4},
		{Day: 3, Project: "p1", Reason: "a", Count: 1, All: 1},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v (%v), want %+v", got, err, want)
	}
	f.Projects, f.Each = []string{"p1"}, 1
	if got, err := b.RetentionDays(t.Context(), f); err != nil || len(got) != 3 || got[1] != (ledger.RetentionDay{Day: 2, Project: "p1", Reason: "a", Count: 1, All: 2}) {
		t.Errorf("of one project, one row each: %+v, %v", got, err)
	}
	f.Projects, f.Days = nil, []time.Time{now.Add(-240 * time.Hour), now.Add(-204 * time.Hour), now.Add(-180 * time.Hour)}
	if got, err := b.KeptDays(t.Context(), f); err != nil || !slices.Equal(got, []int{1, 1}) { // r9, and r8 without r7
		t.Errorf("kept: %v, %v", got, err)
	}
	for name, c := range map[string]struct {
		f    ledger.LeavingFilter
		want []string
	}{
		"what is announced":    {ledger.LeavingFilter{Limit: 9}, []string{"r4", "r2", "r1", "r7", "r3"}},
		"from the second on":   {ledger.LeavingFilter{Skip: 1, Limit: 2}, []string{"r2", "r1"}},
		"a day":                {ledger.LeavingFilter{From: days[2], Until: days[3], Notice: 2 * time.Hour, Limit: 9}, []string{"r2", "r4", "r1", "r3"}},
		"a day of one project": {ledger.LeavingFilter{Projects: []string{"p1"}, From: days[2], Until: days[3], Notice: 2 * time.Hour, Limit: 9}, []string{"r1", "r3"}},
		"what was deleted":     {ledger.LeavingFilter{From: days[0], Until: days[3], Deleted: true, Limit: 9}, []string{"r5"}},
	} {
		rows, err := b.Leaving(t.Context(), c.f)
		var got []string
		for _, r := range rows {
			got = append(got, r.Request)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v (%v), want %v", name, got, err, c.want)
		}
	}
}
