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

// Restore is one restore in responses.
type Restore struct {
	ProjectID   string             `json:"project_id" doc:"The project that is restored into"`
	RestoreID   string             `json:"restore_id" doc:"Unique within the project"`
	State       string             `json:"state" enum:"waiting,running,completed,failed,cancelled"`
	Attempt     int                `json:"attempt" doc:"Attempts made"`
	Code        codes.Code         `json:"code,omitempty" doc:"failed: why. waiting: why the attempt before failed"`
	Message     string             `json:"message,omitempty" doc:"The same for a human"`
	RequestedBy string             `json:"requested_by,omitempty"`
	Metadata    map[string]string  `json:"metadata,omitempty"`
	CreatedAt   time.Time          `json:"created_at" doc:"When it was asked for, or first seen by a restorer"`
	StartedAt   *time.Time         `json:"started_at,omitempty"`
	FinishedAt  *time.Time         `json:"finished_at,omitempty"`
	Request     restoreRequestBody `json:"request,omitempty" doc:"The request in canonical form"`
	Outcome     restoreOutcomeBody `json:"outcome,omitempty" doc:"The outcome event as it was announced"`
	Links       RestoreLinks       `json:"links"`

	From     export.ID        `json:"-"` // the export that an attempt has resolved; zero: none has
	Progress *RestoreProgress `json:"-"` // nil: it does not run, or there is no recent progress
}

// RestoreProgress is how far a running restore is in one of its stages.
type RestoreProgress struct {
	Stage   string // as in restore.progress
	Percent int
}

// RestoreLinks are the URLs of a restore's resources.
type RestoreLinks struct {
	Self string `json:"self"`
}

// restoreRequestBody and restoreOutcomeBody are events of the contract.
type (
	restoreRequestBody json.RawMessage
	restoreOutcomeBody json.RawMessage
)

// MarshalJSON implements json.Marshaler.
func (b restoreRequestBody) MarshalJSON() ([]byte, error) { return json.RawMessage(b).MarshalJSON() }

// MarshalJSON implements json.Marshaler.
func (b restoreOutcomeBody) MarshalJSON() ([]byte, error) { return json.RawMessage(b).MarshalJSON() }

// Schema implements huma.SchemaProvider.
func (restoreRequestBody) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Ref: "#/components/schemas/RestoreRequested"}
}

// Schema implements huma.SchemaProvider.
func (restoreOutcomeBody) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{{Ref: "#/components/schemas/RestoreCompleted"}, {Ref: "#/components/schemas/RestoreFailed"}}}
}

// RestorePath names a restore.
type RestorePath struct {
	ProjectPath
	ID string `path:"id" doc:"Restore id" example:"undo-7"`
}

type restoreOutput struct{ Body Restore }

type acceptedRestoreOutput struct {
	Location string `header:"Location" doc:"The restore's address"`
	Body     Restore
}

const (
	restoresPath = "/v1/projects/{project}/restores"
	restorePath  = restoresPath + "/{id}"
)

func (a *API) registerRestores(operations huma.API) {
	op := a.operation(CreateRestore, http.MethodPost, restoresPath, "Restore an export into the project",
		"The body is that of `restore.requested`; `project_id` may be left out. The target is the control plane's answer for the project. "+
			"The key names the restore, as that of an export. An export of another project also needs the scope download of that project.", access.Restore)
	op.DefaultStatus, op.SkipValidateBody = http.StatusAccepted, true
	op.Middlewares = append(op.Middlewares, readBody)
	op.RequestBody = &huma.RequestBody{}
	huma.Register(operations, op, a.createRestore)
	op.RequestBody.Required = true
	op.RequestBody.Content["application/json"].Schema = &huma.Schema{Ref: "#/components/schemas/RestoreRequest"}

	huma.Register(operations, a.operation(GetRestore, http.MethodGet, restorePath, "Look at a restore", "", access.Read, access.Restore), a.getRestore)

	huma.Register(operations, a.operation(ListRestores, http.MethodGet, restoresPath, "List restores into the project",
		"First those that no restorer has recorded yet, then the others, each newest first. Read on with `next_cursor` until it is absent. "+
			"A restore that a restorer takes while pages are read can be on two of them, and is on one at least. "+
			"Of those that no restorer has recorded the first 5000 in the project's queue are listed.", access.Read, access.Restore), a.listRestores)

	op = a.operation(CancelRestore, http.MethodPost, restorePath+"/cancel", "Cancel a restore",
		"The target then stays as it is. A restore that the target has committed meanwhile completes all the same. Cancelling twice is the same as once.", access.Restore, access.Operate)
	op.DefaultStatus = http.StatusAccepted
	huma.Register(operations, op, a.cancelRestore)
}

func (a *API) createRestore(ctx context.Context, in *createInput) (*acceptedRestoreOutput, error) {
	r, err := a.decodeRestore(ctx, in)
	var out Restore
	if err == nil {
		out, err = a.askRestore(ctx, r)
	}
	if err != nil {
		return nil, a.notAccepted(ctx, err, r.RestoreID)
	}
	return &acceptedRestoreOutput{out.Links.Self, out}, nil
}

