package telemetry

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// APICall counts a call of the HTTP API. route is the matched pattern, never the path.
func (t *Telemetry) APICall(route string, status int, took time.Duration) {
	t.metrics.apiCalls.WithLabelValues(route, strconv.Itoa(status)).Inc()
	t.metrics.apiDuration.WithLabelValues(route).Observe(took.Seconds())
}

// Download counts a transfer of an export: sent, cut or redirected.
func (t *Telemetry) Download(byLink bool, result string, bytes int64) {
	by := "caller"
	if byLink {
		by = "link"
	}
	t.metrics.transfers.WithLabelValues(by, result).Inc()
	t.metrics.transferBytes.WithLabelValues(by).Add(float64(bytes))
}

// API returns next with a span for each call of the HTTP API, in the trace of its traceparent.
func (t *Telemetry) API(next http.Handler) http.Handler {
	if t.provider == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := traceContext.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := t.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(semconv.HTTPRequestMethodKey.String(r.Method)))
		defer span.End()
		status := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		r = r.WithContext(ctx)
		next.ServeHTTP(status, r)
		span.SetAttributes(semconv.HTTPResponseStatusCode(status.status))
		if _, route, ok := strings.Cut(r.Pattern, " "); ok {
			span.SetName(r.Pattern)
			span.SetAttributes(semconv.HTTPRoute(route))
		}
		if status.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(status.status))
		}
	})
}

// Call begins the span of a call over NATS in the caller's trace, by the headers of its message. The
// returned function ends it with the status that the answer would have over HTTP.
func (t *Telemetry) Call(ctx context.Context, name string, header map[string][]string) (context.Context, func(status int)) {
	if t.provider == nil {
		return ctx, func(int) {}
	}
	carrier := propagation.MapCarrier{}
	for key, values := range header {
		if len(values) == 1 {
			carrier[strings.ToLower(key)] = values[0]
		}
	}
	ctx, span := t.tracer.Start(traceContext.Extract(ctx, carrier), name, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(semconv.MessagingSystemKey.String("nats"), semconv.MessagingDestinationTemplate(name)))
	return ctx, func(status int) {
		span.SetAttributes(semconv.HTTPResponseStatusCode(status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(status))
		}
		span.End()
	}
}

// TraceOf returns the span of ctx as W3C Trace Context; empty if there is none.
func TraceOf(ctx context.Context) (traceparent, tracestate string) {
	h := propagation.MapCarrier{}
	traceContext.Inject(ctx, h)
	return h["traceparent"], h["tracestate"]
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap returns the wrapped writer, for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
