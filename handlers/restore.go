package handlers

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/restore/operation"
)

// Restorer runs restores.
type Restorer interface {
	Run(ctx context.Context, req export.Request, d delivery.Delivery) (export.Outcome, error)
}

// Restore handles restore.requested.<project_id>: it runs the restore and announces its outcome. A
// nil return means that the message may be acknowledged.
type Restore struct {
	Restorer  Restorer
	Announcer export.Announcer
}

// Handle is a Watermill NoPublishHandlerFunc.
func (h *Restore) Handle(msg *message.Message) error {
	d := delivery.Of(msg.Context())
	out, err := h.Restorer.Run(msg.Context(), decodeRestore(incoming(msg), d), d)
	return decide(msg.Context(), h.Announcer, out, err)
}

// decodeRestore is decode for requests for restores.
func decodeRestore(m events.Message, d delivery.Delivery) export.Request {
	r, err := events.DecodeRestore(m)
	req := export.Request{
		ID:          export.ID{Project: r.ProjectID, Request: r.RestoreID},
		RequestedBy: r.RequestedBy,
		Metadata:    r.Metadata,
		Trace:       export.Trace{Parent: r.Trace.Parent, State: r.Trace.State},
	}
	return complete(req, m, d, err, func(id string) ([]byte, error) {
		r.RestoreID = id
		return r.Canonical()
	})
}

// DecodeStoredRestore returns the Request of a queued message, the same as for its deliveries.
func DecodeStoredRestore(d delivery.Delivery, header map[string][]string, body []byte) export.Request {
	return decodeRestore(events.Message{Subject: d.Subject, Header: singleHeaders(header), Body: body}, d)
}

// singleHeaders returns stored headers as events decodes them.
func singleHeaders(header map[string][]string) map[string]string {
	single := make(map[string]string, len(header))
	for name, values := range header {
		single[name] = strings.Join(values[:min(len(values), 1)], "")
		if len(values) > 1 {
			repeat(single, name)
		}
	}
	return single
}

// RestoreObserver publishes restore.started and restore.progress. It drops an event that it cannot
// publish.
type RestoreObserver struct {
	Publisher Publisher
	// Source is the CloudEvents source of the events.
	Source string
	Log    *slog.Logger
}

var _ operation.Observer = (*RestoreObserver)(nil)

// RestoreStarted publishes restore.started, stored once for each attempt.
func (o *RestoreObserver) RestoreStarted(ctx context.Context, s operation.Started) {
	m, err := events.RestoreStarted{
		RestoreID: s.Request, ProjectID: s.Project, Attempt: s.Attempt, From: events.RestoredExport{ProjectID: s.From.Project, RequestID: s.From.Request},
		Mode: events.RestoreMode(s.Mode), Plan: s.Plan, StoredBytes: s.StoredBytes, StartedAt: s.StartedAt,
		Trace: events.Trace{Parent: s.Trace.Parent, State: s.Trace.State},
	}.Encode(o.Source)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, startedTimeout)
		defer cancel()
		err = o.Publisher.Publish(ctx, m.Subject, m.Header[events.HeaderID], outgoing(m))
	}
	if err != nil {
		o.Log.WarnContext(ctx, "start not announced", "project_id", s.Project, "restore_id", s.Request, "error", err)
	}
}

// RestoreProgress publishes restore.progress to current subscribers.
func (o *RestoreObserver) RestoreProgress(ctx context.Context, p operation.Progress) {
	m, err := events.RestoreProgress{
		RestoreID: p.Request, ProjectID: p.Project, Attempt: p.Attempt, Stage: p.Stage, ReadBytes: p.ReadBytes, StoredBytes: p.StoredBytes, At: p.At,
	}.Encode(o.Source)
	if err == nil {
		err = o.Publisher.PublishEphemeral(m.Subject, outgoing(m))
	}
	if err != nil {
		o.Log.DebugContext(ctx, "progress not announced", "project_id", p.Project, "restore_id", p.Request, "error", err)
	}
}

