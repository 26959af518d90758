package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/replay"
)

const problemMedia = "application/problem+json"

// Problem is an RFC 9457 problem: an error and its response.
type Problem struct {
	Type   string `json:"type" doc:"urn:pgcourier:problem: and the code" example:"urn:pgcourier:problem:queue_full"`
	Title  string `json:"title" doc:"The status in words"`
	Status int    `json:"status" doc:"HTTP status"`
	// Code is a code of package codes, or one of this package.
	Code      codes.Code `json:"code" doc:"A stable machine word for the problem. New words may be added: treat one that you do not know by the status." example:"queue_full"`
	Detail    string     `json:"detail" doc:"The cause for a human"`
	Field     string     `json:"field,omitempty" doc:"The field of the body, or the parameter, that is wrong"`
	RequestID string     `json:"request_id,omitempty" doc:"The request that was being asked for. Asking again with it as Idempotency-Key is safe."`
	ID        string     `json:"id,omitempty" doc:"Names the problem in the server's log"`

	retryAfter int // seconds; 0: no header
}

// The codes that events do not have.
const (
	codeUnauthorized  codes.Code = "unauthorized"
	codeForbidden     codes.Code = "forbidden"
	codeNotFound      codes.Code = "not_found"
	codeQueueFull     codes.Code = "queue_full"
	codeRateLimited   codes.Code = "rate_limited"
	codeUnavailable   codes.Code = "unavailable"
	codeTooLarge      codes.Code = "too_large"
	codeTooLate       codes.Code = "too_late"
	codeNotFailed     codes.Code = "not_failed"
	codeNotReplayable codes.Code = "not_replayable"
	codeNothingStored codes.Code = "nothing_stored"
	codeChanged       codes.Code = "changed_meanwhile"
	codeUnsupported   codes.Code = "unsupported"
)

// problemCodes returns every code that a Problem can have.
func problemCodes() []codes.Code {
	return []codes.Code{
		codes.InvalidRequest, codes.RequestConflict, codes.InternalError, codeUnauthorized, codeForbidden, codeNotFound, codeQueueFull,
		codeRateLimited, codeUnavailable, codeTooLarge, codeTooLate, codeNotFailed, codeNotReplayable, codeNothingStored, codeChanged,
		codeUnsupported,
	}
}

// The values of Retry-After, in seconds.
const (
	retryUnavailable = 5
	retryQueueFull   = 10
)

