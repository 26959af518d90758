package ledger_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

// fillMixed adds $1 requests of 4 projects in all states, formats and with two codes; four at a time are first seen
// together.
const fillMixed = `
INSERT INTO pgcourier.requests (project_id, request_id, payload, digest, refused, origin, state, attempt, queue, queue_sequence,
    delivery, outcome, code, lease_until, created_at, started_at, finished_at, published_at)
SELECT 'p' || n % 4, 'r' || n, convert_to('{"format":"' || (ARRAY['sql', 'tar', 'custom'])[n % 3 + 1] || '","metadata":{"format":"tar"}}', 'UTF8'),
    sha256(''), false, json_build_object('requested_by', CASE WHEN n % 7 = 0 THEN 'Ann' ELSE 'bob' END), s, 1, 'q', n, 1,
    CASE WHEN s IN ('completed', 'failed') THEN '{}'::json END, CASE WHEN s = 'failed' THEN CASE WHEN n % 2 = 0 THEN 'cancelled' ELSE 'lock_timeout' END END,
    CASE WHEN s = 'running' THEN now() END, timestamptz '2026-01-02 03:04:05+00' - (n / 4) * interval '1 second',
    now(), CASE WHEN s IN ('completed', 'failed') THEN now() END, NULL
FROM generate_series(1, $1::int) n CROSS JOIN LATERAL (SELECT (ARRAY['waiting', 'running', 'completed', 'completed', 'failed'])[n % 5 + 1] AS s)`

func TestBrowsingFindsWhatTheFilterSays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, fillMixed+" x", 200)
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		filter ledger.BrowseFilter
		takes  func(n int) bool
	}{
		"all":             {ledger.BrowseFilter{}, func(int) bool { return true }},
		"a project":       {ledger.BrowseFilter{Project: "p1"}, func(n int) bool { return n%4 == 1 }},
		"two projects":    {ledger.BrowseFilter{Projects: []string{"p1", "p2"}}, func(n int) bool { return n%4 == 1 || n%4 == 2 }},
		"one of these":    {ledger.BrowseFilter{Projects: []string{"p1", "p2"}, Project: "p2"}, func(n int) bool { return n%4 == 2 }},
		"none of these":   {ledger.BrowseFilter{Projects: []string{"p1", "p2"}, Project: "p3"}, func(int) bool { return false }},
		"no project":      {ledger.BrowseFilter{Projects: []string{}}, func(int) bool { return false }},
		"running":         {ledger.BrowseFilter{States: []export.State{export.Running}}, func(n int) bool { return n%5 == 1 }},
		"failed":          {ledger.BrowseFilter{States: []export.State{export.Failed}}, func(n int) bool { return n%5 == 4 && n%2 == 1 }},
		"cancelled":       {ledger.BrowseFilter{States: []export.State{ledger.Cancelled}}, func(n int) bool { return n%5 == 4 && n%2 == 0 }},
		"a code":          {ledger.BrowseFilter{Code: codes.LockTimeout}, func(n int) bool { return n%5 == 4 && n%2 == 1 }},
		"a format":        {ledger.BrowseFilter{Format: export.Tar}, func(n int) bool { return n%3 == 1 }},
		"a requester":     {ledger.BrowseFilter{Text: "aNN"}, func(n int) bool { return n%7 == 0 }},
		"an id":           {ledger.BrowseFilter{Text: "R19"}, func(n int) bool { return n == 19 || n >= 190 && n < 200 }},
		"since and until": {ledger.BrowseFilter{Since: since.Add(-20 * time.Second), Until: since.Add(-10 * time.Second)}, func(n int) bool { return n/4 <= 20 && n/4 > 10 }},
		"many at once": {
			ledger.BrowseFilter{Projects: []string{"p0", "p1"}, States: []export.State{export.Completed}, Format: export.SQL, Text: "bob"},
			func(n int) bool { return n%4 < 2 && (n%5 == 2 || n%5 == 3) && n%3 == 0 && n%7 != 0 },
		},
	} {
		for _, limit := range []int{1, 7, 200} {
			var want, got []int
			for n := 1; n <= 200; n++ {
				if c.takes(n) {
					want = append(want, n)
				}
			}
			f := c.filter
			f.Limit = limit
			var last ledger.Entry
			for {
				page, err := b.Browse(t.Context(), f)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range page.Entries {
					if !last.CreatedAt.IsZero() && e.CreatedAt.After(last.CreatedAt) {
						t.Errorf("%s: %s comes after %s", name, e.ID, last.ID)
					}
					var n int
					_, _ = fmt.Sscanf(e.ID.Request, "r%d", &n)
					got, last = append(got, n), e
				}
				if page.Next == nil {
					break
				}
				f.After = *page.Next
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s, %d at a time: %v, want %v", name, limit, got, want)
			}
		}
	}
}

// A page reads about what it shows, also in a large ledger. Browse has its statements planned for their parameters.
func TestBrowsingReadsLittleOfALargeLedger(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, fillMixed+" x", 20000)
	b.exec(t, "DELETE FROM pgcourier.requests WHERE state IN ('running', 'failed') AND queue_sequence % 49 <> 1") // they are few
	b.exec(t, "VACUUM ANALYZE pgcourier.requests")
	conn, err := pgx.Connect(t.Context(), b.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for name, c := range map[string]struct {
		sql, types, args string
		most             int // blocks
	}{
		"all":      {ledger.BrowseAllSQL, "", "'{waiting,running,completed,failed,cancelled}', 'infinity', '', '', '-infinity', 'infinity', '', '', '', 51, 51", 600},
		"running":  {strings.Replace(ledger.BrowseAllSQL, "/*states*/", "AND r.state = 'running'", 1), "", "'{running}', 'infinity', '', '', '-infinity', 'infinity', '', '', '', 51, 51", 900},
		"failed":   {strings.Replace(ledger.BrowseAllSQL, "/*states*/", "AND r.state = 'failed'", 1), "", "'{failed,cancelled}', 'infinity', '', '', '-infinity', 'infinity', '', '', '', 51, 51", 600},
		"project":  {ledger.BrowseProjectsSQL, ", text[]", "'{waiting,running,completed,failed,cancelled}', 'infinity', '', '', '-infinity', 'infinity', '', '', '', 51, 51, '{p1}'", 1000},
		"projects": {ledger.ProjectStatesSQL, "-", "NULL, 50", 600},
	} {
		types := "text[], timestamptz, text, text, timestamptz, timestamptz, text, text, text, int, int" + c.types
		if c.types == "-" {
			types = "text[], int"
		}
		if _, err := conn.Exec(t.Context(), "PREPARE "+name+"_page ("+types+") AS "+c.sql); err != nil {
			t.Fatal(err)
		}
		for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
			if mode == "force_generic_plan" && name != "projects" {
				continue
			}
			if _, err := conn.Exec(t.Context(), "SET plan_cache_mode = "+mode); err != nil {
				t.Fatal(err)
			}
			var text []byte
			if err := conn.QueryRow(t.Context(), "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE "+name+"_page ("+c.args+")").Scan(&text); err != nil {
				t.Fatal(err)
			}
			var got []struct {
				Plan struct {
					Rows float64 `json:"Actual Rows"`
					Hit  int     `json:"Shared Hit Blocks"`
					Read int     `json:"Shared Read Blocks"`
				}
			}
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatal(err)
			}
			if p := got[0].Plan; p.Rows == 0 || p.Hit+p.Read > c.most {
				t.Errorf("%s, %s: %v rows, %d blocks read\n%s", name, mode, p.Rows, p.Hit+p.Read, text)
			}
		}
	}
}