// EncodeRestoreOutcome is EncodeOutcome for restores.
func EncodeRestoreOutcome(out export.Outcome, source string) (events.Message, error) {
	event, err := restoreAnnouncement(out)
	if err != nil {
		return events.Message{}, err
	}
	return event.Encode(source)
}

// restoreAnnouncement is announcement for the outcome of a restore.
func restoreAnnouncement(out export.Outcome) (shortenable, error) {
	var request *events.RestoreRequested
	if len(out.Payload) > 0 {
		request = new(events.RestoreRequested)
		if err := json.Unmarshal(out.Payload, request); err != nil {
			return nil, fmt.Errorf("read the recorded request: %w", err)
		}
	}
	duration := out.FinishedAt.Sub(out.StartedAt).Milliseconds()
	trace := events.Trace{Parent: out.Trace.Parent, State: out.Trace.State}
	if out.State != export.Completed {
		if out.StartedAt.IsZero() {
			duration = 0
		}
		return &restoreFailedEvent{RestoreFailed: events.RestoreFailed{
			RestoreID: out.Request, ProjectID: out.Project, Attempts: out.Attempt,
			Code: out.Code, Permanent: out.Permanent, Message: out.Message, Request: request,
			StartedAt: out.StartedAt, FinishedAt: out.FinishedAt, DurationMS: duration,
			RequestedBy: out.RequestedBy, Metadata: out.Metadata, Trace: trace,
		}}, nil
	}
	var r operation.Result
	if err := json.Unmarshal(out.Restored, &r); err != nil {
		return nil, fmt.Errorf("read the recorded result: %w", err)
	}
	e := events.RestoreCompleted{
		RestoreID: out.Request, ProjectID: out.Project, Attempt: out.Attempt,
		From: events.RestoredExport{ProjectID: r.From.Project, RequestID: r.From.Request}, Mode: events.RestoreMode(r.Mode), Plan: r.Plan,
		Schemas: r.Schemas, Tables: int64(r.Tables), Rows: r.Rows, SHA256: r.SHA256, ServerVersion: r.ServerVersion, Remarks: r.Remarks,
		StartedAt: out.StartedAt, FinishedAt: out.FinishedAt, DurationMS: duration,
		RequestedBy: out.RequestedBy, Metadata: out.Metadata, Request: request, Trace: trace,
	}
	for _, schema := range r.Kept {
		e.Kept = append(e.Kept, events.KeptSchema{Schema: schema, Until: r.KeptUntil})
	}
	return &restoreCompletedEvent{RestoreCompleted: e}, nil
}

// restoreCompletedEvent is a restore.completed that can be shortened.
type restoreCompletedEvent struct {
	events.RestoreCompleted
	parts []part // nil: nothing is omitted
	all   []string
}

func (e *restoreCompletedEvent) shorten(source string, limit int) bool {
	if e.parts == nil {
		e.all = e.Remarks
		e.parts = []part{
			list("remarks", &e.all, 0), list("schemas", &e.Schemas, 1),
			whole("request", e.Request != nil, &e.Request), whole("metadata", e.Metadata != nil, &e.Metadata),
		}
	}
	return cutTo(limit, e.parts, func() (events.Message, error) { return e.Encode(source) }, func(text string) {
		e.Remarks = append([]string{"this event is " + text}, e.all...)
	})
}

// restoreFailedEvent is a restore.failed that can be shortened.
type restoreFailedEvent struct {
	events.RestoreFailed
	parts   []part
	message string
}

func (e *restoreFailedEvent) shorten(source string, limit int) bool {
	if e.parts == nil {
		const room = 700 // characters, to have space for the note after it
		e.message = strings.ToValidUTF8(e.Message[:min(len(e.Message), room)], "")
		e.parts = []part{whole("request", e.Request != nil, &e.Request), whole("metadata", e.Metadata != nil, &e.Metadata)}
	}
	return cutTo(limit, e.parts, func() (events.Message, error) { return e.Encode(source) }, func(text string) {
		e.Message = e.message + " (this event is " + text + ")"
	})
}
