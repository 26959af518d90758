package telemetry

import (
	"context"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Config says what a process tells of itself.
type Config struct {
	// Version is the program's, for build information and for the traces' resource.
	Version string
	// PerProject gives metrics of the kind "last success" a label for the project. A series
	// for each project is only for platforms with few thousands of them. Default: false.
	PerProject bool
	// Getenv reads the standard OTEL_ variables that turn tracing on. The SDK reads the
	// others from the process's environment itself. Default: os.Getenv.
	Getenv func(string) string
	// Log hears that traces cannot be exported, and that they can again. Default:
	// slog.Default().
	Log *slog.Logger
}

// Telemetry holds a process's instruments. It has a registry and a tracer provider of its
// own: nothing is global. It is safe for concurrent use.
type Telemetry struct {
	config   Config
	registry *prometheus.Registry
	metrics  *metrics
	tracer   trace.Tracer
	provider *sdktrace.TracerProvider // nil: nothing is traced
}

// New makes the instruments. Traces are exported when OTEL_EXPORTER_OTLP_ENDPOINT or
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT names a receiver; nothing is connected yet, and a
// receiver that is away is no error. ErrTracing: the variables contradict themselves. The
// caller closes the Telemetry, after everything that it is given to.
func New(ctx context.Context, c Config) (*Telemetry, error) {
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	t := &Telemetry{config: c, registry: prometheus.NewRegistry(), tracer: noop.NewTracerProvider().Tracer(scope)}
	t.metrics = newMetrics(t.registry, c)
	return t, t.startTracing(ctx)
}

// Close exports the spans that wait, for at most shutdownTimeout. Spans that are not taken by then
// are lost, which is not an error: it was logged.
func (t *Telemetry) Close() error {
	if t.provider == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.config.Log.WarnContext(ctx, "last traces not exported", "error", err)
	}
	return nil
}