func problem(status int, code codes.Code, detail string) *Problem {
	detail = strings.Map(func(r rune) rune { // libraries repeat what they cannot read
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, detail)
	return &Problem{Type: "urn:pgcourier:problem:" + string(code), Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// The problems with a constant text.
var (
	errUnauthorized = problem(http.StatusUnauthorized, codeUnauthorized, "a valid bearer token is needed")
	errForbidden    = problem(http.StatusForbidden, codeForbidden, "the token is not for this project and this call")
	errNotFound     = problem(http.StatusNotFound, codeNotFound, "there is no such export")
	errNoRestore    = problem(http.StatusNotFound, codeNotFound, "there is no such restore")
	errNoProject    = problem(http.StatusUnprocessableEntity, codes.InvalidRequest, "the subject names no project: a project id is 1 to 100 letters, digits, \"_\" or \"-\"")
	errNoRoute      = problem(http.StatusNotFound, codeNotFound, "there is no such resource")
	errTooLarge     = problem(http.StatusRequestEntityTooLarge, codeTooLarge, "the body is larger than 65536 bytes")
)

// Error implements error.
func (p *Problem) Error() string { return string(p.Code) + ": " + p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return problemMedia }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="pgcourier"`)
	}
	return h
}

// writeProblem answers with a problem outside of an operation.
func writeProblem(w http.ResponseWriter, p *Problem) {
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", problemMedia)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // fails only when the caller has gone
}

// toProblem makes a Problem of the library's own refusals: of a parameter, a body, a media type.
func toProblem(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := problem(m.Status, codes.InvalidRequest, m.Detail)
	switch {
	case m.Status == http.StatusRequestEntityTooLarge:
		p = errTooLarge
	case m.Status >= http.StatusInternalServerError:
		p = problem(m.Status, codes.InternalError, "the server failed")
	case len(m.Errors) > 0:
		_, p.Field, _ = strings.Cut(m.Errors[0].Location, ".")
		p.Detail = m.Errors[0].Message
	}
	return p, nil
}

// problemOf returns the problem for an error. It logs the errors that no caller can fix, with the id of
// the problem.
func (a *API) problemOf(ctx context.Context, err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if bad, ok := errors.AsType[*events.InvalidError](err); ok {
		p := problem(http.StatusUnprocessableEntity, codes.InvalidRequest, bad.Error())
		p.Field = bad.Field
		return p
	}
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	case is(events.ErrQueueFull):
		p := problem(http.StatusTooManyRequests, codeQueueFull, "the project has as many requests as may wait")
		p.retryAfter = retryQueueFull
		return p
	case is(events.ErrNoRestores):
		return problem(http.StatusNotImplemented, codeUnsupported, "this broker has no streams for restores: no restorer was ever set up")
	case is(replay.ErrUnknown, export.ErrUnknown):
		return errNotFound
	case is(broker.ErrNoSchedule):
		return problem(http.StatusNotFound, codeNotFound, "there is no such schedule")
	case is(replay.ErrNotFailed):
		return problem(http.StatusConflict, codeNotFailed, "the request has not failed")
	case is(replay.ErrNotReplayable):
		return problem(http.StatusConflict, codeNotReplayable, "the request cannot be replayed now: it could not be decoded, or a replay of it waits or runs")
	case is(export.ErrNothingStored):
		return problem(http.StatusConflict, codeNothingStored, "the request has not completed: there is no export to delete")
	case is(ErrNoNotice):
		return problem(http.StatusNotFound, codeNotFound, "there is no such notification, or its event is no longer kept")
	case is(ErrNoticeSent):
		return problem(http.StatusConflict, codeNotReplayable, "the notification was delivered: there is nothing to replay")
	case is(ErrNoticeChanged):
		return problem(http.StatusConflict, codeChanged, "the notification was changed meanwhile: it is being delivered, or another call has replayed it. Read it and try again")
	case is(ErrNoticeRight):
		return problem(http.StatusNotImplemented, codeUnsupported, "the broker's login of this server has no right to the notifications: run `pgcourier broker config` again, and load what it prints")
	case is(ledger.ErrTokenRight):
		return problem(http.StatusNotImplemented, codeUnsupported, "the database's login of this server may not make or revoke tokens: use `pgcourier token`, or run docs/least-privilege.sql again")
	case is(broker.ErrScheduleChanged):
		return problem(http.StatusConflict, codeChanged, "the schedule was changed meanwhile: read it and try again")
	case is(broker.ErrSchedulePattern):
		return problem(http.StatusUnprocessableEntity, codes.InvalidRequest, "the broker refuses the schedule's times")
	case is(broker.ErrScheduleZone):
		return problem(http.StatusUnprocessableEntity, codes.InvalidRequest, "the broker does not know the time zone")
	case is(broker.ErrNoSchedules, broker.ErrNotSetUp):
		return problem(http.StatusNotImplemented, codeUnsupported, "this broker holds no schedules")
	case is(events.ErrUnavailable, export.ErrUnavailable, export.ErrLedgerUnavailable, broker.ErrUnreachable, context.DeadlineExceeded, context.Canceled,
		nats.ErrTimeout, nats.ErrNoResponders, nats.ErrConnectionClosed, nats.ErrDisconnected, jetstream.ErrJetStreamNotEnabled, jetstream.ErrStreamNotFound):
		a.Log.WarnContext(ctx, "call not served", "error", err)
		return errUnavailable()
	}
	return a.internal(ctx, slog.Any("error", err))
}

func errUnavailable() *Problem {
	p := problem(http.StatusServiceUnavailable, codeUnavailable, "the broker or the ledger does not answer: try again with the same Idempotency-Key")
	p.retryAfter = retryUnavailable
	return p
}

// internal returns the problem for a failure of the server. The log has the cause with the same id.
func (a *API) internal(ctx context.Context, attrs ...slog.Attr) *Problem {
	p := problem(http.StatusInternalServerError, codes.InternalError, "the server failed; its log has the cause under the id")
	p.ID = strings.ToLower(rand.Text())
	a.Log.LogAttrs(ctx, slog.LevelError, "call failed", append(attrs, slog.String("problem_id", p.ID))...)
	return p
}