// decodeRestore reads a request as strictly as a restorer does.
func (a *API) decodeRestore(ctx context.Context, in *createInput) (events.RestoreRequested, error) {
	r, err := events.DecodeRestoreFor(in.Project, events.Message{Header: in.header, Body: in.RawBody})
	if r.RestoreID, err = in.id("restore_id", r.RestoreID, err); err != nil {
		return r, err
	}
	c := callerOf(ctx)
	// Otherwise the token of one project could read another's data out of the restored tables.
	if from := r.From.ProjectID; from != r.ProjectID && !c.Allows(from, access.Download) {
		return r, errForbidden
	}
	if r.RequestedBy == "" {
		r.RequestedBy = c.Subject
	}
	a.trace(ctx, &r.Trace)
	return r, nil
}

func (a *API) getRestore(ctx context.Context, in *RestorePath) (*restoreOutput, error) {
	r, _, err := a.findRestore(ctx, in.Project, in.ID)
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	return &restoreOutput{r}, nil
}

// findRestore returns one restore: from the ledger, or from the queue.
func (a *API) findRestore(ctx context.Context, project, restore string) (Restore, *export.QueuedRequest, error) {
	if !events.ValidProject(project) || !events.ValidRequest(restore) {
		return Restore{}, nil, errNoRestore
	}
	id := export.ID{Project: project, Request: restore}
	// A restorer can record it between the two looks.
	for range 2 {
		known, err := a.restores.Get(ctx, id)
		if err != nil {
			return Restore{}, nil, err
		}
		if known != nil {
			r, err := a.restore(*known)
			return r, nil, err
		}
		queued, err := a.RestoreQueue.OfProject(ctx, project)
		if err != nil {
			return Restore{}, nil, err
		}
		for _, q := range queued {
			if q.Request.ID == id && q.Request.Refusal == nil {
				return a.waitingRestore(q.Request, q.Delivery.Published), &q, nil
			}
		}
	}
	return Restore{}, nil, errNoRestore
}

func (a *API) cancelRestore(ctx context.Context, in *RestorePath) (*restoreOutput, error) {
	r, queued, err := a.findRestore(ctx, in.Project, in.ID)
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	c := callerOf(ctx)
	err = a.noted(ctx, c.call(CancelRestore, in.Project, in.ID), func() (err error) {
		var got export.Cancellation
		if queued != nil {
			got, err = a.restores.CancelQueued(ctx, queued.Request, queued.Delivery, c.Subject)
		} else {
			got, err = a.restores.Cancel(ctx, export.ID{Project: in.Project, Request: in.ID}, c.Subject)
		}
		if err == nil && got.Outcome == nil {
			a.tellRestorers(ctx, events.RestoreCancel{RestoreID: in.ID, ProjectID: in.Project, RequestedBy: c.Subject})
		}
		if err == nil {
			r, _, err = a.findRestore(ctx, in.Project, in.ID)
		}
		if err == nil && (r.State == string(export.Completed) || r.State == string(export.Failed)) {
			err = problem(http.StatusConflict, codeTooLate, "the restore had ended before: "+r.State)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &restoreOutput{r}, nil
}

// tellTimeout bounds how long a recorded cancel waits for a restorer's answer.
const tellTimeout = 2 * time.Second

// tellRestorers makes the restorer that runs a restore look at the cancel in the ledger at once. Without an
// answer it finds the cancel at its next renewal, so that is not an error.
func (a *API) tellRestorers(ctx context.Context, c events.RestoreCancel) {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	if _, err := a.Client.CancelRestore(ctx, c); err != nil {
		a.Log.WarnContext(ctx, "recorded cancel not told to the restorers, the owner finds it at its next renewal", "project_id", c.ProjectID, "restore_id", c.RestoreID, "error", err)
	}
}

// waitingRestore returns the Restore of a request that no restorer has recorded.
func (a *API) waitingRestore(r export.Request, at time.Time) Restore {
	return Restore{
		ProjectID: r.Project, RestoreID: r.Request, State: string(export.Waiting), RequestedBy: r.RequestedBy, Metadata: r.Metadata,
		CreatedAt: at.UTC(), Request: restoreRequestBody(r.Payload), Links: a.restoreLinks(r.ID),
	}
}

func (a *API) restoreLinks(id export.ID) RestoreLinks {
	return RestoreLinks{Self: a.path("/v1/projects/%s/restores/%s", id.Project, id.Request)}
}

// restore returns the Restore of an entry of the ledger.
func (a *API) restore(l ledger.RestoreEntry) (Restore, error) {
	r := Restore{
		ProjectID: l.Project, RestoreID: l.Request, State: string(l.State), Attempt: l.Attempt, Code: l.Code, Message: l.Message,
		RequestedBy: l.RequestedBy, Metadata: l.Metadata, CreatedAt: l.CreatedAt, StartedAt: l.StartedAt, FinishedAt: l.FinishedAt,
		Request: restoreRequestBody(l.Payload), Links: a.restoreLinks(l.ID), From: l.From,
	}
	if l.State == export.Running {
		r.Progress = a.feed.restoring(l.ID, l.Attempt)
	}
	if l.State == export.Failed && l.Code == codes.Cancelled {
		r.State = string(ledger.Cancelled)
	}
	if l.Outcome != nil {
		body, err := a.RestoreOutcomeBody(*l.Outcome)
		if err != nil {
			return Restore{}, err
		}
		r.Outcome = body
	}
	return r, nil
}
