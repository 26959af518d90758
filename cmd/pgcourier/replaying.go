package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/replay"
	"github.com/pgcourier/pgcourier/internal/term"
)

// replayReport is what a bulk replay did, in the command line's stable JSON.
type replayReport struct {
	DryRun    bool         `json:"dry_run"`
	Selected  int          `json:"selected"`  // failed exports that the options chose
	Published int          `json:"published"` // asked for again by this run
	Completed int          `json:"completed"` // an earlier replay had completed
	Underway  int          `json:"underway"`  // an earlier replay waits or runs
	Refused   int          `json:"refused"`   // the request could not be decoded
	Left      int          `json:"left"`      // not asked for: this run was ended, or failed
	Outcomes  *outcomeSums `json:"outcomes,omitempty"`
	Items     []replayItem `json:"items"`
}

// outcomeSums counts how the replays of --wait ended.
type outcomeSums struct {
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
}

// replayItem is one failed export and what became of it.
type replayItem struct {
	ProjectID string     `json:"project_id"`
	RequestID string     `json:"request_id"` // the latest failure of its chain
	Code      codes.Code `json:"code"`
	Attempts  int        `json:"attempts"`
	FailedAt  string     `json:"failed_at"`
	// Result is published, due (a dry run, or left), completed, underway or undecodable.
	Result     string `json:"result"`
	Replay     string `json:"replay,omitempty"` // request id of the replay
	ReplayOf   string `json:"replay_of,omitempty"`
	Generation int    `json:"generation,omitempty"`

	failed events.Failed
}

const resultPublished = "published"

func newReport(items []replay.Item, dry bool) *replayReport {
	r := &replayReport{DryRun: dry, Selected: len(items), Items: []replayItem{}}
	for _, i := range items {
		switch i.Verdict {
		case replay.Completed:
			r.Completed++
		case replay.Underway:
			r.Underway++
		case replay.Undecodable:
			r.Refused++
		case replay.Due:
			r.Left++
		}
		r.Items = append(r.Items, replayItem{
			ProjectID: i.Failed.ProjectID, RequestID: i.Failed.RequestID, Code: i.Failed.Code, Attempts: i.Failed.Attempts,
			FailedAt: i.Failed.FinishedAt.Format("2006-01-02T15:04:05Z07:00"), Result: string(i.Verdict),
			Replay: i.Next.RequestID, ReplayOf: i.Next.ReplayOf, Generation: i.Next.Generation, failed: i.Failed,
		})
	}
	return r
}

// publish notes what was published.
func (r *replayReport) publish(done []events.Requested) {
	type name struct{ project, request string }
	published := map[name]bool{}
	for _, d := range done {
		published[name{d.ProjectID, d.RequestID}] = true
	}
	for i, item := range r.Items {
		if item.Result == string(replay.Due) && published[name{item.ProjectID, item.Replay}] {
			r.Items[i].Result = resultPublished
			r.Published++
			r.Left--
		}
	}
}

// replayColumns are those of a dry run.
var replayColumns = []term.Column{
	{Title: "PROJECT", ID: true}, {Title: "REQUEST", ID: true}, {Title: "CAUSE"}, {Title: "ATTEMPTS", Drop: 2}, {Title: "AGE", Drop: 1},
	{Title: "REPLAY", Least: 24},
}

// text is the report for a human: what a dry run would do, line by line, and the sums.
func (r *replayReport) text(s term.Screen) string {
	var b strings.Builder
	if r.DryRun && len(r.Items) > 0 {
		table := term.Table{Columns: replayColumns}
		for _, i := range r.Items {
			what := map[string]string{
				string(replay.Due): "as " + i.Replay, string(replay.Completed): "no: completed as " + i.Replay,
				string(replay.Underway): "no: underway as " + i.Replay, string(replay.Undecodable): "no: could not be decoded",
			}[i.Result]
			table.Add(i.ProjectID, i.RequestID, string(i.Code), strconv.Itoa(i.Attempts), s.Age(&i.failed.FinishedAt), what)
		}
		b.WriteString(table.Text(s) + "\n")
	}
	if r.Selected == 0 {
		return "no failed exports: nothing to replay\n"
	}
	fmt.Fprintf(&b, "%d failed exports\n", r.Selected)
	part := func(n int, what string) {
		if n > 0 {
			fmt.Fprintf(&b, "  %d %s\n", n, what)
		}
	}
	part(r.Published, "asked for again")
	part(r.Completed, "with a replay that completed")
	part(r.Underway, "with a replay underway")
	part(r.Refused, "that could not be decoded, so there is no request to repeat")
	if r.DryRun {
		part(r.Left, "to be asked for again")
	} else {
		part(r.Left, "not asked for")
	}
	if r.Published == 0 && r.Left == 0 {
		b.WriteString("nothing to do\n")
	}
	if o := r.Outcomes; o != nil {
		fmt.Fprintf(&b, "of the replays %d completed, %d failed\n", o.Completed, o.Failed)
	}
	return b.String()
}
