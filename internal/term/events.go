package term

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/events"
)

// Events shows the events of running exports or restores: as bars on a terminal, elsewhere a line for each.
type Events struct {
	w      io.Writer
	screen Screen
	json   bool
	bars   *Progress // nil: a line for each event
	begun  map[string]time.Time
}

// NewEvents writes to w. asJSON writes a JSON object for each event, in a line of its own.
func NewEvents(w io.Writer, environ []string, asJSON bool) *Events {
	v := &Events{w: w, json: asJSON, begun: map[string]time.Time{}}
	if IsTerminal(w) && !asJSON {
		v.screen, v.bars = Open(w, environ), NewProgress(w, environ)
	}
	return v
}

// Follow shows what client hears of one project's request until its outcome, which it returns,
// or until ctx ends. No project: all of them. No id: all requests, without an end.
func (v *Events) Follow(ctx context.Context, client *events.Client, project, id string) (events.Outcome, error) {
	for e, err := range client.Watch(ctx, project, id) {
		if err != nil {
			return events.Outcome{}, err
		}
		v.Show(e)
		// Without a project several requests may bear the id: the first to end is meant.
		if id != "" && (e.Completed != nil || e.Failed != nil) {
			return e.Outcome, nil
		}
	}
	return events.Outcome{}, context.Cause(ctx)
}

// FollowRestores is Follow for restores. It returns the event of the outcome; without an error, an event
// of nothing when ctx was cancelled.
func (v *Events) FollowRestores(ctx context.Context, client *events.Client, project, id string) (events.Event, error) {
	for e, err := range client.WatchRestore(ctx, project, id) {
		if errors.Is(err, context.Canceled) {
			return events.Event{}, nil // the user has seen enough
		}
		if err != nil {
			return events.Event{}, err
		}
		v.Show(e)
		if id != "" && (e.RestoreCompleted != nil || e.RestoreFailed != nil) {
			return e, nil
		}
	}
	return events.Event{}, context.Cause(ctx)
}

// Show shows one event.
func (v *Events) Show(e events.Event) {
	switch {
	case v.json:
		_ = WriteJSONLine(v.w, EventJSON(e)) // SIGPIPE ends the process when the reader is gone
	case v.bars == nil:
		fmt.Fprintln(v.w, v.screen.EventLine(e))
	case e.Started != nil:
		s := e.Started
		v.progress(s.StartedAt, events.Progress{ProjectID: s.ProjectID, RequestID: s.RequestID, EstimatedBytes: s.EstimatedBytes, At: s.StartedAt})
	case e.Progress != nil:
		v.progress(e.Progress.At, *e.Progress)
	case e.RestoreStarted != nil:
		s := e.RestoreStarted
		v.restoreProgress(events.RestoreProgress{ProjectID: s.ProjectID, RestoreID: s.RestoreID, Stage: "started", StoredBytes: s.StoredBytes})
	case e.RestoreProgress != nil:
		v.restoreProgress(*e.RestoreProgress)
	default:
		project, id := e.IDs()
		v.bars.Remove(project + "/" + id)
		delete(v.begun, project+"/"+id)
		v.bars.Println(v.screen.EventLine(e))
	}
}

func (v *Events) progress(begun time.Time, p events.Progress) {
	name := p.ProjectID + "/" + p.RequestID
	if _, seen := v.begun[name]; !seen {
		v.begun[name] = begun
	}
	v.bars.Set(name, v.screen.ProgressLine(p, v.begun[name]))
}

func (v *Events) restoreProgress(p events.RestoreProgress) {
	v.bars.Set(p.ProjectID+"/"+p.RestoreID, v.screen.restoreProgressLine(p))
}

// Close ends the drawing of bars.
func (v *Events) Close() {
	if v.bars != nil {
		v.bars.Close()
	}
}

// EventJSON is an event with its type, as it is shown as JSON.
func EventJSON(e events.Event) any {
	return struct {
		Type  string `json:"type"`
		Event any    `json:"event"`
	}{e.Type(), e.Body()}
}

// ProgressLine is a running export in one line, with a bar. begun is when the attempt began.
//
// The estimate is the tables' size on disk, and the dump may be larger: then the bar stays
// short of its end.
func (s Screen) ProgressLine(p events.Progress, begun time.Time) string {
	total := max(p.EstimatedBytes, p.SizeBytes*20/19)
	return s.Cut(fmt.Sprintf("%s %8s %10s  %s/%s  %s", bar(p.SizeBytes, total), Size(p.SizeBytes), speed(p.SizeBytes, p.At.Sub(begun)),
		Sanitize(p.ProjectID), Sanitize(p.RequestID), Sanitize(p.Table)))
}

