package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgcourier/pgcourier/internal/export"
)

// ErrTracing says that the OTEL_ variables cannot be followed.
var ErrTracing = errors.New("tracing is not configured well")

const (
	scope = "github.com/pgcourier/pgcourier"
	// exportTimeout bounds one batch. The SDK's default is 30 s, during which a receiver
	// that hangs would keep the queue of 2048 spans from being emptied.
	exportTimeout = 5 * time.Second
	// shutdownTimeout bounds what a receiver that hangs can add to the end of a process.
	shutdownTimeout = 3 * time.Second
)

// The attributes of spans that no convention names.
const (
	attrProject     = attribute.Key("pgcourier.project_id")
	attrRequest     = attribute.Key("pgcourier.request_id")
	attrAttempt     = attribute.Key("pgcourier.attempt")
	attrDelivery    = attribute.Key("pgcourier.delivery")
	attrFormat      = attribute.Key("pgcourier.format")
	attrSchemas     = attribute.Key("pgcourier.schemas")
	attrDestination = attribute.Key("pgcourier.destination")
	attrBytes       = attribute.Key("pgcourier.bytes")
	attrChannel     = attribute.Key("pgcourier.channel")
	attrVerdict     = attribute.Key("pgcourier.verdict")
)

// startTracing sets the tracer up if a receiver is named.
func (t *Telemetry) startTracing(ctx context.Context) error {
	env := t.config.Getenv
	endpoint := env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	if endpoint == "" {
		endpoint = env("OTEL_EXPORTER_OTLP_ENDPOINT")
	}
	if endpoint == "" || strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") || env("OTEL_TRACES_EXPORTER") == "none" {
		return nil
	}
	// The exporter itself would fall back to localhost, and say so on standard error.
	address, err := url.Parse(endpoint)
	if err != nil || address.Host == "" || address.Scheme != "http" && address.Scheme != "https" {
		return fmt.Errorf("%w: the OTLP endpoint is not a URL such as http://collector:4318", ErrTracing)
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		if p := env(name); p != "" && p != "http/protobuf" {
			return fmt.Errorf("%w: %s: %q is not http/protobuf, the only supported protocol", ErrTracing, name, p)
		}
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"} {
		if !headersWellFormed(env(name)) {
			return fmt.Errorf("%w: %s is not a list such as name=value,name=value with its values escaped as in a URL", ErrTracing, name)
		}
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTracing, err)
	}
	host, _ := os.Hostname() // without one the resource has none
	about, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(
			semconv.ServiceName("pgcourier"), semconv.ServiceVersion(t.config.Version),
			semconv.HostName(host), semconv.ServiceInstanceID(fmt.Sprintf("%s/%d", host, os.Getpid())),
		),
		resource.WithFromEnv(), // the operator's OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win
	)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTracing, err)
	}
	var batching []sdktrace.BatchSpanProcessorOption
	if env("OTEL_BSP_EXPORT_TIMEOUT") == "" {
		batching = append(batching, sdktrace.WithExportTimeout(exportTimeout))
	}
	t.provider = sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&courier{SpanExporter: exporter, telemetry: t, path: strings.Trim(address.EscapedPath(), "/")}, batching...),
		sdktrace.WithResource(about),
	)
	t.tracer = t.provider.Tracer(scope, trace.WithInstrumentationVersion(t.config.Version))
	return nil
}

// headerNameCharacters are those of a token (RFC 9110, section 5.6.2).
const headerNameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"

// headersWellFormed reports whether the exporter takes all of a list of headers. It writes what it
// does not take to standard error, and this text holds the secrets.
func headersWellFormed(list string) bool {
	if list == "" {
		return true
	}
	for pair := range strings.SplitSeq(list, ",") {
		name, value, found := strings.Cut(pair, "=")
		_, err := url.PathUnescape(value)
		name = strings.TrimSpace(name)
		if !found || err != nil || name == "" || strings.Trim(name, headerNameCharacters) != "" {
			return false
		}
	}
	return true
}

// Tracer makes spans; without a receiver it makes none.
func (t *Telemetry) Tracer() trace.Tracer { return t.tracer }

// courier hands spans to the receiver. Spans that it cannot deliver are logged once for each row of
// failures, counted and dropped: the SDK would write each failure to standard error.
type courier struct {
	sdktrace.SpanExporter
	telemetry *Telemetry
	path      string // of the receiver's address; it can hold a key
	failing   atomic.Bool
}

// shown is what may be logged of an error: the exporter's own repeat the address.
func (c *courier) shown(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err.Error()
	}
	if c.path == "" {
		return err.Error()
	}
	return strings.ReplaceAll(err.Error(), c.path, "***")
}

func (c *courier) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := c.SpanExporter.ExportSpans(ctx, spans)
	log := c.telemetry.config.Log
	if err != nil {
		c.telemetry.metrics.traces.WithLabelValues(resultFailed).Inc()
		if !c.failing.Swap(true) {
			log.WarnContext(ctx, "traces not exported, the worker goes on without", "error", c.shown(err))
		}
		return nil
	}
	c.telemetry.metrics.traces.WithLabelValues("exported").Inc()
	if c.failing.Swap(false) {
		log.InfoContext(ctx, "traces are exported again")
	}
	return nil
}

// traceContext reads and writes W3C Trace Context.
var traceContext propagation.TraceContext

// header is a message's metadata as a carrier. Reading ignores letter case, and knows the
// attributes of CloudEvents' extension for tracing.
type header message.Metadata

var _ propagation.TextMapCarrier = header(nil)

func (h header) Get(key string) string {
	if v := h[key]; v != "" {
		return v
	}
	for name, v := range h {
		if strings.EqualFold(name, key) || strings.EqualFold(name, "ce-"+key) {
			return v
		}
	}
	return ""
}

func (h header) Set(key, value string) { h[key] = value }

func (h header) Keys() []string {
	keys := make([]string, 0, len(h))
	for k := range h {
		keys = append(keys, k)
	}
	return keys
}

// remote is the context of the span that a message came from; invalid if it names none.
func remote(m message.Metadata) trace.SpanContext {
	return trace.SpanContextFromContext(traceContext.Extract(context.Background(), header(m)))
}

// inject puts the span of ctx into a message, in place of what it held.
func inject(ctx context.Context, m message.Metadata) {
	for name := range m {
		if strings.EqualFold(name, "traceparent") || strings.EqualFold(name, "tracestate") {
			delete(m, name)
		}
	}
	traceContext.Inject(ctx, header(m))
}

// end ends a span with what became of its work. An error is told by its code and its words to show;
// its causes, which may name servers and paths, are for the log.
func end(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		code, words := describe(err)
		span.SetAttributes(semconv.ErrorTypeKey.String(code))
		span.SetStatus(codes.Error, words)
	}
	span.End()
}

func describe(err error) (code, words string) {
	if fault, ok := errors.AsType[*export.Fault](err); ok {
		return string(fault.Code), fault.Message
	}
	for _, known := range []struct {
		is   error
		code string
	}{
		{export.ErrSuperseded, resultSuperseded}, {export.ErrUnavailable, "unavailable"},
		{context.Canceled, "cancelled"}, {context.DeadlineExceeded, "timeout"},
	} {
		if errors.Is(err, known.is) {
			return known.code, known.is.Error()
		}
	}
	return "_OTHER", "see the log"
}
