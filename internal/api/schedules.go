package api

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/schedule"
)

// Schedule is a recurring export in responses.
type Schedule struct {
	ProjectID string      `json:"project_id"`
	Name      string      `json:"name"`
	Cron      string      `json:"cron" doc:"As the broker takes it: six fields, or an interval" example:"0 0 3 * * *"`
	TimeZone  string      `json:"time_zone" example:"Europe/Berlin"`
	State     string      `json:"state" enum:"active,paused"`
	Next      []time.Time `json:"next" nullable:"false" doc:"The next times, none while it is paused"`
	LastDue   *time.Time  `json:"last_due,omitempty"`
	WrittenAt time.Time   `json:"written_at"`
	Request   requestBody `json:"request,omitempty" doc:"What it asks for each time"`
}

// SchedulePath names a schedule.
type SchedulePath struct {
	ProjectPath
	Name string `path:"name" doc:"Name, unique within the project: 1 to 64 letters, digits, _ or -" example:"nightly"`
}

type putScheduleInput struct {
	SchedulePath
	Body struct {
		Cron     string          `json:"cron" doc:"Five fields (minute hour day month weekday), six (second first), @hourly, @daily, @weekly, @monthly, @yearly, or an interval such as @every 6h" maxLength:"200" example:"0 3 * * *"`
		TimeZone string          `json:"time_zone,omitempty" doc:"Time zone of cron. Default: UTC" maxLength:"100" example:"Europe/Berlin"`
		Paused   bool            `json:"paused,omitempty" doc:"Keep it and make nothing due"`
		Request  scheduleRequest `json:"request,omitempty" doc:"What it asks for each time, without request_id. Absent: all defaults"`
	}
}

// scheduleRequest is the request of a schedule. Package events decodes it.
type scheduleRequest json.RawMessage

// UnmarshalJSON implements json.Unmarshaler. It keeps the JSON unchanged.
func (r *scheduleRequest) UnmarshalJSON(b []byte) error {
	*r = append((*r)[:0], b...)
	return nil
}

// Schema implements huma.SchemaProvider.
func (scheduleRequest) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: "object", AdditionalProperties: true, Description: "As ExportRequest, without request_id"}
}

type scheduleOutput struct{ Body Schedule }

type schedulesOutput struct {
	Body struct {
		Schedules []Schedule `json:"schedules" nullable:"false"`
	}
}

const schedulesPath = "/v1/projects/{project}/schedules"

func (a *API) registerSchedules(operations huma.API) {
	op := a.operation("list-schedules", http.MethodGet, schedulesPath, "List schedules", "", access.Read)
	huma.Register(operations, op, a.listSchedules)
	op = a.operation("get-schedule", http.MethodGet, schedulesPath+"/{name}", "Look at a schedule", "", access.Read)
	huma.Register(operations, op, a.getSchedule)
	op = a.operation("put-schedule", http.MethodPut, schedulesPath+"/{name}", "Add a schedule, or put it in the place of one with that name", "", access.Operate)
	op.Middlewares = append(op.Middlewares, readBody)
	huma.Register(operations, op, a.putSchedule)
	op = a.operation("delete-schedule", http.MethodDelete, schedulesPath+"/{name}", "Remove a schedule",
		"A run that is in the project's queue already goes on.", access.Operate)
	huma.Register(operations, op, a.deleteSchedule)
}

func (a *API) listSchedules(ctx context.Context, in *ProjectPath) (*schedulesOutput, error) {
	out := &schedulesOutput{}
	out.Body.Schedules = []Schedule{}
	if !events.ValidProject(in.Project) {
		return out, nil
	}
	s, err := broker.OpenSchedules(ctx, a.JetStream)
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	found, err := s.List(ctx, in.Project)
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	now := time.Now()
	for _, one := range found {
		out.Body.Schedules = append(out.Body.Schedules, scheduleOf(one.Status(now)))
	}
	slices.SortFunc(out.Body.Schedules, func(x, y Schedule) int { return strings.Compare(x.Name, y.Name) })
	return out, nil
}

func scheduleOf(s broker.ScheduleStatus) Schedule {
	return Schedule{
		ProjectID: s.Project, Name: s.Name, Cron: s.Times, TimeZone: s.Zone, State: s.State, Next: s.Next, LastDue: s.LastDue,
		WrittenAt: s.Written, Request: requestBody(s.Request),
	}
}

// named opens the schedules for a call that names one.
func (a *API) named(ctx context.Context, in SchedulePath) (*broker.Schedules, error) {
	if !events.ValidProject(in.Project) || !events.ValidSchedule(in.Name) {
		return nil, invalidParameter("name", "must be 1 to 64 letters, digits, \"_\" or \"-\", of a project with a valid id")
	}
	return broker.OpenSchedules(ctx, a.JetStream)
}

func (a *API) getSchedule(ctx context.Context, in *SchedulePath) (*scheduleOutput, error) {
	s, err := a.named(ctx, *in)
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	one, err := s.Get(ctx, in.Project, in.Name)
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	return &scheduleOutput{scheduleOf(one.Status(time.Now()))}, nil
}

func (a *API) putSchedule(ctx context.Context, in *putScheduleInput) (*scheduleOutput, error) {
	s, err := a.named(ctx, in.SchedulePath)
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	table, err := schedule.Parse(in.Body.Cron, in.Body.TimeZone, time.Now())
	if err != nil {
		return nil, invalidParameter("cron", err.Error())
	}
	body := json.RawMessage(in.Body.Request)
	if len(body) == 0 {
		body = json.RawMessage("{}")
	}
	r, err := events.DecodeFor(in.Project, events.Message{Body: body})
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	if r.RequestID != "" {
		return nil, invalidParameter("request.request_id", "must be absent: each run has an id of its own")
	}
	r.RequestedBy = events.RequestedBySchedule(in.Name)
	canonical, err := r.Canonical()
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	add := broker.Schedule{Project: in.Project, Name: in.Name, Pattern: table.Pattern(), Zone: table.Zone(), Paused: in.Body.Paused, Body: canonical}
	err = a.noted(ctx, callerOf(ctx).call("put-schedule", in.Project, in.Name), func() error { return s.Add(ctx, add, true) })
	if err != nil {
		return nil, err
	}
	return a.getSchedule(ctx, &in.SchedulePath)
}

// pause stops a schedule, or lets it continue.
func (a *API) pause(ctx context.Context, in SchedulePath, paused bool) error {
	s, err := a.named(ctx, in)
	if err == nil {
		_, err = s.Get(ctx, in.Project, in.Name)
	}
	if err != nil {
		return a.problemOf(ctx, err)
	}
	action := "resume-schedule"
	if paused {
		action = PauseSchedule
	}
	return a.noted(ctx, callerOf(ctx).call(action, in.Project, in.Name), func() error {
		_, err := s.Pause(ctx, in.Project, in.Name, paused)
		return err
	})
}

func (a *API) deleteSchedule(ctx context.Context, in *SchedulePath) (*struct{}, error) {
	s, err := a.named(ctx, *in)
	if err == nil {
		_, err = s.Get(ctx, in.Project, in.Name)
	}
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	err = a.noted(ctx, callerOf(ctx).call(DeleteSchedule, in.Project, in.Name), func() error { return s.Remove(ctx, in.Project, in.Name) })
	return nil, err // 204 has no body
}
