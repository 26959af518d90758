package console

import (
	"net/url"
	"strconv"
	"time"

	"github.com/pgcourier/pgcourier/internal/api"
)

// schedulesData is the content of the list of schedules.
type schedulesData struct {
	Project   string
	Schedules []scheduleRow
	Next      string // path of the next page
	MayChange bool
}

type scheduleRow struct {
	api.Schedule
	Runs      []run
	MayChange bool
	Toggle    string // pause or resume
	Path      string // of the schedule; the actions are below it
}

// run is one coming run, in the schedule's zone.
type run struct {
	At    time.Time
	Local string
}

const schedulesLimit = 30

func (v *view) schedules() error {
	q := v.r.URL.Query()
	from, _ := strconv.ParseUint(q.Get("from"), 10, 63) // 0: the first page
	d := schedulesData{Project: v.parameter("project")}
	all, next, err := v.Schedules(v.r.Context(), d.Project, from, schedulesLimit)
	if err != nil {
		return err
	}
	for _, s := range all {
		r := scheduleRow{Schedule: s, Path: pathOf("schedules", s.ProjectID, s.Name), MayChange: v.May(api.PauseSchedule, s.ProjectID), Toggle: "pause"}
		if s.State == "paused" {
			r.Toggle = "resume"
		}
		zone, err := time.LoadLocation(s.TimeZone)
		if err != nil { // the broker knows more zones than this machine
			zone = time.UTC
		}
		for _, at := range s.Next {
			r.Runs = append(r.Runs, run{at, at.In(zone).Format("Mon 2006-01-02 15:04 MST")})
		}
		d.MayChange = d.MayChange || r.MayChange
		d.Schedules = append(d.Schedules, r)
	}
	if next > 0 {
		d.Next = Prefix + "schedules?" + url.Values{"project": {d.Project}, "from": {strconv.FormatUint(next, 10)}}.Encode()
	}
	return v.show("schedules", frame{Title: "Schedules", Tab: "Schedules", Body: d})
}

// scheduleActions are what can be done with a schedule.
var scheduleActions = map[string]confirmData{
	"pause": {
		Label: "Pause the schedule", Explain: []string{"Nothing becomes due from now on, until the schedule is resumed.", "A run that is in the queue already goes on."},
	},
	"resume": {
		Label: "Resume the schedule", Explain: []string{"The schedule makes runs due again, from its next time on.", "The runs of the pause are not made up for."},
	},
	"delete": {
		Label: "Delete the schedule", Danger: true, Explain: []string{"The schedule is removed for good. A run that is in the queue already goes on."},
	},
}

func (v *view) schedule() api.SchedulePath {
	return api.SchedulePath{ProjectPath: api.ProjectPath{Project: v.r.PathValue("project")}, Name: v.r.PathValue("name")}
}

// scheduleOperation returns the operation of an action.
func scheduleOperation(name string) string {
	if name == "delete" {
		return api.DeleteSchedule
	}
	return api.PauseSchedule
}

func (v *view) confirmSchedule() error {
	at, name := v.schedule(), v.r.PathValue("action")
	d, known := scheduleActions[name]
	if !known {
		return errNoPage
	}
	if err := v.Require(scheduleOperation(name), at.Project); err != nil {
		return err
	}
	d.Subject, d.Back, d.Action = at.Project+"/"+at.Name, Prefix+"schedules", pathOf("schedules", at.Project, at.Name, name)
	return v.show("confirm", frame{Title: d.Label, Tab: "Schedules", Crumbs: []crumb{{"Schedules", pathOf("schedules")}}, Body: d})
}

func (v *view) actOnSchedule() error {
	at, ctx := v.schedule(), v.r.Context()
	did := map[string]string{"pause": "paused", "resume": "resumed", "delete": "schedule-deleted"}[v.r.PathValue("action")]
	var err error
	switch did {
	case "paused", "resumed":
		err = v.PauseSchedule(ctx, at, did == "paused")
	case "schedule-deleted":
		err = v.DeleteSchedule(ctx, at)
	default:
		err = errNoPage
	}
	if err != nil {
		return err
	}
	return v.redirect(pathOf("schedules"), did)
}
