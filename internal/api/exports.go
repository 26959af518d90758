package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

// Export is one export in responses.
type Export struct {
	ProjectID   string            `json:"project_id"`
	RequestID   string            `json:"request_id" doc:"Unique within the project"`
	State       string            `json:"state" enum:"waiting,running,completed,failed,cancelled"`
	Percent     *int              `json:"percent,omitempty" doc:"How far a running export is, by an estimate; 100 once it completed" minimum:"0" maximum:"100"`
	Attempt     int               `json:"attempt" doc:"Attempts made"`
	Code        codes.Code        `json:"code,omitempty" doc:"failed: why. waiting: why the attempt before failed"`
	Message     string            `json:"message,omitempty" doc:"The same for a human"`
	RequestedBy string            `json:"requested_by,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	CreatedAt   time.Time         `json:"created_at" doc:"When it was asked for, or first seen by a worker"`
	StartedAt   *time.Time        `json:"started_at,omitempty"`
	FinishedAt  *time.Time        `json:"finished_at,omitempty"`
	RemovedAt   *time.Time        `json:"removed_at,omitempty" doc:"When the export was deleted from every destination"`
	Request     requestBody       `json:"request,omitempty" doc:"The request in canonical form"`
	Outcome     outcomeBody       `json:"outcome,omitempty" doc:"The outcome event as it was announced"`
	Links       Links             `json:"links"`
}

// Links are the URLs of an export's resources.
type Links struct {
	Self   string `json:"self"`
	Events string `json:"events" doc:"Server-Sent Events"`
}

// requestBody and outcomeBody are events of the contract.
type (
	requestBody json.RawMessage
	outcomeBody json.RawMessage
)

// MarshalJSON implements json.Marshaler.
func (b requestBody) MarshalJSON() ([]byte, error) { return json.RawMessage(b).MarshalJSON() }

// MarshalJSON implements json.Marshaler.
func (b outcomeBody) MarshalJSON() ([]byte, error) { return json.RawMessage(b).MarshalJSON() }

// Schema implements huma.SchemaProvider.
func (requestBody) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Ref: "#/components/schemas/BackupRequested"}
}

// Schema implements huma.SchemaProvider.
func (outcomeBody) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{{Ref: "#/components/schemas/BackupCompleted"}, {Ref: "#/components/schemas/BackupFailed"}}}
}

// ProjectPath names a project. It is exported because the library reads exported fields only.
type ProjectPath struct {
	Project string `path:"project" doc:"Project id" example:"acme"`
}

// ExportPath names an export.
type ExportPath struct {
	ProjectPath
	ID string `path:"id" doc:"Request id" example:"nightly-2026-11-23"`
}

type exportOutput struct{ Body Export }

type acceptedOutput struct {
	Location string `header:"Location" doc:"The export's address"`
	Body     Export
}

const (
	exportsPath = "/v1/projects/{project}/exports"
	exportPath  = exportsPath + "/{id}"
)

func (a *API) registerExports(operations huma.API) {
	op := a.operation("create-export", http.MethodPost, exportsPath, "Ask for an export",
		"The body is that of `backup.requested`; `project_id` may be left out, and so may the body. The key names the request: "+
			"with the same key and the same contents the answer is the same and nothing runs twice; other contents are a conflict.", access.Export)
	op.DefaultStatus, op.SkipValidateBody = http.StatusAccepted, true
	op.Middlewares = append(op.Middlewares, readBody)
	op.RequestBody = &huma.RequestBody{}
	huma.Register(operations, op, a.create)
	// The library describes a raw body as required binary text.
	op.RequestBody.Required = false
	op.RequestBody.Content["application/json"].Schema = &huma.Schema{Ref: "#/components/schemas/ExportRequest"}

	list := a.operation("list-exports", http.MethodGet, exportsPath, "List exports",
		"First those that no worker has seen yet, then the others, each newest first. Read on with `next_cursor` until it is absent. "+
			"An export that a worker takes while pages are read can be on two of them, and is on one at least.", access.Read)
	huma.Register(operations, list, a.list)

	get := a.operation("get-export", http.MethodGet, exportPath, "Look at an export", "", access.Read)
	huma.Register(operations, get, a.get)
}

func (a *API) get(ctx context.Context, in *ExportPath) (*exportOutput, error) {
	e, err := a.find(ctx, in.Project, in.ID)
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	return &exportOutput{e}, nil
}

// find returns one export: from the ledger, from the API's own requests, or from the queue, if another
// gateway has published it.
func (a *API) find(ctx context.Context, project, request string) (Export, error) {
	if !events.ValidProject(project) || !events.ValidRequest(request) {
		return Export{}, errNotFound
	}
	entries, err := a.Ledger.Get(ctx, request, project)
	if err != nil {
		return Export{}, err
	}
	if len(entries) > 0 {
		return a.export(entries[0])
	}
	asked, err := a.Ledger.AskedFor(ctx, export.ID{Project: project, Request: request})
	if err != nil {
		return Export{}, err
	}
	if asked != nil {
		return a.waiting(*asked), nil
	}
	queued, err := a.Queue.OfProject(ctx, project)
	if err != nil {
		return Export{}, err
	}
	for _, q := range queued {
		if r := q.Request; r.Request == request && r.Refusal == nil {
			return a.waiting(ledger.Asked{ID: r.ID, Payload: r.Payload, RequestedBy: r.RequestedBy, At: q.Delivery.Published}), nil
		}
	}
	return Export{}, errNotFound
}

// waiting returns the Export of a request that no worker has recorded.
func (a *API) waiting(r ledger.Asked) Export {
	e := Export{
		ProjectID: r.Project, RequestID: r.Request, State: string(export.Waiting), RequestedBy: r.RequestedBy, CreatedAt: r.At.UTC(),
		Request: requestBody(r.Payload), Links: a.links(r.ID),
	}
	var of struct {
		Metadata map[string]string `json:"metadata"`
	}
	if json.Unmarshal(r.Payload, &of) == nil {
		e.Metadata = of.Metadata
	}
	return e
}

func (a *API) links(id export.ID) Links {
	self := a.path("/v1/projects/%s/exports/%s", id.Project, id.Request)
	return Links{Self: self, Events: self + "/events"}
}

// export returns the Export of a request in the ledger.
func (a *API) export(l ledger.Entry) (Export, error) {
	e := Export{
		ProjectID: l.Project, RequestID: l.ID.Request, State: string(l.State), Attempt: l.Attempt, Code: l.Code, Message: l.Message,
		RequestedBy: l.RequestedBy, Metadata: l.Metadata, CreatedAt: l.CreatedAt, StartedAt: l.StartedAt, FinishedAt: l.FinishedAt,
		RemovedAt: l.RemovedAt, Request: requestBody(l.Payload), Links: a.links(l.ID),
	}
	switch l.State {
	case export.Waiting:
	case export.Completed:
		whole := 100
		e.Percent = &whole
	case export.Running:
		e.Percent = a.feed.percent(l.ID, l.Attempt)
	case export.Failed:
		if l.Code == codes.Cancelled {
			e.State = string(ledger.Cancelled)
		}
	}
	if l.Outcome != nil {
		out := *l.Outcome
		out.Payload = l.Payload
		body, err := a.OutcomeBody(out)
		if err != nil {
			return Export{}, err
		}
		e.Outcome = body
	}
	return e, nil
}
