package term

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/events"
)

// RestoreText describes the outcome of a restore in lines.
func RestoreText(e events.Event) string {
	if f := e.RestoreFailed; f != nil {
		return fmt.Sprintf("failed: restore %s into %s: %s: %s\n", Sanitize(f.RestoreID), Sanitize(f.ProjectID), Sanitize(string(f.Code)), Sanitize(f.Message))
	}
	c := e.RestoreCompleted
	if c == nil {
		return ""
	}
	var b strings.Builder
	done := "restored"
	if c.Plan {
		done = "would restore"
	}
	fmt.Fprintf(&b, "%s %s/%s into %s: schema %s, %d rows in %d tables (PostgreSQL %s)\n", done, Sanitize(c.From.ProjectID), Sanitize(c.From.RequestID),
		Sanitize(c.ProjectID), Sanitize(strings.Join(c.Schemas, ", ")), c.Rows, c.Tables, Sanitize(c.ServerVersion))
	for _, k := range c.Kept {
		fmt.Fprintf(&b, "kept: schema %s holds what was replaced, until %s\n", Sanitize(k.Schema), k.Until.UTC().Format(time.DateTime+"Z"))
	}
	for _, r := range c.Remarks {
		fmt.Fprintf(&b, "remark: %s\n", Sanitize(r))
	}
	return b.String()
}

// restored is a restore.completed in a part of a line.
func restored(c events.RestoreCompleted) string {
	done := ""
	if c.Plan {
		done = "a plan, "
	}
	return fmt.Sprintf("%s%d rows in %d tables from %s/%s, %s", done, c.Rows, c.Tables, c.From.ProjectID, c.From.RequestID, milliseconds(c.DurationMS))
}

// restoreProgressLine is a running restore in one line, with a bar.
func (s Screen) restoreProgressLine(p events.RestoreProgress) string {
	return s.Cut(fmt.Sprintf("%s %8s of %8s  %s/%s  %s", bar(p.ReadBytes, p.StoredBytes), Size(p.ReadBytes), Size(p.StoredBytes),
		Sanitize(p.ProjectID), Sanitize(p.RestoreID), Sanitize(p.Stage)))
}

// Restore is a restore of the ledger, as list --restores and show --restore write it as JSON.
type Restore struct {
	ProjectID   string          `json:"project_id"`
	RestoreID   string          `json:"restore_id"`
	From        string          `json:"from,omitempty"` // PROJECT/REQUEST; empty: not resolved yet
	State       string          `json:"state"`
	Attempt     int             `json:"attempt"`
	Code        string          `json:"code,omitempty"`
	Message     string          `json:"message,omitempty"`
	RequestedBy string          `json:"requested_by,omitempty"`
	CreatedAt   time.Time       `json:"created_at"`
	StartedAt   *time.Time      `json:"started_at,omitempty"`
	FinishedAt  *time.Time      `json:"finished_at,omitempty"`
	Restored    json.RawMessage `json:"restored,omitempty"` // the ledger's; only of a restore that is shown alone
	Request     json.RawMessage `json:"request,omitempty"`  // likewise
	Attempts    []Attempt       `json:"attempts,omitempty"` // likewise, the oldest first
}

var restoreColumns = []Column{
	{Title: "PROJECT", ID: true}, {Title: "RESTORE", ID: true}, {Title: "FROM", Drop: 1}, {Title: "STATE", Least: 9}, {Title: "ATTEMPTS", Drop: 2}, {Title: "AGE"},
	{Title: "CAUSE", Least: 12},
}

// RestoreList lists restores.
func (s Screen) RestoreList(all []Restore) string {
	if len(all) == 0 {
		return "no restores\n"
	}
	table := Table{Columns: restoreColumns}
	for _, r := range all {
		table.Add(r.ProjectID, r.RestoreID, r.From, r.State, strconv.Itoa(r.Attempt), s.Age(&r.CreatedAt), r.Code)
	}
	return table.Text(s)
}

// RestoreDetails shows a restore, what it restored and its attempts.
func (s Screen) RestoreDetails(r Restore) string {
	lines := [][2]string{
		{"project", r.ProjectID}, {"restore", r.RestoreID}, {"state", r.State}, {"attempts", strconv.Itoa(r.Attempt)},
		{"first seen", Time(&r.CreatedAt)}, {"started", Time(r.StartedAt)}, {"finished", Time(r.FinishedAt)},
	}
	if r.From != "" {
		lines = append(lines, [2]string{"from", r.From})
	}
	if r.RequestedBy != "" {
		lines = append(lines, [2]string{"requested by", r.RequestedBy})
	}
	if r.Code != "" {
		lines = append(lines, [2]string{"cause", r.Code + ": " + r.Message})
	}
	var done struct {
		Plan      bool      `json:"plan"`
		Schemas   []string  `json:"schemas"`
		Tables    int       `json:"tables"`
		Rows      int64     `json:"rows"`
		Kept      []string  `json:"kept"`
		KeptUntil time.Time `json:"kept_until"`
		Remarks   []string  `json:"remarks"`
	}
	if len(r.Restored) > 0 && json.Unmarshal(r.Restored, &done) == nil {
		name := "restored"
		if done.Plan {
			name = "would restore"
		}
		lines = append(lines, [2]string{name, fmt.Sprintf("%d rows in %d tables into schema %s", done.Rows, done.Tables, strings.Join(done.Schemas, ", "))})
		for _, k := range done.Kept {
			lines = append(lines, [2]string{"kept", fmt.Sprintf("schema %s, until %s", k, Time(&done.KeptUntil))})
		}
		for _, remark := range done.Remarks {
			lines = append(lines, [2]string{"remark", remark})
		}
	}
	if len(r.Request) > 0 {
		lines = append(lines, [2]string{"request body", string(r.Request)})
	}
	return s.Pairs(lines) + s.Attempts(r.Attempts)
}
