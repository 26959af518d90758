package handlers

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// Verifier restores a completed export and returns its finding: exactly one of the results is set.
// An error means that the verification could not run and says nothing about the export. If neither
// result is set, the export was deleted on purpose and nothing is announced.
type Verifier interface {
	Verify(ctx context.Context, c events.Completed) (*events.Verified, *events.VerificationFailed, error)
}

// Completed handles backup.completed for a verifier: it verifies the export and announces the
// result, each at most once for a request. Again does so once for each order.
type Completed struct {
	Verifier  Verifier
	Publisher Publisher
	// Source is the CloudEvents source of the events.
	Source string
	Log    *slog.Logger
}

// Handle is a Watermill NoPublishHandlerFunc. A verification that could not run is redelivered. At
// the last delivery it is logged as an error and dropped.
func (h *Completed) Handle(msg *message.Message) error {
	ctx := msg.Context()
	d := delivery.Of(ctx)
	out, err := events.DecodeOutcome(incoming(msg))
	if err != nil || out.Completed == nil {
		h.Log.WarnContext(ctx, "message is not a valid backup.completed, skipped", "subject", d.Subject, "error", err)
		return nil
	}
	log := h.Log.With("project_id", out.Completed.ProjectID, "request_id", out.Completed.RequestID)
	m, err := h.verify(ctx, *out.Completed, time.Time{}, log)
	if err != nil {
		if d.Last && ctx.Err() == nil {
			log.ErrorContext(ctx, "export not verified: the verification could not be made", "deliveries", d.Number, "error", err)
			return nil
		}
		return fmt.Errorf("verify %s/%s: %w", out.Completed.ProjectID, out.Completed.RequestID, err)
	}
	if m == nil {
		return nil
	}
	return export.Retry(ctx, export.Wait{For: "the broker to take a verification", Log: log}, func(ctx context.Context) error {
		return h.Publisher.PublishOnce(ctx, m.Subject, m.Subject, outgoing(*m))
	})
}

// Again verifies a completed export once more, because that was ordered at a time, and announces the
// result. The error means that the verification could not be made, or not be announced.
func (h *Completed) Again(ctx context.Context, c events.Completed, ordered time.Time) error {
	log := h.Log.With("project_id", c.ProjectID, "request_id", c.RequestID, "ordered_at", ordered)
	m, err := h.verify(ctx, c, ordered, log)
	if err != nil || m == nil {
		return err
	}
	return export.Retry(ctx, export.Wait{For: "the broker to take a verification", Log: log}, func(ctx context.Context) error {
		return h.Publisher.Publish(ctx, m.Subject, m.Header[events.HeaderID], outgoing(*m))
	})
}

// verify verifies an export and returns the event with the result; nil: there is nothing to announce.
func (h *Completed) verify(ctx context.Context, c events.Completed, ordered time.Time, log *slog.Logger) (*events.Message, error) {
	verified, failed, err := h.Verifier.Verify(ctx, c)
	if err != nil {
		return nil, err
	}
	var m events.Message
	switch {
	case verified != nil:
		verified.OrderedAt = ordered
		log.InfoContext(ctx, "export verified", "rows", verified.Rows, "tables", verified.Tables, "duration_ms", verified.DurationMS)
		m, err = verified.Encode(h.Source)
	case failed != nil:
		failed.OrderedAt = ordered
		log.ErrorContext(ctx, "export does not verify", "destination", failed.Destination, "code", failed.Code, "reason", failed.Message)
		m, err = failed.Encode(h.Source)
	default:
		return nil, nil //nolint:nilnil // nothing to announce is not an error
	}
	if err != nil {
		return nil, fmt.Errorf("encode the verification: %w", err)
	}
	return &m, nil
}
