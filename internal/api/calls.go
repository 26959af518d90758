package api

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/broker"
)

// ServiceName is the name of the API as a NATS service.
const ServiceName = "pgcourier-api"

const (
	// callTimeout bounds one call over NATS. Callers wait five seconds by default.
	callTimeout = 10 * time.Second
	// callGroup is the queue group that all processes share.
	callGroup = "pgcourier-api"
)

// call is the message of one call over NATS.
type call struct {
	project string
	header  nats.Header
	body    []byte
}

// calling is an operation for callers over NATS. It runs the same code as the operation over HTTP.
type calling struct {
	name, about string
	run         func(ctx context.Context, c call) (answer any, err error)
}

func (a *API) callings() []calling {
	return []calling{
		{events.CallRequest, "Ask for an export: the body is that of backup.requested", func(ctx context.Context, c call) (any, error) {
			in := &createInput{ProjectPath: ProjectPath{c.project}, RawBody: c.body, header: contractHeader(c.each)}
			out, err := a.create(ctx, in)
			if err != nil {
				return nil, err
			}
			return out.Body, nil
		}},
		{events.CallStatus, "Look at an export: its request_id", func(ctx context.Context, c call) (any, error) {
			id, err := exportOf(c)
			if err != nil {
				return nil, err
			}
			out, err := a.get(ctx, id)
			if err != nil {
				return nil, err
			}
			return out.Body, nil
		}},
		{events.CallCancel, "Cancel an export: its request_id", func(ctx context.Context, c call) (any, error) {
			id, err := exportOf(c)
			if err != nil {
				return nil, err
			}
			out, err := a.cancel(ctx, id)
			if err != nil {
				return nil, err
			}
			return out.Body, nil
		}},
		{events.CallList, "List exports: state, since, limit, cursor, each of them optional", func(ctx context.Context, c call) (any, error) {
			in, err := pageOf(c)
			if err != nil {
				return nil, err
			}
			out, err := a.list(ctx, in)
			if err != nil {
				return nil, err
			}
			return out.Body, nil
		}},
	}
}

// ServeCalls registers the instances of a NATS micro service, with discovery and statistics. They
// answer calls until the connection is drained. process is the name of this process in the
// discovery. ServeCalls returns once the broker has the subscriptions.
//
// The project in the subject of a call is the authority. The broker's rights decide which
// connections may publish there, so a call needs no token.
func (a *API) ServeCalls(nc *nats.Conn, process string) error {
	for range broker.ServiceInstances {
		s, err := micro.AddService(nc, micro.Config{
			Name: ServiceName, Version: serviceVersion(a.Version), Description: "Asks for exports of PostgreSQL projects, shows and cancels them.",
			Metadata: map[string]string{"process": process}, QueueGroup: callGroup,
		})
		if err != nil {
			return fmt.Errorf("answer calls over NATS: %w", err)
		}
		for _, c := range a.callings() {
			err := s.AddEndpoint(c.name, micro.HandlerFunc(func(r micro.Request) { a.answer(c, r) }),
				micro.WithEndpointSubject(events.CallSubject("*", c.name)), micro.WithEndpointMetadata(map[string]string{"about": c.about}))
			if err != nil {
				return fmt.Errorf("answer calls over NATS: %w", err)
			}
		}
	}
	if err := nc.Flush(); err != nil {
		return fmt.Errorf("answer calls over NATS: %w", err)
	}
	return nil
}

// semver is the form of a version that package micro accepts.
var semver = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z][0-9A-Za-z.-]*)?$`)

// serviceVersion returns the program's version, or 0.0.0 if it has another form.
func serviceVersion(v string) string {
	if v = strings.TrimPrefix(v, "v"); semver.MatchString(v) {
		return v
	}
	return "0.0.0"
}

// answer carries out one call within callTimeout and sends its answer.
func (a *API) answer(c calling, r micro.Request) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	route := events.CallSubject("{project}", c.name)
	ctx, end := a.Span(ctx, route, nats.Header(r.Headers()))
	project := strings.Split(r.Subject(), ".")[2] // the subscription has four tokens
	if !broker.IsInbox(r.Reply()) {
		a.Log.WarnContext(ctx, "call over NATS without an inbox for the answer, not carried out", "route", route)
		end(http.StatusBadRequest)
		return
	}
	caller := Caller{Grant: access.Grant{Subject: "nats:" + project, Projects: []string{project}, Scopes: []access.Scope{access.Export, access.Read}}}
	status, size, err := a.carryOut(context.WithValue(ctx, callerKey{}, caller), c, call{project, nats.Header(r.Headers()), r.Data()}, r)
	if err != nil {
		a.Log.WarnContext(ctx, "call over NATS not answered", "route", route, "error", err)
	}
	took := time.Since(begun)
	end(status)
	a.Observe("NATS "+route, status, took)
	a.Log.InfoContext(ctx, "call", "method", "NATS", "route", route, "status", status, "bytes", size, "duration", took, "subject", caller.Subject, "address", "")
}

// carryOut carries out one call and sends its result. A panic is answered as a failure. The error
// is one of the sending.
func (a *API) carryOut(ctx context.Context, c calling, of call, r micro.Request) (status, size int, err error) {
	var out any
	failed := func() (failure error) {
		defer func() {
			if fault := recover(); fault != nil {
				failure = a.internal(ctx, slog.String("panic", fmt.Sprint(fault)), slog.String("stack", string(debug.Stack())))
			}
		}()
		if !events.ValidProject(of.project) {
			return errNoProject
		}
		if failure = a.limits.take(callerOf(ctx).Subject); failure == nil {
			out, failure = c.run(ctx, of)
		}
		return failure
	}()
	var body []byte
	if failed == nil {
		if body, failed = json.Marshal(out); failed == nil {
			return http.StatusOK, len(body), r.Respond(body)
		}
	}
	p := a.problemOf(ctx, failed)
	if body, err = json.Marshal(p); err != nil {
		return p.Status, 0, err
	}
	header := micro.Headers{"Content-Type": {problemMedia}}
	if p.retryAfter > 0 {
		header["Retry-After"] = []string{strconv.Itoa(p.retryAfter)}
	}
	return p.Status, len(body), r.Error(string(p.Code), p.Detail, body, micro.WithHeaders(header))
}

// exportOf decodes the body of a call about one export.
func exportOf(c call) (*ExportPath, error) {
	in, err := events.DecodeExportCall(c.project, events.Message{Header: contractHeader(c.each), Body: c.body})
	if err != nil {
		return nil, err
	}
	return &ExportPath{ProjectPath{c.project}, in.RequestID}, nil
}

// pageOf decodes the body of a call for a page.
func pageOf(c call) (*listInput, error) {
	in, err := events.DecodeListCall(events.Message{Header: contractHeader(c.each), Body: c.body})
	if err != nil {
		return nil, err
	}
	return &listInput{ProjectPath{c.project}, in.State, in.Since, in.Limit, in.Cursor}, nil
}

// each calls do for every header value, also for the further values of a repeated header.
func (c call) each(do func(name, value string)) {
	for name, values := range c.header {
		for _, v := range values {
			do(name, v)
		}
	}
}
