package ledger

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgcourier/pgcourier/internal/export"
)

// Cancelled is the state of a Page's requests that failed because they were cancelled.
const Cancelled export.State = "cancelled"

// PageFilter selects a page of one project's requests.
type PageFilter struct {
	Project string
	States  []export.State // the ledger's and Cancelled, which Failed does not hold here; empty: all
	Since   time.Time      // first seen at or after; zero: ever
	After   Place          // what the page before ended with; zero: from the newest on
	Limit   int
}

// Place is the position at the end of a page.
type Place struct {
	Asked   bool // among the requests that no worker has recorded, which come first
	At      time.Time
	Request string
}

// Page is a part of a project's requests: first those that no worker has recorded yet, then the
// rest, each newest first. A request that a worker records between two reads can be on two pages,
// and is on at least one.
type Page struct {
	Asked   []Asked
	Entries []Entry
	Next    *Place // nil: this is the last page
}

// page reads at most a limit of each state, in the order of the index requests_of_project. Two
// details keep the planner from requests_created, which it would read to its end for each state
// without rows. The project is compared with an array of one element: a column that equals one
// value is dropped from the order, and requests_created serves the rest. $5 is compared after the
// limit, which is equivalent in this order: without values the planner estimates a range of
// created_at at a two-hundredth of the table.
const page = `
WITH page AS (
    SELECT p.* FROM unnest($2::text[]) AS s(state) CROSS JOIN LATERAL (
        SELECT r.* FROM pgcourier.requests r
        WHERE r.project_id = ANY (ARRAY[$1::text]) AND CASE WHEN r.code = 'cancelled' THEN 'cancelled' ELSE r.state END = s.state
            AND (r.created_at, r.request_id) < ($3, $4)
        ORDER BY r.project_id DESC, r.created_at DESC, r.request_id DESC LIMIT $6
    ) p WHERE p.created_at >= $5 ORDER BY p.created_at DESC, p.request_id DESC LIMIT $6
)` + listFields + `
FROM page r` + lastAttempt + `
ORDER BY r.created_at DESC, r.request_id DESC`

// Page returns a page of a project's requests.
func (l *Ledger) Page(ctx context.Context, f PageFilter) (Page, error) {
	if len(f.States) == 0 {
		f.States = []export.State{export.Waiting, export.Running, export.Completed, export.Failed, Cancelled}
	}
	what := "list requests of " + f.Project
	since := pgtype.Timestamptz{Time: f.Since, Valid: true}
	if f.Since.IsZero() {
		since = pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}
	}
	before := func(here bool) (pgtype.Timestamptz, string) {
		if !here {
			return pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}, ""
		}
		return pgtype.Timestamptz{Time: f.After.At, Valid: true}, f.After.Request
	}
	var out Page
	var err error
	begun := f.After != (Place{}) // this is not the first page
	if slices.Contains(f.States, export.Waiting) && (!begun || f.After.Asked) {
		at, id := before(begun)
		if out.Asked, err = l.asked(ctx, what, pageAsked, f.Project, at, id, since, f.Limit+1); err != nil {
			return Page{}, err
		}
		if len(out.Asked) > f.Limit {
			out.Asked = out.Asked[:f.Limit]
			last := out.Asked[f.Limit-1]
			out.Next = &Place{Asked: true, At: last.At, Request: last.Request}
			return out, nil
		}
	}
	room := f.Limit - len(out.Asked)
	states := make([]string, len(f.States))
	for i, s := range f.States {
		states[i] = string(s)
	}
	at, id := before(begun && !f.After.Asked)
	if out.Entries, err = l.entries(ctx, what, page, f.Project, states, at, id, since, room+1); err != nil {
		return Page{}, err
	}
	if len(out.Entries) > room {
		out.Entries = out.Entries[:room]
		switch {
		case room > 0:
			last := out.Entries[room-1]
			out.Next = &Place{At: last.CreatedAt, Request: last.ID.Request}
		default: // waiting requests fill the page
			last := out.Asked[len(out.Asked)-1]
			out.Next = &Place{Asked: true, At: last.At, Request: last.Request}
		}
	}
	return out, nil
}
