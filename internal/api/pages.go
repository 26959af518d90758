package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

type listInput struct {
	ProjectPath
	State  []string  `query:"state" doc:"Only these states, separated by commas" enum:"waiting,running,completed,failed,cancelled"`
	Since  time.Time `query:"since" doc:"Only what was first seen at or after this time"`
	Limit  int       `query:"limit" doc:"At most so many" minimum:"1" maximum:"200" default:"50"`
	Cursor string    `query:"cursor" doc:"next_cursor of the page before, with the same state and since" maxLength:"400"`
}

type listOutput struct {
	Body struct {
		Exports    []Export `json:"exports" nullable:"false"`
		NextCursor string   `json:"next_cursor,omitempty" doc:"Reads on; absent on the last page"`
	}
}

func (a *API) list(ctx context.Context, in *listInput) (*listOutput, error) {
	f := ledger.PageFilter{Project: in.Project, Since: in.Since, Limit: in.Limit}
	for _, s := range in.State {
		if !slices.Contains(f.States, export.State(s)) {
			f.States = append(f.States, export.State(s))
		}
	}
	var ok bool
	if f.After, ok = readCursor(in.Cursor); !ok {
		return nil, invalidParameter("cursor", "is not the next_cursor of a page")
	}
	out := &listOutput{}
	out.Body.Exports = []Export{}
	if !events.ValidProject(in.Project) { // a ledger cannot be asked for every text
		return out, nil
	}
	page, err := a.Ledger.Page(ctx, f)
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	for _, r := range page.Asked {
		out.Body.Exports = append(out.Body.Exports, a.waiting(r))
	}
	for _, l := range page.Entries {
		e, err := a.export(l)
		if err != nil {
			return nil, a.problemOf(ctx, err)
		}
		out.Body.Exports = append(out.Body.Exports, e)
	}
	if page.Next != nil {
		out.Body.NextCursor = encodeCursor(cursor(*page.Next))
	}
	return out, nil
}

// cursor is a ledger.Place in a page's cursor. It holds only data that the page shows, so it needs no
// signature.
type cursor struct {
	Asked   bool      `json:"a,omitempty"`
	At      time.Time `json:"t"`
	Request string    `json:"r"`
}

func readCursor(text string) (ledger.Place, bool) {
	if text == "" {
		return ledger.Place{}, true
	}
	var c cursor
	if !decodeCursor(text, &c) || c.At.IsZero() || !events.ValidRequest(c.Request) {
		return ledger.Place{}, false
	}
	return ledger.Place(c), true
}

// encodeCursor returns the text of a cursor.
func encodeCursor(of any) string {
	b, err := json.Marshal(of)
	if err != nil { // a time of PostgreSQL or of the broker has a year of four digits
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// decodeCursor reads the text of a cursor, and reports whether it is one.
func decodeCursor(text string, into any) bool {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return false
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	return dec.Decode(into) == nil
}