// EventLine is an event in one line.
func (s Screen) EventLine(e events.Event) string {
	project, id := e.IDs()
	var state, rest string
	switch {
	case e.Started != nil:
		state, rest = "started", fmt.Sprintf("attempt %d, about %s", e.Started.Attempt, Size(e.Started.EstimatedBytes))
	case e.Progress != nil:
		state, rest = "running", fmt.Sprintf("%s read, %s stored  %s", Size(e.Progress.SizeBytes), Size(e.Progress.StoredBytes), e.Progress.Table)
	case e.Completed != nil:
		c := e.Completed
		state, rest = "completed", fmt.Sprintf("%s, %d rows, %s", Size(c.StoredBytes), c.Rows, milliseconds(c.DurationMS))
	case e.Verified != nil:
		v := e.Verified
		state, rest = "verified", fmt.Sprintf("%d rows restored into PostgreSQL %s, %s", v.Rows, v.ServerVersion, milliseconds(v.DurationMS))
	case e.VerificationFailed != nil:
		state, rest = "damaged", string(e.VerificationFailed.Code)+": "+e.VerificationFailed.Message
	case e.Expiring != nil:
		state, rest = "expiring", fmt.Sprintf("at %s: %s", Time(&e.Expiring.ExpiresAt), e.Expiring.Reason)
	case e.Expired != nil:
		state, rest = "expired", e.Expired.Reason
	case e.LinkIssued != nil:
		state, rest = "link", fmt.Sprintf("%s issued by %s until %s", e.LinkIssued.LinkID, e.LinkIssued.IssuedBy, Time(&e.LinkIssued.ExpiresAt))
	case e.Downloaded != nil:
		state, rest = "download", downloaded(*e.Downloaded)
	case e.LinkRevoked != nil:
		state, rest = "link", fmt.Sprintf("%s revoked by %s", e.LinkRevoked.LinkID, e.LinkRevoked.RevokedBy)
	case e.LinkExpired != nil:
		state, rest = "link", fmt.Sprintf("%s expired after %d downloads", e.LinkExpired.LinkID, e.LinkExpired.Downloads)
	case e.Failed != nil:
		state, rest = "failed", string(e.Failed.Code)+": "+e.Failed.Message
	case e.RestoreStarted != nil:
		r := e.RestoreStarted
		state, rest = "started", fmt.Sprintf("attempt %d, from %s/%s, %s", r.Attempt, r.From.ProjectID, r.From.RequestID, Size(r.StoredBytes))
	case e.RestoreProgress != nil:
		r := e.RestoreProgress
		state, rest = "running", fmt.Sprintf("%s, %s of %s read", r.Stage, Size(r.ReadBytes), Size(r.StoredBytes))
	case e.RestoreCompleted != nil:
		state, rest = "completed", restored(*e.RestoreCompleted)
	case e.RestoreFailed != nil:
		state, rest = "failed", string(e.RestoreFailed.Code)+": "+e.RestoreFailed.Message
	default:
		state = strings.TrimPrefix(e.Type(), "backup.")
	}
	const longest = len("completed")
	before := Sanitize(project) + "/" + Sanitize(id) + "  "
	rest = strings.Repeat(" ", max(longest-len(state), 0)) + "  " + Sanitize(rest)
	if s.Width > 0 {
		rest = columns().Truncate(rest, max(s.Width-StringWidth(before)-len(state), 0), "…")
	}
	return before + s.state(state) + rest
}

// downloaded says what was sent, and to which user and address.
func downloaded(d events.Downloaded) string {
	what := Size(d.Bytes)
	switch {
	case d.Redirected:
		what = "sent to the storage"
	case !d.Whole:
		what += ", not all of it"
	}
	by := cmp.Or(d.DownloadedBy, d.LinkID, "?")
	return fmt.Sprintf("%s by %s from %s", what, by, cmp.Or(d.Address, "an unknown address"))
}

// OutcomeText shows how a request ended.
func (s Screen) OutcomeText(out events.Outcome) string {
	if c := out.Completed; c != nil {
		lines := [][2]string{
			{"completed", c.ProjectID + "/" + c.RequestID},
			{"size", fmt.Sprintf("%s dumped, %s stored (%s, %s, encryption %s)", Size(c.SizeBytes), Size(c.StoredBytes), c.Format, c.Compression, c.Encryption)},
			{"contents", fmt.Sprintf("%d rows in %d tables, the same in the stream and in the snapshot", c.Rows, c.Tables)},
			{"took", milliseconds(c.DurationMS).String()},
			{"sha256", c.SHA256},
		}
		for _, at := range c.Storage {
			lines = append(lines, LocationPair(at))
		}
		return s.Pairs(append(lines, s.Warnings(c.Warnings)...))
	}
	f := out.Failed
	return s.Pairs([][2]string{
		{"failed", f.ProjectID + "/" + f.RequestID},
		{"cause", string(f.Code) + ": " + f.Message},
		{"attempts", fmt.Sprintf("%d, trying again %s", f.Attempts, map[bool]string{true: "cannot help", false: "may help"}[f.Permanent])},
	})
}

// LocationPair is a line of [Screen.Pairs] that says where a copy lies, or why it does not.
func LocationPair(at events.Location) [2]string {
	if at.Status == events.LocationFailed {
		return [2]string{"NOT stored", at.Destination + ": " + string(at.Code) + ": " + at.Message}
	}
	if at.Message != "" {
		return [2]string{"stored at", at.URI + " (" + at.Message + ")"}
	}
	return [2]string{"stored at", at.URI}
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
