package handlers

import (
	"context"
	"fmt"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/retention"
)

// Expiries publishes backup.expiring and backup.expired. It does not wait for an unreachable
// broker: the next run of the pruner retries.
type Expiries struct {
	Publisher Publisher
	// Source is the CloudEvents source of the events.
	Source string
}

var _ retention.Announcer = (*Expiries)(nil)

// Expiring implements retention.Announcer.
func (e *Expiries) Expiring(ctx context.Context, n retention.Notice) error {
	copies := []events.StoredCopy{}
	for _, c := range n.Copies {
		if c.Status != export.NotStored {
			copies = append(copies, events.StoredCopy{Destination: c.Destination, URI: c.URI})
		}
	}
	m, err := events.Expiring{
		RequestID: n.Request, ProjectID: n.Project, Reason: n.Reason, WarnedAt: n.WarnedAt, ExpiresAt: n.DeleteAt, CompletedAt: n.FinishedAt,
		StoredBytes: n.StoredBytes, Copies: copies, Trace: events.Trace{Parent: n.Trace.Parent, State: n.Trace.State},
	}.Encode(e.Source)
	if err != nil {
		return fmt.Errorf("encode the warning of %s: %w", n.ID, err)
	}
	return e.Publisher.Publish(ctx, m.Subject, m.Header[events.HeaderID], outgoing(m))
}

// Expired implements retention.Announcer. The broker refuses a second expired event of a request.
func (e *Expiries) Expired(ctx context.Context, g retention.Gone) error {
	copies := []events.ExpiredCopy{}
	for _, r := range g.Results {
		copies = append(copies, events.ExpiredCopy{Destination: r.Destination, Result: r.Result})
	}
	m, err := events.Expired{
		RequestID: g.Request, ProjectID: g.Project, Reason: g.Expiry.Reason, CompletedAt: g.FinishedAt, ExpiredAt: g.DeletedAt,
		StoredBytes: g.StoredBytes, Copies: copies, Trace: events.Trace{Parent: g.Trace.Parent, State: g.Trace.State},
	}.Encode(e.Source)
	if err != nil {
		return fmt.Errorf("encode the end of %s: %w", g.ID, err)
	}
	return e.Publisher.PublishOnce(ctx, m.Subject, m.Subject, outgoing(m))
}
