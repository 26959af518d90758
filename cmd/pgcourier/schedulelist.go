package main

import (
	"encoding/json"
	"time"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/schedule"
	"github.com/pgcourier/pgcourier/internal/term"
)

// nextRuns is how many of a schedule's next times are told.
const nextRuns = 5

// scheduleEntry is a schedule as it is printed.
type scheduleEntry struct {
	Project string          `json:"project_id"`
	Name    string          `json:"name"`
	Times   string          `json:"schedule"`
	Zone    string          `json:"time_zone"`
	State   string          `json:"state"` // active or paused
	Next    []time.Time     `json:"next"`
	LastDue *time.Time      `json:"last_due,omitempty"`
	Written time.Time       `json:"written_at"`
	Request json.RawMessage `json:"request"`

	loc *time.Location // to show times in
}

func newScheduleEntry(s broker.Schedule, now time.Time) scheduleEntry {
	e := scheduleEntry{
		Project: s.Project, Name: s.Name, Times: s.Pattern, Zone: s.Zone, State: "active",
		Next: []time.Time{}, Written: s.Written.UTC(), Request: s.Body, loc: time.UTC,
	}
	if e.Zone == "" {
		e.Zone = "UTC"
	}
	if !json.Valid(e.Request) { // somebody else wrote it
		e.Request = nil
	}
	if !s.LastDue.IsZero() {
		at := s.LastDue.UTC()
		e.LastDue = &at
	}
	if s.Paused {
		e.State = "paused"
		return e
	}
	table, err := schedule.Parse(s.Pattern, s.Zone, now)
	if err != nil { // not written by us: what the broker says is all there is
		if s.NextDue.After(now) {
			e.Next = append(e.Next, s.NextDue.UTC())
		}
		return e
	}
	e.loc = table.Location()
	from := now
	if every := table.Every(); every > 0 {
		from = intervalBase(s, every, now)
	}
	for _, at := range table.Next(from, nextRuns) {
		e.Next = append(e.Next, at.UTC())
	}
	return e
}

// intervalBase is the time from which an interval runs: when it was last due or written.
// What is overdue is due now.
func intervalBase(s broker.Schedule, every time.Duration, now time.Time) time.Time {
	next := s.NextDue
	if next.IsZero() {
		next = s.Written.Add(every)
	}
	if next.Before(now) {
		next = now
	}
	return next.Add(-every)
}

var scheduleColumns = []term.Column{
	{Title: "PROJECT", ID: true}, {Title: "NAME", ID: true}, {Title: "STATE", Least: 6}, {Title: "SCHEDULE", Least: 11}, {Title: "ZONE", Drop: 1},
	{Title: "NEXT", Least: 26}, {Title: "THEN", Drop: 3, Least: 26}, {Title: "LAST", Drop: 2},
}

func schedulesText(s term.Screen, entries []scheduleEntry) string {
	if len(entries) == 0 {
		return "no schedules\n"
	}
	table := term.Table{Columns: scheduleColumns}
	for _, e := range entries {
		next := []string{"-", "-"}
		for i, at := range e.Next[:min(len(e.Next), len(next))] {
			next[i] = local(at, e.loc)
		}
		table.Add(e.Project, e.Name, e.State, e.Times, e.Zone, next[0], next[1], s.Age(e.LastDue))
	}
	return table.Text(s)
}

func scheduleText(s term.Screen, e scheduleEntry) string {
	lines := [][2]string{
		{"schedule", e.Name + " of project " + e.Project + ", " + e.State},
		{"times", e.Times + " in " + e.Zone},
	}
	for i, at := range e.Next {
		title := ""
		if i == 0 {
			title = "next"
		}
		lines = append(lines, [2]string{title, local(at, e.loc)})
	}
	return s.Pairs(append(lines, [2]string{"request", string(e.Request)}))
}

// local shows a time as the clocks of its zone do, with their distance from UTC.
func local(at time.Time, loc *time.Location) string {
	return at.In(loc).Format("2006-01-02 15:04:05 -07:00")
}
