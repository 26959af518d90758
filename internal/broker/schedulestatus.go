package broker

import (
	"encoding/json"
	"time"

	"github.com/pgcourier/pgcourier/internal/schedule"
)

// upcoming is the number of next times in a ScheduleStatus.
const upcoming = 5

// ScheduleStatus is a schedule and its next times, for display.
type ScheduleStatus struct {
	Project string          `json:"project_id"`
	Name    string          `json:"name"`
	Times   string          `json:"schedule"`
	Zone    string          `json:"time_zone"`
	State   string          `json:"state"` // active or paused
	Next    []time.Time     `json:"next"`
	LastDue *time.Time      `json:"last_due,omitempty"`
	Written time.Time       `json:"written_at"`
	Request json.RawMessage `json:"request"`

	loc *time.Location // for display
}

// Status returns the schedule and its next five times. A paused schedule has none.
func (s Schedule) Status(now time.Time) ScheduleStatus {
	e := ScheduleStatus{
		Project: s.Project, Name: s.Name, Times: s.Pattern, Zone: s.Zone, State: "active",
		Next: []time.Time{}, Written: s.Written.UTC(), Request: s.Body, loc: time.UTC,
	}
	if e.Zone == "" {
		e.Zone = "UTC"
	}
	if !json.Valid(e.Request) { // written by another program
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
	if err != nil { // written by another program: only the broker can read it
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
	for _, at := range table.Next(from, upcoming) {
		e.Next = append(e.Next, at.UTC())
	}
	return e
}

// intervalBase returns the start of an interval: the last run or the last write. An overdue run is
// due now.
func intervalBase(s Schedule, every time.Duration, now time.Time) time.Time {
	next := s.NextDue
	if next.IsZero() {
		next = s.Written.Add(every)
	}
	if next.Before(now) {
		next = now
	}
	return next.Add(-every)
}

// Local returns at in the schedule's zone, with the offset from UTC.
func (s ScheduleStatus) Local(at time.Time) string {
	return at.In(s.loc).Format("2006-01-02 15:04:05 -07:00")
}

// Lines returns the names and values that describe the schedule, for people.
func (s ScheduleStatus) Lines() [][2]string {
	lines := [][2]string{
		{"schedule", s.Name + " of project " + s.Project + ", " + s.State},
		{"times", s.Times + " in " + s.Zone},
	}
	for i, at := range s.Next {
		title := ""
		if i == 0 {
			title = "next"
		}
		lines = append(lines, [2]string{title, s.Local(at)})
	}
	return append(lines, [2]string{"request", string(s.Request)})
}
