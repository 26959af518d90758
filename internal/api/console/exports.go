package console

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

// filter is the form above the list of exports, as it was sent.
type filter struct{ Project, State, Code, Format, From, Until, Text string }

// exportsData is the content of the list of exports.
type exportsData struct {
	Filter             filter
	Filtered           bool
	States, Codes      []string
	Formats            []string
	Rows               []row
	Next               string // path of the next page
	First              string // path of the first page; empty: this is it
	Searched           bool
	MayReplay          bool   // some row can be selected
	ReplayAll          string // path that replays all that match; empty: not offered
	MayRequest         bool
	SinceUTC, UntilUTC time.Time
}

const exportsLimit = 50

var states = []string{"waiting", "running", "completed", "failed", "cancelled"}

func (v *view) exports() error {
	get := v.parameter
	d := exportsData{
		Filter: filter{
			Project: get("project"), State: get("state"), Code: get("code"), Format: get("format"),
			From: get("from"), Until: get("until"), Text: get("text"),
		},
		States: states, Formats: []string{string(export.SQL), string(export.Tar), string(export.Custom), string(export.Directory)},
		MayRequest: v.MayAny(api.CreateExport),
	}
	for _, c := range codes.OfFailures() {
		d.Codes = append(d.Codes, string(c))
	}
	slices.Sort(d.Codes)
	d.Filtered = d.Filter != filter{}
	f := ledger.BrowseFilter{
		Project: d.Filter.Project, Code: codes.Code(d.Filter.Code), Format: export.Format(d.Filter.Format), Text: d.Filter.Text, Limit: exportsLimit,
	}
	if slices.Contains(states, d.Filter.State) {
		f.States = []export.State{export.State(d.Filter.State)}
	}
	page := frame{Title: "Exports", Tab: "Exports", Live: true}
	var ok bool
	if f.Since, ok = day(d.Filter.From); !ok {
		page.Notes = append(page.Notes, "From is not a date such as 2026-11-23, and is ignored.")
	}
	if f.Until, ok = day(d.Filter.Until); !ok {
		page.Notes = append(page.Notes, "Until is not a date such as 2026-11-23, and is ignored.")
	}
	bounded := !f.Until.IsZero()
	if bounded {
		f.Until = f.Until.AddDate(0, 0, 1)
	}
	if f.After, ok = readPlace(get("after")); !ok {
		page.Notes = append(page.Notes, "The position of the page is unreadable: this is the first page.")
	}
	listed, err := v.Browse(v.r.Context(), f)
	if err != nil {
		return err
	}
	d.Rows, d.Searched = v.rows(listed.Exports), listed.Searched
	d.MayReplay = slices.ContainsFunc(d.Rows, func(r row) bool { return r.MayReplay })
	if listed.Next != nil {
		d.Next = exportsPath(d.Filter, writePlace(*listed.Next))
	}
	if get("after") != "" {
		d.First = exportsPath(d.Filter, "")
	}
	// A search for failures has no end, text or format: it would find more than the list shows.
	if (d.Filter.State == "failed" || d.Filter.Code != "") && d.Filter.Text == "" && d.Filter.Format == "" && !bounded && d.MayReplay {
		d.ReplayAll = Prefix + "replay?" + url.Values{
			"match": {"1"}, "project": {d.Filter.Project}, "code": {d.Filter.Code}, "from": {d.Filter.From},
		}.Encode()
	}
	page.Body = d
	return v.show("exports", page)
}

// parameter returns a parameter of the query.
func (v *view) parameter(name string) string { return parameter(v.r.URL.Query().Get(name)) }

// exportsPath returns the path of a page of the list.
func exportsPath(f filter, after string) string {
	q := url.Values{}
	for name, value := range map[string]string{
		"project": f.Project, "state": f.State, "code": f.Code, "format": f.Format, "from": f.From, "until": f.Until, "text": f.Text, "after": after,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if len(q) == 0 {
		return Prefix + "exports"
	}
	return Prefix + "exports?" + q.Encode()
}

// day reads a date in UTC; zero: none was given.
func day(text string) (time.Time, bool) {
	if text == "" {
		return time.Time{}, true
	}
	t, err := time.Parse(time.DateOnly, text)
	return t, err == nil && t.Year() > 1 && t.Year() < 9999
}

// place is a ledger.BrowsePlace in a path. It holds only what the page shows, so it needs no signature.
type place struct {
	At      time.Time `json:"t"`
	Project string    `json:"p"`
	Request string    `json:"r"`
}

func writePlace(p ledger.BrowsePlace) string {
	b, err := json.Marshal(place(p))
	if err != nil { // a time of PostgreSQL has a year of four digits
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func readPlace(text string) (ledger.BrowsePlace, bool) {
	if text == "" {
		return ledger.BrowsePlace{}, true
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	var p place
	if err != nil || json.Unmarshal(b, &p) != nil || p.At.IsZero() || p.At.Year() > 9999 {
		return ledger.BrowsePlace{}, false
	}
	return ledger.BrowsePlace(p), true
}
