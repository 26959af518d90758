package console

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/retention"
)

// retentionData is the content of the page of retention.
type retentionData struct {
	Asked    string // as the form sent it
	Project  string // the project that is shown; empty: all projects of the caller
	All      bool   // of all projects
	Calendar *calendar
	Day      *calendarDay // of the tables; nil: no day was chosen
	Leaving  []leavingRow
	Next     string           // path of the next page of Plan, or else of Leaving
	Partial  bool             // Leaving has the first ones only
	Rules    []retention.Rule // that were applied; empty for a caller that may not see all projects
	More     int              // how many rules there are beside Rules
	Default  string           // the policy of projects without other rules; empty: as Rules
	KeepsAll bool             // Default does
	Plan     []verdictRow     // of Project
	Planned  bool             // there is a Plan; it may be empty
	By       []retention.Judged
	Spared   string // why everything of the project is kept
	NoPlan   bool   // this process cannot plan
}

// leavingRow is an export that will be deleted, or was.
type leavingRow struct {
	ledger.Leaving
	Path  string
	State string
	At    time.Time // of its deletion, else the earliest time of it; zero: not known
}

// verdictRow is an export of a plan.
type verdictRow struct {
	retention.Verdict
	ByAge time.Time // a kept one: its maximum age lets it go from then on; zero: it does not
}

// at returns when the export goes; a kept one: when it was completed, and when it goes by its age.
func (r verdictRow) at(now time.Time) []time.Time {
	switch {
	case r.Step == retention.Kept:
		return []time.Time{r.FinishedAt, r.ByAge}
	case r.DeleteAt.Before(now):
		return []time.Time{now}
	}
	return []time.Time{r.DeleteAt}
}

// The tables are bounded, so that a page stays below 60 KB.
const (
	leavingLimit  = 20
	verdictsLimit = 15
	rulesLimit    = 30
	skipLimit     = 1_000_000
)

func (v *view) retention() error {
	now := time.Now()
	d := retentionData{Asked: v.parameter("project"), All: v.All(api.PlanRetention), NoPlan: v.console.Plan == nil}
	f := frame{Title: "Retention", Tab: "Retention", Live: true}
	switch {
	case d.Asked == "":
	case !events.ValidProject(d.Asked):
		f.Notes = append(f.Notes, "That is not a project id: 1 to 100 letters, digits, \"_\" or \"-\".")
	case !v.May(api.PlanRetention, d.Asked):
		v.status(http.StatusForbidden, "This token may not do that", "It is not for this project.")
		return nil
	default:
		d.Project = d.Asked
	}
	verdicts := v.planOf(&d, &f)
	if err := v.retentionCalendar(&d, &f, verdicts, now); err != nil {
		return err
	}
	if err := v.leaving(&d); err != nil {
		return err
	}
	v.retentionRules(&d, &f)
	d.show(verdicts, now, v.skip())
	f.Body = d
	return v.show("retention", f)
}

