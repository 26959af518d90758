package replay

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
)

// Report is what a replay of many exports did. Its JSON is the command line's.
type Report struct {
	DryRun    bool           `json:"dry_run"`
	Selected  int            `json:"selected"`  // failed exports that the options chose
	Published int            `json:"published"` // asked for again by this run
	Completed int            `json:"completed"` // an earlier replay had completed
	Underway  int            `json:"underway"`  // an earlier replay waits or runs
	Refused   int            `json:"refused"`   // the request could not be decoded
	Left      int            `json:"left"`      // not asked for: this run was ended, or failed
	Outcomes  *OutcomeCounts `json:"outcomes,omitempty"`
	Items     []ReportItem   `json:"items"`

	due []events.Requested
}

// OutcomeCounts says how replays ended.
type OutcomeCounts struct {
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
}

// ReportItem is one failed export and what was done about it.
type ReportItem struct {
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

	// Failed is the latest failure.
	Failed events.Failed `json:"-"`
}

// Published is the result of an item that this run asked for again.
const Published = "published"

// NewReport is the report before anything is published. dry says that nothing will be.
func NewReport(items []Item, dry bool) *Report {
	r := &Report{DryRun: dry, Selected: len(items), Items: []ReportItem{}}
	for _, i := range items {
		switch i.Verdict {
		case Completed:
			r.Completed++
		case Underway:
			r.Underway++
		case Undecodable:
			r.Refused++
		case Due:
			r.Left++
			r.due = append(r.due, i.Next)
		}
		r.Items = append(r.Items, ReportItem{
			ProjectID: i.Failed.ProjectID, RequestID: i.Failed.RequestID, Code: i.Failed.Code, Attempts: i.Failed.Attempts,
			FailedAt: i.Failed.FinishedAt.Format(time.RFC3339), Result: string(i.Verdict),
			Replay: i.Next.RequestID, ReplayOf: i.Next.ReplayOf, Generation: i.Next.Generation, Failed: i.Failed,
		})
	}
	return r
}

// Due are the requests that are to be published.
func (r *Report) Due() []events.Requested { return r.due }

// Publish publishes what is due through p and notes it, also what was published before a failure.
// It returns what was published.
func (r *Report) Publish(ctx context.Context, p Publisher) ([]events.Requested, error) {
	done, err := p.Run(ctx, r.due)
	r.note(done)
	return done, err
}

func (r *Report) note(done []events.Requested) {
	type name struct{ project, request string }
	published := map[name]bool{}
	for _, d := range done {
		published[name{d.ProjectID, d.RequestID}] = true
	}
	for i, item := range r.Items {
		if item.Result == string(Due) && published[name{item.ProjectID, item.Replay}] {
			r.Items[i].Result = Published
			r.Published++
			r.Left--
		}
	}
}

// Await waits until all of published has ended, and counts the outcomes in the report. seen is
// told how many have ended.
func (r *Report) Await(ctx context.Context, client *events.Client, published []events.Requested, seen func(ended int)) error {
	r.Outcomes = &OutcomeCounts{}
	for i, asked := range published {
		seen(i)
		out, err := client.Await(ctx, asked.ProjectID, asked.RequestID)
		if err != nil {
			return err
		}
		if out.Completed != nil {
			r.Outcomes.Completed++
		} else {
			r.Outcomes.Failed++
		}
		seen(i + 1)
	}
	return nil
}

// Plan says what a run does with the item.
func (i ReportItem) Plan() string {
	switch Verdict(i.Result) {
	case Due:
		return "as " + i.Replay
	case Completed:
		return "no: completed as " + i.Replay
	case Underway:
		return "no: underway as " + i.Replay
	case Undecodable:
		return "no: could not be decoded"
	}
	return ""
}

// Summary is the report's counts, a line for each that is not 0.
func (r *Report) Summary() string {
	var b strings.Builder
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
