package handlers

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/failpoint"
)

// Announcer publishes outcomes as backup.completed and backup.failed, each once: the
// broker refuses a second outcome of the same request.
type Announcer struct {
	Publisher Publisher
	Outbox    export.Outbox
	// Source is the CloudEvents source of the events.
	Source string
	Log    *slog.Logger
}

var _ export.Announcer = (*Announcer)(nil)

// Announce publishes out and notes it in the ledger. While the broker is unreachable it waits,
// until ctx ends. A note that could not be made is not an error: the sweeper announces again, the
// broker refuses, and the note is made then.
func (a *Announcer) Announce(ctx context.Context, out export.Outcome) error {
	m, err := EncodeOutcome(out, a.Source)
	if err != nil {
		return fmt.Errorf("encode the outcome of %s: %w", out.ID, err)
	}
	filter := events.OutcomeFilter(out.Project, out.Request)
	err = export.Retry(ctx, func(ctx context.Context) error {
		return a.Publisher.PublishOnce(ctx, m.Subject, filter, outgoing(m))
	})
	if err != nil {
		return fmt.Errorf("publish the outcome of %s: %w", out.ID, err)
	}
	failpoint.Hit(failpoint.AfterPublish)
	if err := a.Outbox.MarkPublished(ctx, out.ID); err != nil {
		a.Log.WarnContext(ctx, "published outcome not noted, left to the sweeper", "project_id", out.Project, "request_id", out.Request, "error", err)
	}
	failpoint.Hit(failpoint.AfterMark)
	return nil
}

// EncodeOutcome encodes the event that announces an outcome. It gives the same bytes for the same
// outcome in every process.
func EncodeOutcome(out export.Outcome, source string) (events.Message, error) {
	var request *events.Requested
	if len(out.Payload) > 0 {
		request = new(events.Requested)
		if err := json.Unmarshal(out.Payload, request); err != nil {
			return events.Message{}, fmt.Errorf("read the recorded request: %w", err)
		}
	}
	duration := out.FinishedAt.Sub(out.StartedAt).Milliseconds()
	trace := events.Trace{Parent: out.Trace.Parent, State: out.Trace.State}
	if out.State != export.Completed {
		if out.StartedAt.IsZero() {
			duration = 0
		}
		return events.Failed{
			RequestID: out.Request, ProjectID: out.Project, Attempts: out.Attempt,
			Code: out.Code, Permanent: out.Permanent, Message: out.Message, Request: request,
			StartedAt: out.StartedAt, FinishedAt: out.FinishedAt, DurationMS: duration,
			RequestedBy: out.RequestedBy, Metadata: out.Metadata, Trace: trace,
		}.Encode(source)
	}
	a := out.Artifact
	var storage []events.Location
	for _, c := range a.Copies {
		storage = append(storage, events.Location{
			Destination: c.Destination, Status: events.LocationStatus(c.Status), URI: c.URI,
			Code: c.Code, Message: c.Message,
		})
	}
	return events.Completed{
		RequestID: out.Request, ProjectID: out.Project, Attempt: out.Attempt,
		Format: events.Format(a.Format), Compression: events.Compression(a.Compression),
		Encryption: events.Encryption(a.Encryption), Schemas: a.Schemas,
		SizeBytes: a.SizeBytes, StoredBytes: a.StoredBytes, SHA256: a.SHA256, Storage: storage,
		Tables: int64(a.Tables), Rows: a.Rows, ServerVersion: a.ServerVersion, PgDumpVersion: a.PgDumpVersion,
		Warnings: a.Warnings, Recipients: a.Recipients, Receipt: receipt(a), StartedAt: out.StartedAt, FinishedAt: out.FinishedAt, DurationMS: duration,
		RequestedBy: out.RequestedBy, Metadata: out.Metadata, Request: request, Trace: trace,
	}.Encode(source)
}

// receipt says where an artifact's receipt lies; nil if it has none.
func receipt(a *export.Artifact) *events.Receipt {
	if a.Receipt == nil {
		return nil
	}
	out := &events.Receipt{SHA256: a.Receipt.SHA256, KeyID: a.Receipt.KeyID}
	for _, c := range a.Copies {
		if c.Receipt != "" {
			out.Copies = append(out.Copies, events.StoredCopy{Destination: c.Destination, URI: c.Receipt})
		}
	}
	if len(out.Copies) == 0 {
		return nil
	}
	return out
}
