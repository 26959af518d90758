package handlers

import (
	"context"
	"log/slog"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/export"
)

// Observer publishes backup.started and backup.progress. It drops an event that it cannot publish,
// because an export never waits for its observers.
type Observer struct {
	Publisher Publisher
	// Source is the CloudEvents source of the events.
	Source string
	Log    *slog.Logger
}

var _ export.Observer = (*Observer)(nil)

// startedTimeout bounds how long an export waits for its backup.started to be stored.
const startedTimeout = 2 * time.Second

// Started publishes backup.started, stored once for each attempt.
func (o *Observer) Started(ctx context.Context, s export.Started) {
	m, err := events.Started{
		RequestID: s.Request, ProjectID: s.Project, Attempt: s.Attempt,
		Format: events.Format(s.Format), Compression: events.Compression(s.Compression), CompressionLevel: events.CompressionLevel(s.Level), Schemas: s.Schemas,
		EstimatedBytes: s.Info.EstimatedBytes, ServerVersion: s.Info.ServerVersion, PgDumpVersion: s.Info.PgDumpVersion,
		Warnings: s.Info.Warnings, StartedAt: s.StartedAt, Trace: events.Trace{Parent: s.Trace.Parent, State: s.Trace.State},
	}.Encode(o.Source)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, startedTimeout)
		defer cancel()
		err = o.Publisher.Publish(ctx, m.Subject, m.Header[events.HeaderID], outgoing(m))
	}
	if err != nil {
		o.Log.WarnContext(ctx, "start not announced", "project_id", s.Project, "request_id", s.Request, "error", err)
	}
}

// Progress publishes backup.progress to current subscribers.
func (o *Observer) Progress(ctx context.Context, p export.Progress) {
	m, err := events.Progress{
		RequestID: p.Request, ProjectID: p.Project, Attempt: p.Attempt,
		SizeBytes: p.SizeBytes, StoredBytes: p.StoredBytes, EstimatedBytes: p.EstimatedBytes, Table: p.Table, At: p.At,
	}.Encode(o.Source)
	if err == nil {
		err = o.Publisher.PublishEphemeral(m.Subject, outgoing(m))
	}
	if err != nil {
		o.Log.DebugContext(ctx, "progress not announced", "project_id", p.Project, "request_id", p.Request, "error", err)
	}
}
