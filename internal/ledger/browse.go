package ledger

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

// BrowseFilter selects requests of several projects for people.
type BrowseFilter struct {
	// Projects are the projects that the reader may see; nil: all. An empty list selects nothing.
	Projects []string
	Project  string         // exactly this one; empty: all that the reader may see
	States   []export.State // the ledger's and Cancelled, which Failed does not hold here; empty: all
	Code     codes.Code     // failed with this code; empty: any
	Format   export.Format  // empty: any
	// Text is part of the project id, the request id, the requester or the metadata, in any case.
	Text         string
	Since, Until time.Time // first seen at or after, and before; zero: no bound
	After        BrowsePlace
	Limit        int // default 50
}

// BrowsePlace is the position at the end of a page of Browse. The zero value is the newest request.
type BrowsePlace struct {
	At               time.Time
	Project, Request string
}

// BrowsePage is a page of requests that workers have recorded, newest first.
type BrowsePage struct {
	Entries []Entry
	Next    *BrowsePlace // nil: this is the last page
	// Searched is set if the page is short because the search has a bound. Next continues the
	// search.
	Searched bool
}

// browseWindow bounds the requests that one page is searched in: of all projects, or of one project and
// state. A filter that few requests match would otherwise read the whole ledger.
const browseWindow = 10_000

// The parameters of both statements are: $1 the states, $2 to $4 the place, $5 and $6 the bounds of
// time, $7 the code, $8 the format, $9 the text, $10 the limit, $11 the window. browseProjects has the projects
// as $12. The position of the format is looked for first, because it is cheaper than reading JSON;
// a label of the metadata may contain the same text.
const (
	browseMatches = `
    ($7::text = '' OR w.state = 'failed' AND w.code = $7)
    AND ($8::text = '' OR position(convert_to('"format":"' || $8::text || '"', 'UTF8') IN w.payload) > 0 AND NOT w.refused
        AND convert_from(w.payload, 'UTF8')::json ->> 'format' = $8)
    AND ($9::text = '' OR position($9::text IN lower(w.project_id || ' ' || w.request_id || ' ' || w.origin::text)) > 0)`

	browsePlace = `
    r.created_at <= $2 AND (r.created_at, r.project_id, r.request_id) < ($2, $3, $4) AND r.created_at >= $5 AND r.created_at < $6`

	browseState = `CASE WHEN r.code = 'cancelled' THEN 'cancelled' ELSE r.state END`

	// The window is read lazily: the scan ends when the page is full.
	browseAll = `
WITH page AS (
    SELECT w.* FROM (
        SELECT r.* FROM pgcourier.requests r WHERE` + browsePlace + ` AND ` + browseState + ` = ANY ($1) /*states*/
        ORDER BY r.created_at DESC, r.project_id DESC, r.request_id DESC LIMIT $11
    ) w WHERE` + browseMatches + `
    ORDER BY w.created_at DESC, w.project_id DESC, w.request_id DESC LIMIT $10
)`

	// See page for the array of one element.
	browseProjects = `
WITH page AS (
    SELECT p.* FROM unnest($12::text[]) AS q(project) CROSS JOIN unnest($1::text[]) AS s(state) CROSS JOIN LATERAL (
        SELECT w.* FROM (
            SELECT r.* FROM pgcourier.requests r
            WHERE r.project_id = ANY (ARRAY[q.project]) AND ` + browseState + ` = s.state AND` + browsePlace + `
            ORDER BY r.project_id DESC, r.created_at DESC, r.request_id DESC LIMIT $11
        ) w WHERE` + browseMatches + ` LIMIT $10
    ) p ORDER BY p.created_at DESC, p.project_id DESC, p.request_id DESC LIMIT $10
)`

	browseEnd = listFields + `
FROM page r` + lastAttempt + `
ORDER BY r.created_at DESC, r.project_id DESC, r.request_id DESC`

	browseBound = `
SELECT r.created_at, r.project_id, r.request_id FROM pgcourier.requests r
WHERE r.created_at <= $2 AND (r.created_at, r.project_id, r.request_id) < ($2, $3, $4) AND r.created_at >= $5 AND r.created_at < $6
    AND ` + browseState + ` = ANY ($1) /*states*/
ORDER BY r.created_at DESC, r.project_id DESC, r.request_id DESC OFFSET $7 - 1 LIMIT 1`
)

