package handlers

import (
	"context"
	"crypto/sha256"
	"errors"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// Exporter runs requests.
type Exporter interface {
	Run(ctx context.Context, req export.Request, d delivery.Delivery, g export.Group) (export.Outcome, error)
}

// Requested handles backup.requested.<project_id>: it runs the export and announces its outcome. A
// nil return means that the message may be acknowledged.
type Requested struct {
	Exporter  Exporter
	Announcer export.Announcer
	Groups    *Groups // default: each request has its own dump
}

// Handle is a Watermill NoPublishHandlerFunc.
func (h *Requested) Handle(msg *message.Message) error {
	d := delivery.Of(msg.Context())
	group := h.Groups.of(msg.Context())
	out, err := h.Exporter.Run(msg.Context(), decode(incoming(msg), d), d, group)
	if _, waits := errors.AsType[*export.TurnError](err); waits && group.Member != nil {
		h.Groups.shrink()
	}
	return decide(msg.Context(), h.Announcer, out, err)
}

// decide announces the outcome of a run, or returns the decision about the message of a run without one.
func decide(ctx context.Context, a export.Announcer, out export.Outcome, err error) error {
	if errors.Is(err, export.ErrSuperseded) {
		return delivery.ErrDrop
	}
	if turn, ok := errors.AsType[*export.TurnError](err); ok {
		return delivery.Snooze(turn.Wait)
	}
	if err != nil {
		return err
	}
	return a.Announce(ctx, out)
}

// maxKept bounds the recorded part of a body that could not be decoded.
const maxKept = 64 << 10

// decode returns the Request of any message. A message that breaks the contract becomes a refusal.
// Its ids are the valid ids in the message, or are derived from the message's stream and sequence.
func decode(m events.Message, d delivery.Delivery) export.Request {
	r, err := events.Decode(m)
	req := export.Request{
		ID:          export.ID{Project: r.ProjectID, Request: r.RequestID},
		Schemas:     r.Schemas,
		Format:      export.Format(r.Format),
		Compression: export.Compression(r.Compression),
		Level:       export.Level(r.CompressionLevel),
		Jobs:        r.Jobs,
		StoragePath: r.StoragePath,
		Recipients:  r.Recipients,
		RequestedBy: r.RequestedBy,
		Metadata:    r.Metadata,
		Trace:       export.Trace{Parent: r.Trace.Parent, State: r.Trace.State},
	}
	return complete(req, m, d, err, func(id string) ([]byte, error) {
		r.RequestID = id
		return r.Canonical()
	})
}

// complete returns req with its missing ids and with its payload, which canonical returns for the request's id. If
// err is not nil, or canonical fails, the request becomes a refusal.
func complete(req export.Request, m events.Message, d delivery.Delivery, err error, canonical func(id string) ([]byte, error)) export.Request {
	if req.Project == "" {
		req.Project = events.NoProject
	}
	if req.Request == "" {
		req.Request = d.EventID
	}
	if err == nil {
		req.Payload, err = canonical(req.Request)
	}
	if err != nil {
		req.Refusal = &export.Fault{Code: codes.InvalidRequest, Message: err.Error()}
		req.Payload, req.Digest = m.Body[:min(len(m.Body), maxKept)], sha256.Sum256(m.Body)
		return req
	}
	req.Digest = sha256.Sum256(req.Payload)
	return req
}

// DecodeStored returns the Request of a queued message, the same as for its deliveries.
func DecodeStored(d delivery.Delivery, header map[string][]string, body []byte) export.Request {
	return decode(events.Message{Subject: d.Subject, Header: singleHeaders(header), Body: body}, d)
}
