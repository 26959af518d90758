package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

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
	// Restores says that the outcomes are those of restores: restore.completed and restore.failed.
	Restores bool
	// Waiting, if set, is called for each outcome that the broker does not accept, with the error, and
	// with nil when Announce no longer retries it. It must not block.
	Waiting func(id export.ID, err error)
	// Draining, if set, is closed when the process begins to stop. After that an outcome is retried
	// for DrainTimeout only: it is recorded, and any sweeper announces it later.
	Draining <-chan struct{}
	Log      *slog.Logger

	mu     sync.Mutex
	remind export.Reminder
	trying map[export.ID]int // running announcements of an outcome: a worker's and a sweeper's can run at once
}

// DrainTimeout is how long an outcome is retried after the process began to stop.
const DrainTimeout = 10 * time.Second

var _ export.Announcer = (*Announcer)(nil)

// Announce publishes out and marks it as published in the ledger. While the broker is unreachable
// or refuses it, Announce waits, until ctx ends. It shortens an event that is too large for the
// broker. A failure to mark it is not an error: the sweeper announces it again, the broker refuses
// the second one, and it is marked then.
func (a *Announcer) Announce(ctx context.Context, out export.Outcome) error {
	if err := a.publish(ctx, out); err != nil {
		return fmt.Errorf("publish the outcome of %s: %w", out.ID, err)
	}
	failpoint.Hit(failpoint.AfterPublish)
	if err := a.Outbox.MarkPublished(ctx, out.ID); err != nil {
		a.Log.WarnContext(ctx, "published outcome not noted, left to the sweeper", "project_id", out.Project, "request_id", out.Request, "error", err)
	}
	failpoint.Hit(failpoint.AfterMark)
	return nil
}

func (a *Announcer) publish(ctx context.Context, out export.Outcome) error {
	id, told := out.ID, false
	ctx, cancel := a.untilDrained(ctx)
	defer cancel()
	defer a.try(id)()
	filter, event := events.OutcomeFilter(id.Project, id.Request), announcement
	if a.Restores {
		filter, event = events.RestoreOutcomeFilter(id.Project, id.Request), restoreAnnouncement
	}
	return export.Retry(ctx, export.Wait{For: "the broker to accept an outcome"}, func(ctx context.Context) error {
		event, err := event(out) // unshortened again: the broker may accept a larger one now
		if err != nil {
			return fmt.Errorf("encode it: %w", err)
		}
		m, err := a.publishShortened(ctx, id, filter, event, &told)
		if errors.Is(err, ErrTooLarge) {
			err = fmt.Errorf("an event of %d bytes, which cannot be shortened, is %w: %w", len(m.Body), export.ErrUnavailable, err)
		}
		if errors.Is(err, export.ErrUnavailable) && a.Waiting != nil {
			a.Waiting(id, err)
		}
		a.tell(ctx, id, err)
		return err
	})
}

// try counts an announcement of an outcome until the returned function is called. Only the last one
// to end calls Waiting with nil: a sweeper that gives up must not hide a worker that still waits.
func (a *Announcer) try(id export.ID) (done func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.trying == nil {
		a.trying = map[export.ID]int{}
	}
	a.trying[id]++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.trying[id]--; a.trying[id] > 0 {
			return
		}
		delete(a.trying, id)
		if a.Waiting != nil {
			a.Waiting(id, nil)
		}
	}
}

// publishShortened publishes an event, shortened as far as necessary, and returns the last version.
// told reports that the log says that the outcome is shortened.
func (a *Announcer) publishShortened(ctx context.Context, id export.ID, filter string, event shortenable, told *bool) (events.Message, error) {
	for {
		m, err := event.Encode(a.Source)
		if err != nil {
			return m, err
		}
		err = a.Publisher.PublishOnce(ctx, m.Subject, filter, outgoing(m))
		if !errors.Is(err, ErrTooLarge) || !event.shorten(a.Source, len(m.Body)*3/4) {
			return m, err
		}
		if !*told {
			a.Log.WarnContext(ctx, "outcome shortened: the broker takes no event of its size", "project_id", id.Project, "request_id", id.Request,
				"bytes", len(m.Body), "error", err)
			*told = true
		}
	}
}

// tell logs at growing intervals that the broker does not accept outcomes, once for all outcomes of
// this process.
func (a *Announcer) tell(ctx context.Context, id export.ID, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remind.After = 1
	if err == nil {
		if lasted, told := a.remind.End(); told {
			a.Log.InfoContext(ctx, "the broker accepts outcomes again", "after", lasted.Round(time.Second))
		}
		return
	}
	if lasted, due := a.remind.Due(); due {
		a.Log.WarnContext(ctx, "the broker accepts no outcomes", "for", lasted.Round(time.Second),
			"project_id", id.Project, "request_id", id.Request, "error", err)
	}
}

// untilDrained returns a context that ends with ctx or DrainTimeout after the process began to
// stop.
func (a *Announcer) untilDrained(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-ctx.Done():
			return
		case <-a.Draining: // nil: never
		}
		t := time.NewTimer(DrainTimeout)
		defer t.Stop()
		select {
		case <-ctx.Done():
		case <-t.C:
			cancel(errNotAccepted)
		}
	}()
	return ctx, func() { cancel(nil) }
}

var errNotAccepted = errors.New("the process stops, and the broker has not accepted the outcome: a sweeper announces it later")

// EncodeOutcome encodes the event that announces an outcome. It gives the same bytes for the same
// outcome in every process.
func EncodeOutcome(out export.Outcome, source string) (events.Message, error) {
	event, err := announcement(out)
	if err != nil {
		return events.Message{}, err
	}
	return event.Encode(source)
}

// announcement returns the event of an outcome. It is the same for the same outcome in every
// process.
func announcement(out export.Outcome) (shortenable, error) {
	var request *events.Requested
	if len(out.Payload) > 0 {
		request = new(events.Requested)
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
		return &failedEvent{Failed: events.Failed{
			RequestID: out.Request, ProjectID: out.Project, Attempts: out.Attempt,
			Code: out.Code, Permanent: out.Permanent, Message: out.Message, Request: request,
			StartedAt: out.StartedAt, FinishedAt: out.FinishedAt, DurationMS: duration,
			RequestedBy: out.RequestedBy, Metadata: out.Metadata, Trace: trace,
		}}, nil
	}
	a := out.Artifact
	var storage []events.Location
	for _, c := range a.Copies {
		storage = append(storage, events.Location{
			Destination: c.Destination, Status: events.LocationStatus(c.Status), URI: c.URI,
			Code: c.Code, Message: c.Message,
		})
	}
	return &completedEvent{Completed: events.Completed{
		RequestID: out.Request, ProjectID: out.Project, Attempt: out.Attempt,
		Format: events.Format(a.Format), Compression: events.Compression(a.Compression), CompressionLevel: events.CompressionLevel(a.Level),
		Encryption: events.Encryption(a.Encryption), Schemas: a.Schemas,
		SizeBytes: a.SizeBytes, StoredBytes: a.StoredBytes, SHA256: a.SHA256, Storage: storage,
		Tables: int64(a.Tables), Rows: a.Rows, ServerVersion: a.ServerVersion, PgDumpVersion: a.PgDumpVersion,
		Warnings: a.Warnings, Recipients: a.Recipients, Receipt: receipt(a), StartedAt: out.StartedAt, FinishedAt: out.FinishedAt, DurationMS: duration,
		RequestedBy: out.RequestedBy, Metadata: out.Metadata, Request: request, Trace: trace,
	}}, nil
}

// receipt returns the reference to an artifact's receipt; nil if it has none.
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
