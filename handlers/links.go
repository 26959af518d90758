package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/handover"
)

// LinkEvents publishes the events of links and downloads. It does not wait for an unreachable
// broker: the next look retries.
type LinkEvents struct {
	Publisher Publisher
	// Source is the CloudEvents source of the events.
	Source string
	// KeyID names the current key for links.
	KeyID string
}

var _ handover.Announcer = (*LinkEvents)(nil)

// Announce implements handover.Announcer.
func (e *LinkEvents) Announce(ctx context.Context, c handover.Change) error {
	m, err := e.encode(c)
	if err != nil {
		return fmt.Errorf("%w: %w", handover.ErrNoEvent, err)
	}
	return e.Publisher.Publish(ctx, m.Subject, m.Header[events.HeaderID], outgoing(m))
}

func (e *LinkEvents) encode(c handover.Change) (events.Message, error) {
	trace := events.Trace{Parent: c.Trace.Parent, State: c.Trace.State}
	l := c.Link
	switch {
	case c.Download != nil:
		d := c.Download
		return events.Downloaded{
			RequestID: d.Request, ProjectID: d.Project, LinkID: d.Link, DownloadID: d.DownloadID, DownloadedBy: d.By, Address: d.Address,
			UserAgent: d.UserAgent, Redirected: d.Redirected, Bytes: d.Bytes, Whole: d.Whole, StartedAt: d.StartedAt, FinishedAt: d.FinishedAt, Trace: trace,
		}.Encode(e.Source)
	case c.Ended && l.RevokedAt != nil && !l.RevokedAt.After(l.ExpiresAt):
		return events.LinkRevoked{
			RequestID: l.Request, ProjectID: l.Project, LinkID: l.ID, Downloads: l.Downloads, RevokedBy: l.RevokedBy, RevokedAt: *l.RevokedAt, Trace: trace,
		}.Encode(e.Source)
	case c.Ended:
		return events.LinkExpired{RequestID: l.Request, ProjectID: l.Project, LinkID: l.ID, Downloads: l.Downloads, ExpiredAt: l.ExpiresAt, Trace: trace}.Encode(e.Source)
	}
	return events.LinkIssued{
		RequestID: l.Request, ProjectID: l.Project, LinkID: l.ID, Attempt: l.Attempt, KeyID: e.KeyID, MaxDownloads: l.MaxDownloads,
		NotifyEmail: l.NotifyEmail, IssuedBy: l.IssuedBy, IssuedAt: l.IssuedAt, ExpiresAt: l.ExpiresAt, Trace: trace,
	}.Encode(e.Source)
}

// ReadDelivery returns the link that deliver in a request asks for.
func ReadDelivery(payload []byte) (handover.IssueRequest, error) {
	var r events.Requested
	if err := json.Unmarshal(payload, &r); err != nil {
		return handover.IssueRequest{}, err
	}
	if r.Deliver == nil {
		return handover.IssueRequest{}, errors.New("the request asks for no link")
	}
	by := r.RequestedBy
	if by == "" {
		by = "request"
	}
	return handover.IssueRequest{
		ID: export.ID{Project: r.ProjectID, Request: r.RequestID}, By: by, TTL: r.Deliver.Lifetime(),
		MaxDownloads: r.Deliver.MaxDownloads, NotifyEmail: r.NotifyEmail,
	}, nil
}

// CheckLink checks the texts of a link against the contract, so that its events can be decoded.
func CheckLink(r handover.IssueRequest) error {
	if r.By == "" {
		return errors.New("its issuer is missing")
	}
	_, err := events.Requested{ProjectID: r.Project, RequestedBy: r.By, NotifyEmail: r.NotifyEmail}.Normalize()
	return err
}

// Linked returns the link of an event, to make its token.
func Linked(e events.LinkIssued) handover.Link {
	return handover.Link{
		ID: e.LinkID, Project: e.ProjectID, Request: e.RequestID, Attempt: e.Attempt, MaxDownloads: e.MaxDownloads, ExpiresAt: e.ExpiresAt,
	}
}
