package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
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

type createInput struct {
	ProjectPath
	Key         string `header:"Idempotency-Key" doc:"The request id. Absent: request_id of the body, else a fresh one"`
	Traceparent string `header:"traceparent" doc:"W3C Trace Context, carried to the outcome"`
	Tracestate  string `header:"tracestate"`
	RawBody     []byte `contentType:"application/json"`

	header map[string]string
}

// Resolve collects the headers of the contract.
func (in *createInput) Resolve(ctx huma.Context) []error {
	in.header = contractHeader(ctx.EachHeader)
	return nil
}

// idempotencyKey is the header with a request's id.
const idempotencyKey = "idempotency-key"

// contractHeader collects the headers of the contract: the attributes of CloudEvents in binary mode. It
// keeps a repeated header under another spelling, as Message requires.
func contractHeader(each func(func(name, value string))) map[string]string {
	out := map[string]string{}
	each(func(name, value string) {
		folded := strings.ToLower(name)
		if !strings.HasPrefix(folded, "ce-") && !slices.Contains([]string{"content-type", "content-encoding", "traceparent", "tracestate", idempotencyKey}, folded) {
			return
		}
		if _, twice := out[folded]; twice {
			folded = strings.ToUpper(folded)
		}
		out[folded] = value
	})
	return out
}

func (a *API) create(ctx context.Context, in *createInput) (*acceptedOutput, error) {
	r, err := a.decode(ctx, in)
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	e, err := a.ask(ctx, r)
	if err != nil {
		p := *a.problemOf(ctx, err) // a copy: constant problems are shared
		if p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable {
			p.RequestID = r.RequestID
		}
		return nil, &p
	}
	return &acceptedOutput{e.Links.Self, e}, nil
}

// decode reads a request as strictly as a worker does.
func (a *API) decode(ctx context.Context, in *createInput) (events.Requested, error) {
	m := events.Message{Header: in.header, Body: in.RawBody}
	if len(in.RawBody) == 0 {
		m.Body = []byte("{}")
	}
	key, given := in.header[idempotencyKey]
	_, twice := in.header[strings.ToUpper(idempotencyKey)]
	r, err := events.DecodeFor(in.Project, m)
	switch {
	case twice:
		return r, invalidParameter("Idempotency-Key", "is given more than once")
	case err != nil:
		return r, err
	case given && !events.ValidRequest(key):
		return r, invalidParameter("Idempotency-Key", "must be 1 to 100 letters, digits, \"_\" or \"-\"")
	case given && r.RequestID != "" && key != r.RequestID:
		return r, invalidParameter("Idempotency-Key", "contradicts request_id of the body")
	case given:
		r.RequestID = key
	case r.RequestID == "":
		r.RequestID = events.NewRequestID(time.Now())
	}
	if r.RequestedBy == "" {
		r.RequestedBy = callerOf(ctx).Subject
	}
	if a.Trace != nil {
		if parent, state := a.Trace(ctx); parent != "" {
			r.Trace = events.Trace{Parent: parent, State: state}
		}
	}
	return r, nil
}

// ask records a request and publishes it, unless a worker has it already.
func (a *API) ask(ctx context.Context, r events.Requested) (Export, error) {
	payload, err := r.Canonical()
	if err != nil {
		return Export{}, err
	}
	id := export.ID{Project: r.ProjectID, Request: r.RequestID}
	asked := ledger.Asked{ID: id, Payload: payload, Digest: sha256.Sum256(payload), RequestedBy: r.RequestedBy, At: time.Now()}
	verdict, err := a.Ledger.Ask(ctx, asked, callerOf(ctx).call("create-export", r.ProjectID, r.RequestID))
	switch {
	case err != nil:
		return Export{}, err
	case verdict == ledger.AskConflicting:
		return Export{}, problem(http.StatusConflict, codes.RequestConflict, "the key belongs to a request with other contents")
	case verdict == ledger.AskRecorded:
		return a.find(ctx, r.ProjectID, r.RequestID)
	}
	// The connection must not send it after an outage: the caller gets an error for it.
	if !a.JetStream.Conn().IsConnected() {
		return Export{}, errUnavailable()
	}
	if _, err := a.Client.RequestBackup(ctx, r); err != nil {
		if verdict == ledger.AskNew && a.refused(err) {
			if err := a.Ledger.TakeBack(context.WithoutCancel(ctx), asked); err != nil {
				a.Log.WarnContext(ctx, "refused request not taken back", "project_id", r.ProjectID, "request_id", r.RequestID, "error", err)
			}
		}
		return Export{}, err
	}
	return a.waiting(asked), nil
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

type listInput struct {
	ProjectPath
	State  []string  `query:"state" doc:"Only these states, separated by commas" enum:"waiting,running,completed,failed,cancelled"`
	Since  time.Time `query:"since" doc:"Only what was first seen at or after this time"`
	Limit  int       `query:"limit" doc:"At most so many" minimum:"1" maximum:"200" default:"50"`
	Cursor string    `query:"cursor" doc:"next_cursor of the page before, with the same state and since" maxLength:"400"`
}

type listOutput struct {
	Body struct {
		Exports    []Export `json:"exports" nullable:"false"`
		NextCursor string   `json:"next_cursor,omitempty" doc:"Reads on; absent on the last page"`
	}
}

func (a *API) list(ctx context.Context, in *listInput) (*listOutput, error) {
	f := ledger.PageFilter{Project: in.Project, Since: in.Since, Limit: in.Limit}
	for _, s := range in.State {
		if !slices.Contains(f.States, export.State(s)) {
			f.States = append(f.States, export.State(s))
		}
	}
	var ok bool
	if f.After, ok = readCursor(in.Cursor); !ok {
		return nil, invalidParameter("cursor", "is not the next_cursor of a page")
	}
	out := &listOutput{}
	out.Body.Exports = []Export{}
	if !events.ValidProject(in.Project) { // a ledger cannot be asked for every text
		return out, nil
	}
	page, err := a.Ledger.Page(ctx, f)
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	for _, r := range page.Asked {
		out.Body.Exports = append(out.Body.Exports, a.waiting(r))
	}
	for _, l := range page.Entries {
		e, err := a.export(l)
		if err != nil {
			return nil, a.problemOf(ctx, err)
		}
		out.Body.Exports = append(out.Body.Exports, e)
	}
	if page.Next != nil {
		out.Body.NextCursor = writeCursor(*page.Next)
	}
	return out, nil
}

// cursor is a ledger.Place in a page's cursor. It holds only data that the page shows, so it needs no
// signature.
type cursor struct {
	Asked   bool      `json:"a,omitempty"`
	At      time.Time `json:"t"`
	Request string    `json:"r"`
}

func writeCursor(p ledger.Place) string {
	b, err := json.Marshal(cursor(p))
	if err != nil { // a time of PostgreSQL has a year of four digits
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func readCursor(text string) (ledger.Place, bool) {
	if text == "" {
		return ledger.Place{}, true
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return ledger.Place{}, false
	}
	var c cursor
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.DisallowUnknownFields()
	if dec.Decode(&c) != nil || c.At.IsZero() || !events.ValidRequest(c.Request) {
		return ledger.Place{}, false
	}
	return ledger.Place(c), true
}
