package e2e_test

import (
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/pgcourier/pgcourier/events"
)

// A caller's traceparent, over HTTP and over NATS, is continued by the span of the call, by the worker
// and by the outcome in the stream.
func TestOneTraceRunsFromACallOfTheAPIToTheOutcome(t *testing.T) {
	t.Parallel()
	p, r := setup(t), newReceiver(t)
	s := p.startAPI(r.settings("api")...)
	s.awaitLog("API answers calls over NATS")
	p.start(r.settings("worker")...)
	tok, nc := p.token("acme", "export"), p.gateway()
	tracer, stop := r.gateway(t)
	defer stop()
	for i, c := range []struct {
		name, status string
		call         func(id string, carrier propagation.MapCarrier)
	}{
		{"POST /v1/projects/{project}/exports", "202", func(id string, carrier propagation.MapCarrier) {
			status, _, text := s.call("POST", "/v1/projects/acme/exports", tok, "", "Idempotency-Key", id, "traceparent", carrier.Get("traceparent"))
			if status != http.StatusAccepted {
				t.Fatalf("%d %s", status, text)
			}
		}},
		{"backup.api.{project}.request", "200", func(id string, carrier propagation.MapCarrier) {
			m := nats.NewMsg(events.CallSubject("acme", events.CallRequest))
			m.Header.Set("Idempotency-Key", id)
			m.Header.Set("traceparent", carrier.Get("traceparent"))
			answer, err := nc.RequestMsg(m, timeout)
			if err != nil || answer.Header.Get("Nats-Service-Error-Code") != "" {
				t.Fatalf("%v, %v", answer, err)
			}
		}},
	} {
		id, carrier := "traced-"+strconv.Itoa(i), propagation.MapCarrier{}
		ctx, root := tracer.Start(t.Context(), "click")
		propagation.TraceContext{}.Inject(ctx, carrier)
		c.call(id, carrier)
		root.End()
		p.outcomes++
		p.completed("acme", id)
		traceID := root.SpanContext().TraceID().String()
		path := "gateway: click\napi: " + c.name + "\nworker: process backup.requested"
		eventually(t, "the path from the caller to the worker", func() bool {
			found := r.named(traceID, "process backup.requested")
			return len(found) == 1 && r.path(found[0]) == path
		})
		call := r.named(traceID, c.name)[0]
		if call.Kind != tracepb.Span_SPAN_KIND_SERVER || call.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR || statusOf(call) != c.status {
			t.Errorf("%s: %v, %v, %s", c.name, call.Kind, call.Status, statusOf(call))
		}
		m, _ := p.announced(uint64(i) + 1)
		told := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": m.Header.Get("traceparent")})
		sent := trace.SpanContextFromContext(told).SpanID().String()
		eventually(t, "the span of the outcome", func() bool {
			found := r.named(traceID, "send backup.completed")
			return len(found) == 1 && hex.EncodeToString(found[0].SpanId) == sent && strings.HasPrefix(r.path(found[0]), path)
		})
	}
	// A call that is refused has a span too.
	ctx, root := tracer.Start(t.Context(), "click")
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	root.End()
	if status, _, text := s.call("GET", "/v1/projects/acme/exports", tok, "", "traceparent", carrier.Get("traceparent")); status != http.StatusForbidden {
		t.Errorf("%d %s", status, text)
	}
	traceID := root.SpanContext().TraceID().String()
	const list = "GET /v1/projects/{project}/exports"
	eventually(t, "the span of a refused call", func() bool { return len(r.named(traceID, list)) == 1 })
	if span := r.named(traceID, list)[0]; statusOf(span) != "403" || span.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("%v, %s", span.Status, statusOf(span))
	}
}

// statusOf returns the status of a call's answer, as its span has it.
func statusOf(s span) string {
	for _, a := range s.Attributes {
		if a.Key == "http.response.status_code" {
			return strconv.FormatInt(a.Value.GetIntValue(), 10)
		}
	}
	return ""
}
