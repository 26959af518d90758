package ledger_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/ledger"
)

// filled is a second after the newest request of fill was seen.
var filled = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// fill adds $2 completed requests to project $1, each a second older than the one before: r1 is the newest.
const fill = `
INSERT INTO pgcourier.requests (project_id, request_id, payload, digest, refused, origin, state, attempt, queue, queue_sequence,
    delivery, outcome, created_at, finished_at, published_at)
SELECT $1, 'r' || n, '{}', sha256(''), false, '{}', 'completed', 1, 'q', n, 1, '{}',
    timestamptz '2026-01-02 03:04:05+00' - n * interval '1 second', now(), now()
FROM generate_series(1, $2::int) n`

// States without rows are expensive if another index serves the order: it is read to its end for
// each of them.
func TestAPageReadsLittleOfALargeLedger(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for project, n := range map[string]int{"acme": 20000, "small": 5} {
		b.exec(t, fill, project, n)
	}
	b.exec(t, `INSERT INTO pgcourier.attempts (project_id, request_id, attempt, worker, delivery, ended_at, result)
SELECT project_id, request_id, 1, 'w', 1, now(), 'completed' FROM pgcourier.requests`)
	b.exec(t, "VACUUM ANALYZE pgcourier.requests, pgcourier.attempts")
	conn, err := pgx.Connect(t.Context(), b.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), "PREPARE page (text, text[], timestamptz, text, timestamptz, int) AS "+ledger.PageSQL); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		if _, err := conn.Exec(t.Context(), "SET plan_cache_mode = "+mode); err != nil {
			t.Fatal(err)
		}
		for project, want := range map[string]int{"acme": 51, "small": 5, "none": 0} {
			var text []byte
			row := conn.QueryRow(t.Context(), fmt.Sprintf(`EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)
EXECUTE page ('%s', '{waiting,running,completed,failed,cancelled}', 'infinity', '', '-infinity', 51)`, project))
			if err := row.Scan(&text); err != nil {
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
			// 5 descents of an index and 51 requests with their attempts are 173; with requests_created it was 2,600.
			if p := got[0].Plan; int(p.Rows) != want || p.Hit+p.Read > 400 {
				t.Errorf("%s, %s: %v rows, %d blocks read\n%s", project, mode, p.Rows, p.Hit+p.Read, text)
			}
		}
	}
}

func TestPagesSinceATimeHoldWhatIsNewer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for project, n := range map[string]int{"acme": 30, "globex": 300} {
		b.exec(t, fill, project, n)
	}
	for _, limit := range []int{1, 2, 9, 10, 11, 100} {
		// r10 is seen at that time itself.
		f := ledger.PageFilter{Project: "acme", Since: filled.Add(-10 * time.Second), Limit: limit}
		var got, want []string
		for i := range 10 {
			want = append(want, fmt.Sprintf("r%d", i+1))
		}
		for {
			page, err := b.Page(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Entries {
				got = append(got, e.ID.Request)
			}
			if page.Next == nil {
				break
			}
			f.After = *page.Next
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v, want %v", limit, got, want)
		}
	}
}
