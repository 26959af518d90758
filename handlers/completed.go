package handlers

import (
	"context"
	"fmt"
	"log/slog"

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
// result, each at most once for a request.
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
		h.Log.WarnContext(ctx, "not a backup.completed, passed over", "subject", d.Subject, "error", err)
		return nil
	}
	log := h.Log.With("project_id", out.Completed.ProjectID, "request_id", out.Completed.RequestID)
	verified, failed, err := h.Verifier.Verify(ctx, *out.Completed)
	if err != nil {
		if d.Last && ctx.Err() == nil {
			log.ErrorContext(ctx, "export not verified: the verification could not be made", "deliveries", d.Number, "error", err)
			return nil
		}
		return fmt.Errorf("verify %s/%s: %w", out.Completed.ProjectID, out.Completed.RequestID, err)
	}
	var m events.Message
	switch {
	case verified != nil:
		log.InfoContext(ctx, "export verified", "rows", verified.Rows, "tables", verified.Tables, "duration_ms", verified.DurationMS)
		m, err = verified.Encode(h.Source)
	case failed != nil:
		log.ErrorContext(ctx, "export does not verify", "destination", failed.Destination, "code", failed.Code, "reason", failed.Message)
		m, err = failed.Encode(h.Source)
	default:
		return nil
	}
	if err != nil {
		return fmt.Errorf("encode the verification: %w", err)
	}
	return export.Retry(ctx, export.Wait{For: "the broker to take a verification", Log: log}, func(ctx context.Context) error {
		return h.Publisher.PublishOnce(ctx, m.Subject, m.Subject, outgoing(m))
	})
}