// planOf returns what becomes of the stored exports of the project, those that go first.
func (v *view) planOf(d *retentionData, f *frame) []verdictRow {
	if d.Project == "" || d.NoPlan {
		return nil
	}
	ctx := v.r.Context()
	plan, err := v.console.Plan(ctx, d.Project)
	if err != nil { // the rules come from the control plane, to which this login may have no right
		f.Notes = append(f.Notes, "The plan of the project could not be made. "+sentence(v.console.API.ProblemOf(ctx, err).Detail))
		return nil
	}
	d.Planned, d.Spared, d.By = true, plan.Spared[d.Project], plan.Judged()
	rows := make([]verdictRow, len(plan.Verdicts))
	for i, of := range plan.Verdicts {
		rows[i] = verdictRow{Verdict: of}
		if of.Step == retention.Kept && d.Spared == "" {
			if at := plan.Rules[d.Project].Outgrown(of.Decision); !at.IsZero() {
				rows[i].ByAge = at.Add(v.console.Notice)
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b verdictRow) int { return cmp.Compare(kept(a), kept(b)) })
	return rows
}

func kept(v verdictRow) int { return count1(v.Step == retention.Kept) }

// retentionCalendar makes the calendar. It begins with the week before today, unless the page says otherwise.
func (v *view) retentionCalendar(d *retentionData, f *frame, verdicts []verdictRow, now time.Time) error {
	zone := zoneOf(v.r)
	today := now.In(zone)
	first := time.Date(today.Year(), today.Month(), today.Day()-7, 0, 0, 0, 0, time.UTC)
	chosen := v.parameter("day")
	switch from, ok := day(v.parameter("from")); {
	case !ok:
		f.Notes = append(f.Notes, "From is not a date such as 2026-11-23, and is ignored.")
	case !from.IsZero():
		first = from
	}
	d.Calendar = newCalendar(d.Project, first, now, zone)
	of, err := v.RetentionCalendar(v.r.Context(), d.Project, d.Calendar.filter(v.console.Notice))
	if err != nil {
		return err
	}
	d.Calendar.fill(of, d.Planned)
	d.Calendar.plan(verdicts, now)
	d.Calendar.finish()
	if chosen != "" {
		if d.Day = d.Calendar.choose(chosen); d.Day == nil {
			f.Notes = append(f.Notes, "The day is not one of the calendar, and is ignored.")
		}
	}
	return nil
}

// leaving lists what goes and what was deleted: on the chosen day, else all that is announced. What still goes of a
// project with a plan is in the plan.
func (v *view) leaving(d *retentionData) error {
	if d.Planned && d.Day == nil {
		return nil
	}
	f := ledger.LeavingFilter{Notice: v.console.Notice, Limit: leavingLimit + 1, Deleted: d.Planned}
	if !d.Planned {
		f.Skip = v.skip()
	}
	if d.Day != nil {
		f.From, f.Until = d.Day.begin, d.Day.end
	}
	all, err := v.Leaving(v.r.Context(), d.Project, f)
	if err != nil {
		return err
	}
	if d.Partial = len(all) > leavingLimit; d.Partial {
		all = all[:leavingLimit]
	}
	if d.Partial && !d.Planned {
		d.Next = d.page(f.Skip + leavingLimit)
	}
	for _, l := range all {
		r := leavingRow{Leaving: l, Path: pathOf("exports", l.Project, l.Request), State: "notified"}
		switch {
		case l.DeletedAt != nil:
			r.State = "deleted"
		case l.Fault != "":
			r.State = "failing"
		case l.DeletingAt != nil:
			r.State = "deleting"
		}
		switch {
		case l.DeletedAt != nil:
			r.At = *l.DeletedAt
		case l.WarnedAt != nil:
			r.At = l.WarnedAt.Add(v.console.Notice)
		}
		d.Leaving = append(d.Leaving, r)
	}
	return nil
}

// retentionRules adds the rules that hold for projects without rules of their own.
func (v *view) retentionRules(d *retentionData, f *frame) {
	ctx := v.r.Context()
	rules, err := v.RetentionRules(ctx)
	switch {
	case err != nil: // the page also serves a login without a right to the rules
		f.Notes = append(f.Notes, "The rules cannot be read. "+sentence(v.console.API.ProblemOf(ctx, err).Detail))
	case v.All(api.PlanRetention) && d.Project == "":
		d.Default, d.KeepsAll, d.More = v.console.Retention.Text(), v.console.Retention.KeepsAll(), max(len(rules)-rulesLimit, 0)
		d.Rules = rules[:len(rules)-d.More]
	}
}

// show adds the rows of the plan from the skipped ones on: those of the chosen day, else of all.
func (d *retentionData) show(verdicts []verdictRow, now time.Time, skip int) {
	if d.Day != nil {
		verdicts = slices.DeleteFunc(verdicts, func(r verdictRow) bool { return !slices.ContainsFunc(r.at(now), d.Day.holds) })
	}
	d.Plan = verdicts[min(skip, len(verdicts)):]
	if len(d.Plan) > verdictsLimit {
		d.Plan, d.Next = d.Plan[:verdictsLimit], d.page(skip+verdictsLimit)
	}
}

// page returns the path of this page with its table from a row on.
func (d *retentionData) page(skip int) string {
	date := ""
	if d.Day != nil {
		date = d.Day.Date
	}
	return retentionPath(d.Project, d.Calendar.first, date, skip)
}

// skip returns how many rows of the table are on pages before.
func (v *view) skip() int {
	n, err := strconv.Atoi(v.parameter("skip"))
	if err != nil || n < 0 || n > skipLimit {
		return 0
	}
	return n
}
