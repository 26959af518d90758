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

// Config configures the telemetry of a process.
type Config struct {
	// Version is the version of the program, for build information and the traces' resource.
	Version string
	// Instance is the unique name of this start of the process, for the traces' resource.
	Instance string
	// PerProject adds a label for the project to the times of the last success. Use it only with
	// at most a few thousand projects, because each one is a series. Default: false.
	PerProject bool
	// Getenv reads the standard OTEL_ variables that turn tracing on. The SDK reads the
	// others from the process's environment itself. Default: os.Getenv.
	Getenv func(string) string
	// Log gets a line when traces cannot be exported, and when they can again. Default:
	// slog.Default().
	Log *slog.Logger
}

// Telemetry holds the instruments of a process. It has its own registry and tracer provider; none is
// global. It is safe for concurrent use.
type Telemetry struct {
	config   Config
	registry *prometheus.Registry
	metrics  *metrics
	tracer   trace.Tracer
	provider *sdktrace.TracerProvider // nil: no traces
}

// New returns the instruments. It exports traces if OTEL_EXPORTER_OTLP_ENDPOINT or
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set. It makes no connection yet, so an unreachable receiver
// is not an error. ErrTracing: the variables are not valid. The caller closes the Telemetry last,
// after everything that uses it.
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

// Close exports the queued spans, for at most shutdownTimeout. It logs the loss of spans and returns
// no error for it.
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
