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

// ErrTracing means that the OTEL_ variables are not valid.
var ErrTracing = errors.New("the configuration of tracing is not valid")

const (
	scope = "github.com/pgcourier/pgcourier"
	// exportTimeout bounds one batch. With the SDK's default of 30 s, a hanging receiver would
	// block the queue of 2048 spans for too long.
	exportTimeout = 5 * time.Second
	// shutdownTimeout bounds how long a hanging receiver delays the end of the process.
	shutdownTimeout = 3 * time.Second
)

// Attributes of spans that the semantic conventions do not define.
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

// startTracing sets up the tracer if an endpoint is configured.
func (t *Telemetry) startTracing(ctx context.Context) error {
	env := t.config.Getenv
	endpoint := env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	if endpoint == "" {
		endpoint = env("OTEL_EXPORTER_OTLP_ENDPOINT")
	}
	if endpoint == "" || strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") || env("OTEL_TRACES_EXPORTER") == "none" {
		return nil
	}
	// The exporter would fall back to localhost and write to standard error.
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
	host, _ := os.Hostname() // an empty name is left out
	about, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(
			semconv.ServiceName("pgcourier"), semconv.ServiceVersion(t.config.Version),
			semconv.HostName(host), semconv.ServiceInstanceID(t.config.Instance),
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
		sdktrace.WithBatcher(&spanExporter{SpanExporter: exporter, telemetry: t, path: strings.Trim(address.EscapedPath(), "/")}, batching...),
		sdktrace.WithResource(about),
	)
	t.tracer = t.provider.Tracer(scope, trace.WithInstrumentationVersion(t.config.Version))
	return nil
}

// headerNameCharacters are those of a token (RFC 9110, section 5.6.2).
const headerNameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"

// headersWellFormed reports whether the exporter accepts each header of a list. The exporter would
// write a malformed one, with its secret, to standard error.
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

// Tracer returns the tracer. Without an endpoint it records nothing.
func (t *Telemetry) Tracer() trace.Tracer { return t.tracer }

// spanExporter sends spans to the receiver. It counts and drops spans that it cannot send, and logs the
// first failure of a series. The SDK would write each failure to standard error.
type spanExporter struct {
	sdktrace.SpanExporter
	telemetry *Telemetry
	path      string // of the receiver's URL; it may contain a key
	failing   atomic.Bool
}

// loggable returns the loggable part of an error. Errors of the exporter contain the URL.
func (c *spanExporter) loggable(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err.Error()
	}
	if c.path == "" {
		return err.Error()
	}
	return strings.ReplaceAll(err.Error(), c.path, "***")
}

func (c *spanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := c.SpanExporter.ExportSpans(ctx, spans)
	log := c.telemetry.config.Log
	if err != nil {
		c.telemetry.metrics.traces.WithLabelValues(resultFailed).Inc()
		if !c.failing.Swap(true) {
			log.WarnContext(ctx, "traces cannot be exported and are dropped", "error", c.loggable(err))
		}
		return nil
	}
	c.telemetry.metrics.traces.WithLabelValues("exported").Inc()
	if c.failing.Swap(false) {
		log.InfoContext(ctx, "traces can be exported again")
	}
	return nil
}

// traceContext reads and writes W3C Trace Context.
var traceContext propagation.TraceContext

// header is a propagation.TextMapCarrier over a message's metadata. Get ignores letter case and also
// reads the attributes of CloudEvents' extension for tracing.
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

// remote returns the span context in a message; invalid if there is none.
func remote(m message.Metadata) trace.SpanContext {
	return trace.SpanContextFromContext(traceContext.Extract(context.Background(), header(m)))
}

// inject writes the span of ctx into a message and replaces the one there.
func inject(ctx context.Context, m message.Metadata) {
	for name := range m {
		if strings.EqualFold(name, "traceparent") || strings.EqualFold(name, "tracestate") {
			delete(m, name)
		}
	}
	traceContext.Inject(ctx, header(m))
}

// end ends a span with the result of its work. Of an error it records the code and the public
// message only: the causes may name servers and paths.
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
