package api

import (
	"context"
	"crypto/sha256"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

type createInput struct {
	ProjectPath
	// The fields of headers are for the OpenAPI document only: decode reads header.
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
		return nil, a.notAccepted(ctx, err, r.RequestID)
	}
	return &acceptedOutput{e.Links.Self, e}, nil
}

// notAccepted returns the problem for a request that was not accepted, with its id if it can be sent again.
func (a *API) notAccepted(ctx context.Context, err error, id string) *Problem {
	p := *a.problemOf(ctx, err) // a copy: constant problems are shared
	if p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable {
		p.RequestID = id
	}
	return &p
}

// decode reads a request as strictly as a worker does.
func (a *API) decode(ctx context.Context, in *createInput) (events.Requested, error) {
	m := events.Message{Header: in.header, Body: in.RawBody}
	if len(in.RawBody) == 0 {
		m.Body = []byte("{}")
	}
	r, err := events.DecodeFor(in.Project, m)
	if r.RequestID, err = in.id("request_id", r.RequestID, err); err != nil {
		return r, err
	}
	if r.RequestedBy == "" {
		r.RequestedBy = callerOf(ctx).Subject
	}
	a.trace(ctx, &r.Trace)
	return r, nil
}

// id returns the id of a request: that of the header or of the body's field, or a fresh one. err is that of the
// body's decoding: a header that is given twice is told first.
func (in *createInput) id(field, body string, err error) (string, error) {
	key, given := in.header[idempotencyKey]
	_, twice := in.header[strings.ToUpper(idempotencyKey)]
	switch {
	case twice:
		return body, invalidParameter("Idempotency-Key", "is given more than once")
	case err != nil:
		return body, err
	case given && !events.ValidRequest(key):
		return body, invalidParameter("Idempotency-Key", "must be 1 to 100 letters, digits, \"_\" or \"-\"")
	case given && body != "" && key != body:
		return body, invalidParameter("Idempotency-Key", "contradicts "+field+" of the body")
	case given:
		return key, nil
	case body == "":
		return events.NewRequestID(time.Now()), nil
	}
	return body, nil
}

// trace replaces the trace context of a request by that of the call's span.
func (a *API) trace(ctx context.Context, t *events.Trace) {
	if a.Trace == nil {
		return
	}
	if parent, state := a.Trace(ctx); parent != "" {
		*t = events.Trace{Parent: parent, State: state}
	}
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
	err = a.connected()
	if err == nil {
		_, err = a.Client.RequestBackup(ctx, r)
	}
	if err != nil {
		if verdict == ledger.AskNew {
			a.notPublished(context.WithoutCancel(ctx), asked, err)
		}
		return Export{}, err
	}
	return a.waiting(asked), nil
}

// notPublished records why a new request was not published: the broker refused it, or did not answer. The worker
// that gets it, or giveUp, tells later what an unanswered one came to.
func (a *API) notPublished(ctx context.Context, asked ledger.Asked, why error) {
	record := func() error { return a.Ledger.AskUnanswered(ctx, asked.ID) }
	if a.refused(why) {
		record = func() error { return a.Ledger.TakeBack(ctx, asked) }
	}
	if err := record(); err != nil {
		a.Log.WarnContext(ctx, "request that was not published is still recorded as asked for", "project_id", asked.Project, "request_id", asked.Request, "error", err)
	}
}