// Browse returns a page of requests.
func (l *Ledger) Browse(ctx context.Context, f BrowseFilter) (BrowsePage, error) {
	if f.Limit <= 0 {
		f.Limit = 50
	}
	projects, all := f.scope()
	if !all && len(projects) == 0 {
		return BrowsePage{}, nil
	}
	args := append(f.place(), string(f.Code), string(f.Format), strings.ToLower(text(f.Text)), f.Limit+1, f.window())
	sql, what := f.partial(browseAll), "browse requests"
	if !all {
		sql, args = browseProjects, append(args, projects)
	}
	entries, err := l.entries(ctx, what, sql+browseEnd, planned(args)...)
	if err != nil {
		return BrowsePage{}, err
	}
	out := BrowsePage{Entries: entries}
	switch {
	case len(entries) > f.Limit:
		out.Entries = entries[:f.Limit]
		last := out.Entries[f.Limit-1]
		out.Next = &BrowsePlace{At: last.CreatedAt, Project: last.Project, Request: last.ID.Request}
	case all && f.narrow():
		type bound struct {
			At      time.Time `db:"created_at"`
			Project string    `db:"project_id"`
			Request string    `db:"request_id"`
		}
		rows, err := read[bound](ctx, l, what, f.partial(browseBound), planned(append(f.place(), browseWindow))...)
		if err != nil {
			return BrowsePage{}, err
		}
		if len(rows) > 0 {
			out.Searched, out.Next = true, &BrowsePlace{At: rows[0].At.UTC(), Project: rows[0].Project, Request: rows[0].Request}
		}
	}
	return out, nil
}

// planned adds to the parameters of a statement that it is planned for their values. A generic plan
// expects so few rows that it reads and sorts the whole ledger.
func planned(args []any) []any { return append([]any{pgx.QueryExecModeCacheDescribe}, args...) }

// scope returns the projects to read, or all.
func (f BrowseFilter) scope() (projects []string, all bool) {
	switch {
	case f.Project == "":
		return f.Projects, f.Projects == nil
	case f.Projects == nil || slices.Contains(f.Projects, f.Project):
		return []string{f.Project}, false
	}
	return nil, false
}

// narrow reports whether the window may hold requests that the filter leaves out.
func (f BrowseFilter) narrow() bool { return f.Code != "" || f.Format != "" || f.Text != "" }

// window returns how many requests are searched. Without a filter within it, it is the page itself: the
// planner would prepare for reading all of a larger one.
func (f BrowseFilter) window() int {
	if f.narrow() {
		return max(browseWindow, f.Limit+1)
	}
	return f.Limit + 1
}

// place returns the first six parameters.
func (f BrowseFilter) place() []any {
	states := make([]string, 0, len(f.States))
	for _, s := range f.States {
		states = append(states, string(s))
	}
	switch {
	case len(states) > 0:
	case f.Code != "":
		states = []string{string(export.Failed), string(Cancelled)}
	default:
		states = []string{string(export.Waiting), string(export.Running), string(export.Completed), string(export.Failed), string(Cancelled)}
	}
	at := func(t time.Time, none pgtype.InfinityModifier) pgtype.Timestamptz {
		if t.IsZero() {
			return pgtype.Timestamptz{InfinityModifier: none, Valid: true}
		}
		return pgtype.Timestamptz{Time: t, Valid: true}
	}
	return []any{
		states, at(f.After.At, pgtype.Infinity), text(f.After.Project), text(f.After.Request),
		at(f.Since, pgtype.NegativeInfinity), at(f.Until, pgtype.Infinity),
	}
}

// partial adds the condition of a partial index, where one has all the states of the filter.
func (f BrowseFilter) partial(sql string) string {
	only := func(states ...export.State) bool {
		return len(f.States) > 0 && !slices.ContainsFunc(f.States, func(s export.State) bool { return !slices.Contains(states, s) })
	}
	switch {
	case only(export.Running):
		sql = strings.Replace(sql, "/*states*/", "AND r.state = 'running'", 1)
	case only(export.Failed, Cancelled) || f.Code != "":
		sql = strings.Replace(sql, "/*states*/", "AND r.state = 'failed'", 1)
	}
	return sql
}

// askedOf lists requests of the API that no worker has recorded: of the projects $1, or of all if it is null.
const askedOf = waitingColumns + `
WHERE ($1::text[] IS NULL OR a.project_id = ANY ($1)) AND ` + unrecorded + `
ORDER BY a.asked_at DESC, a.request_id DESC LIMIT $2`

// BrowseAsked returns the newest requests of the API that no worker has recorded: of the projects and
// the one project of the filter, as many as its Limit.
func (l *Ledger) BrowseAsked(ctx context.Context, f BrowseFilter) ([]Asked, error) {
	projects, all := f.scope()
	if all {
		projects = nil
	} else if len(projects) == 0 {
		return nil, nil
	}
	return l.asked(ctx, "browse requests that no worker has recorded", askedOf, projects, f.Limit)
}
