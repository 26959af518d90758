package api

import (
	"context"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/retention"
)

// connected returns a *Problem while there is no connection to the broker. A page says so at once; a
// call of the broker would wait for its timeout.
func (a *API) connected() error {
	if !a.JetStream.Conn().IsConnected() {
		return errUnavailable()
	}
	return nil
}

// openSchedules opens the schedules. The error is a *Problem.
func openSchedules(ctx context.Context, a *API) (*broker.Schedules, error) {
	if err := a.connected(); err != nil {
		return nil, err
	}
	s, err := broker.OpenSchedules(ctx, a.JetStream)
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	return s, nil
}

// Overview is the state of the caller's projects.
type Overview struct {
	Hours    []ledger.Hour
	Projects []ledger.ProjectState
	Leaving  []ledger.Leaving // what retention will delete
}

// overviewRows bounds each list of an Overview.
const overviewRows = 50

// Overview reads the ledger.
func (o Operations) Overview(ctx context.Context) (Overview, error) {
	projects, err := o.projects(OpenPages)
	if err != nil {
		return Overview{}, err
	}
	var out Overview
	if out.Hours, err = o.api.Ledger.Hours(ctx, projects); err == nil {
		if out.Projects, err = o.api.Ledger.ProjectStates(ctx, projects, overviewRows); err == nil {
			out.Leaving, err = o.api.Ledger.Leaving(ctx, ledger.LeavingFilter{Projects: projects, Limit: overviewRows})
		}
	}
	if err != nil {
		return Overview{}, o.api.problemOf(ctx, err)
	}
	return out, nil
}

// Queue is the fill level of the queue.
type Queue struct {
	Waiting, Held uint64
	Oldest        time.Time // of those that wait; zero: none, or the caller may not see other projects
	Whole         bool      // Held is separate, and the intake is included
}

// Queue reads the queue: the whole one if the caller may see all projects, else the requests of its
// projects, which wait or run.
func (o Operations) Queue(ctx context.Context) (Queue, error) {
	projects, err := o.projects(OpenPages)
	if err == nil {
		err = o.api.connected()
	}
	if err != nil {
		return Queue{}, err
	}
	if projects != nil {
		var out Queue
		for _, p := range projects {
			n, err := o.api.Queue.Projects.Count(ctx, events.RequestSubject(p))
			if err != nil {
				return Queue{}, o.api.problemOf(ctx, err)
			}
			out.Waiting += n
		}
		return out, nil
	}
	d, err := o.api.Queue.Projects.Depth(ctx)
	if err != nil {
		return Queue{}, o.api.problemOf(ctx, err)
	}
	in, err := o.api.Queue.Intake.Depth(ctx)
	if err != nil {
		return Queue{}, o.api.problemOf(ctx, err)
	}
	out := Queue{Waiting: d.Waiting + in.Waiting, Held: uint64(max(d.Held, 0) + max(in.Held, 0)), Oldest: d.OldestWaiting, Whole: true}
	if out.Oldest.IsZero() || !in.OldestWaiting.IsZero() && in.OldestWaiting.Before(out.Oldest) {
		out.Oldest = in.OldestWaiting
	}
	return out, nil
}

// RetentionCalendar is what retention keeps and deletes, day by day.
type RetentionCalendar struct {
	Days []ledger.RetentionDay
	Kept []int // stored exports that were completed on each day, without those announced to be deleted
}

// RetentionCalendar returns what retention keeps and deletes of a project, or of all projects of the caller if it
// is empty. The filter's projects are ignored.
func (o Operations) RetentionCalendar(ctx context.Context, project string, f ledger.CalendarFilter) (RetentionCalendar, error) {
	var out RetentionCalendar
	var err error
	if f.Projects, err = o.retained(project); err != nil {
		return out, err
	}
	if out.Days, err = o.api.Ledger.RetentionDays(ctx, f); err == nil {
		out.Kept, err = o.api.Ledger.KeptDays(ctx, f)
	}
	if err != nil {
		return RetentionCalendar{}, o.api.problemOf(ctx, err)
	}
	return out, nil
}

// Leaving returns what retention deletes of a project, or of all projects of the caller if it is empty. The
// filter's projects are ignored.
func (o Operations) Leaving(ctx context.Context, project string, f ledger.LeavingFilter) ([]ledger.Leaving, error) {
	var err error
	if f.Projects, err = o.retained(project); err != nil {
		return nil, err
	}
	out, err := o.api.Ledger.Leaving(ctx, f)
	if err != nil {
		return nil, o.api.problemOf(ctx, err)
	}
	return out, nil
}

// retained returns the projects of which the caller may see the retention, with project if it is not empty.
func (o Operations) retained(project string) ([]string, error) {
	if project == "" {
		return o.projects(PlanRetention)
	}
	return []string{project}, o.Require(PlanRetention, project)
}

// RetentionRules returns the rules of retention that were applied. A caller that is not allowed to see
// all projects gets none.
func (o Operations) RetentionRules(ctx context.Context) ([]retention.Rule, error) {
	if !o.All(PlanRetention) {
		return nil, nil
	}
	out, err := o.api.Ledger.RetentionRules(ctx)
	if err != nil {
		return nil, o.api.problemOf(ctx, err)
	}
	return out, nil
}

// Calls returns the audit, the newest call first.
func (o Operations) Calls(ctx context.Context, before int64, limit int) ([]ledger.NotedCall, error) {
	projects, err := o.projects(ListCalls)
	if err != nil {
		return nil, err
	}
	out, err := o.api.Ledger.Calls(ctx, ledger.CallFilter{Projects: projects, Before: before, Limit: limit})
	if err != nil {
		return nil, o.api.problemOf(ctx, err)
	}
	return out, nil
}
