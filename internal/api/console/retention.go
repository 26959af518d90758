package console

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/retention"
)

// retentionData is the content of the page of retention.
type retentionData struct {
	Project string
	Leaving []leavingRow
	Notice  time.Duration
	Rules   []retention.Rule   // that were applied; empty for a caller that may not see all projects
	More    int                // how many rules there are beside Rules
	Default string             // the policy of projects without other rules; empty: as Rules
	Plan    *retention.Report  // of Project; nil: none was asked for
	By      []retention.Judged // the rules of Plan; empty: everything is kept
	Cut     int                // how many exports the plan has, if only the first are shown
	Spared  string             // why everything of the project is kept
	NoPlan  bool               // this process cannot plan
}

// leavingRow is an export that will be deleted.
type leavingRow struct {
	ledger.Leaving
	Path  string
	State string
	At    time.Time // the earliest time of its deletion; zero: not known
}

// The tables are bounded, so that a page stays below 60 KB.
const (
	leavingLimit  = 30
	verdictsLimit = 40
	rulesLimit    = 30
)

func (v *view) retention() error {
	ctx := v.r.Context()
	leaving, err := v.Leaving(ctx, leavingLimit)
	if err != nil {
		return err
	}
	d := retentionData{Project: v.parameter("project"), Notice: v.console.Notice, NoPlan: v.console.Plan == nil}
	for _, l := range leaving {
		r := leavingRow{Leaving: l, Path: pathOf("exports", l.Project, l.Request), State: "notified"}
		switch {
		case l.Fault != "":
			r.State = "failing"
		case l.DeletingAt != nil:
			r.State = "deleting"
		}
		if l.WarnedAt != nil && v.console.Notice > 0 {
			r.At = l.WarnedAt.Add(v.console.Notice)
		}
		d.Leaving = append(d.Leaving, r)
	}
	f := frame{Title: "Retention", Tab: "Retention"}
	if rules, err := v.RetentionRules(ctx); err != nil { // the page also serves a login without a right to the rules
		f.Notes = append(f.Notes, "The rules cannot be read. "+sentence(v.console.API.ProblemOf(ctx, err).Detail))
	} else if v.All(api.PlanRetention) {
		d.Default, d.More = v.console.Retention.Text(), max(len(rules)-rulesLimit, 0)
		d.Rules = rules[:len(rules)-d.More]
	}
	switch {
	case d.Project == "":
	case !events.ValidProject(d.Project):
		f.Notes = append(f.Notes, "That is not a project id: 1 to 100 letters, digits, \"_\" or \"-\".")
	case !v.May(api.PlanRetention, d.Project):
		v.status(http.StatusForbidden, "This token may not do that", "It is not for this project.")
		return nil
	case v.console.Plan != nil:
		plan, err := v.console.Plan(ctx, d.Project)
		if err != nil { // the rules come from the control plane, to which this login may have no right
			f.Notes = append(f.Notes, "The plan of the project could not be made. "+sentence(v.console.API.ProblemOf(ctx, err).Detail))
			break
		}
		d.Plan, d.Spared = &plan, plan.Spared[d.Project]
		d.By = plan.Judged()
		slices.SortStableFunc(plan.Verdicts, func(a, b retention.Verdict) int { // what goes comes first
			return cmp.Compare(kept(a), kept(b))
		})
		if n := len(plan.Verdicts); n > verdictsLimit {
			plan.Verdicts, d.Cut = plan.Verdicts[:verdictsLimit], n
		}
	}
	f.Body = d
	return v.show("retention", f)
}

func kept(v retention.Verdict) int { return count1(v.Step == retention.Kept) }
