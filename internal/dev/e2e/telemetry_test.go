package e2e_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/pgcourier/pgcourier/events"
)

// receiver accepts traces over OTLP/HTTP.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	spans map[string]span // by id
}

// span is a span, the service that made it, and the id of its instance.
type span struct {
	*tracepb.Span
	service, instance string
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{spans: map[string]span{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var batch collector.ExportTraceServiceRequest
		body, err := io.ReadAll(req.Body)
		if err == nil {
			err = proto.Unmarshal(body, &batch)
		}
		if err != nil || req.URL.Path != "/v1/traces" || req.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %s: %v", req.Method, req.URL, err)
		}
		r.take(&batch)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(batch *collector.ExportTraceServiceRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, from := range batch.ResourceSpans {
		made := span{}
		for _, a := range from.Resource.Attributes {
			switch a.Key {
			case "service.name":
				made.service = a.Value.GetStringValue()
			case "service.instance.id":
				made.instance = a.Value.GetStringValue()
			}
		}
		for _, in := range from.ScopeSpans {
			for _, s := range in.Spans {
				made.Span = s
				r.spans[hex.EncodeToString(s.SpanId)] = made
			}
		}
	}
}

// named returns the spans of one trace with a name.
func (r *receiver) named(traceID, name string) (found []span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.spans {
		if s.Name == name && hex.EncodeToString(s.TraceId) == traceID {
			found = append(found, s)
		}
	}
	return found
}

// path is the names of the spans above s and its own, each with its service.
func (r *receiver) path(s span) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for there := true; there; s, there = r.spans[hex.EncodeToString(s.ParentSpanId)] {
		names = append([]string{s.service + ": " + s.Name}, names...)
	}
	return strings.Join(names, "\n")
}

// settings lets a process export to the receiver at once.
func (r *receiver) settings(service string) []string {
	return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + r.URL, "OTEL_SERVICE_NAME=" + service, "OTEL_BSP_SCHEDULE_DELAY=50"}
}

// gateway is a tracer like a gateway's.
func (r *receiver) gateway(t *testing.T) (trace.Tracer, func()) {
	t.Helper()
	exporter, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpointURL(r.URL+"/v1/traces"))
	if err != nil {
		t.Fatal(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "gateway"))))
	return provider.Tracer("gateway"), func() {
		if err := provider.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}
}

// requestTraced requests an export as docs/observability.md tells a gateway to.
func (p *platform) requestTraced(ctx context.Context, r events.Requested) string {
	p.t.Helper()
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	r.Trace = events.Trace{Parent: carrier.Get("traceparent"), State: carrier.Get("tracestate")}
	return p.request(r)
}

func TestOneTraceRunsFromTheGatewayToTheMail(t *testing.T) {
	t.Parallel()
	p, r, hook := setupPost(t), newReceiver(t), newHook(t)
	p.notifier(append(r.settings("notifier"), hook.settings()...)...)
	w := p.start(r.settings("worker")...)
	tracer, stop := r.gateway(t)
	ctx, root := tracer.Start(t.Context(), "POST /backups")
	id := p.requestTraced(ctx, events.Requested{ProjectID: "globex", NotifyEmail: "owner@example.com"})
	root.End()
	stop()
	p.completed("globex", id)
	p.mails(1)
	traceID := root.SpanContext().TraceID().String()

	const worker = "gateway: POST /backups\nworker: process backup.requested"
	const notifier = worker + "\nworker: send backup.completed\nnotifier: process backup.completed\nnotifier: send backup_notification.email\nnotifier: process backup_notification.email"
	for name, want := range map[string]string{
		"claim":               worker + "\nworker: claim",
		"look up project":     worker + "\nworker: look up project",
		"pg_dump":             worker + "\nworker: pg_dump",
		"store file":          worker + "\nworker: store file",
		"commit":              worker + "\nworker: commit",
		"send backup.started": worker + "\nworker: send backup.started",
		"send email":          notifier + "\nnotifier: send email",
	} {
		spans := 1
		if name == "look up project" { // before the claim too, for the object's name
			spans = 2
		}
		eventually(t, "a span "+name, func() bool { return len(r.named(traceID, name)) == spans })
		s := r.named(traceID, name)[0]
		eventually(t, name+" has its parents", func() bool { return strings.HasPrefix(r.path(s), "gateway") })
		if got := r.path(s); got != want {
			t.Errorf("the path to %s is\n%s\nwant\n%s", name, got, want)
		}
		if s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR || s.EndTimeUnixNano < s.StartTimeUnixNano {
			t.Errorf("%s: %v from %d to %d", name, s.Status, s.StartTimeUnixNano, s.EndTimeUnixNano)
		}
	}
	process := r.named(traceID, "process backup.requested")[0]
	for key, want := range map[string]string{
		"messaging.system": "nats", "messaging.destination.name": "backup.requested.globex", "messaging.destination.template": "backup.requested.*",
		"messaging.operation.type": "process", "messaging.consumer.group.name": "export", "pgcourier.request_id": id, "pgcourier.project_id": "globex",
	} {
		if got := attributeOf(process, key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if name := w.logs.line("serving")["worker"]; name != process.instance || process.instance == "" {
		t.Errorf("the instance of the worker's spans is %q, and in the log it is %q", process.instance, name)
	}
	// The outcome in the stream carries the span of its publishing.
	m, _ := p.announced(1)
	sent := r.named(traceID, "send backup.completed")[0]
	if want := fmt.Sprintf("00-%s-%s-01", traceID, hex.EncodeToString(sent.SpanId)); m.Header.Get("traceparent") != want {
		t.Errorf("the outcome's traceparent is %q, want %q", m.Header.Get("traceparent"), want)
	}
	// The receiver of a webhook continues the span of the sender.
	eventually(t, "a span of the webhook", func() bool { return len(r.named(traceID, "send webhook")) == 1 })
	told := fmt.Sprintf("00-%s-%s-01", traceID, hex.EncodeToString(r.named(traceID, "send webhook")[0].SpanId))
	if calls := hook.calls(); len(calls) != 1 || calls[0].header.Get("Traceparent") != told {
		t.Errorf("the webhook's calls are %v, want the traceparent %q", calls, told)
	}
	line := w.logs.line("export completed")
	if line["trace_id"] != traceID || line["span_id"] != hex.EncodeToString(process.SpanId) || line["request_id"] != id || line["project_id"] != "globex" || line["attempt"] != 1.0 {
		t.Errorf("the log line of the export is %v", line)
	}
}

func attributeOf(s span, key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// line returns the first log line with this message.
func (l *logs) line(msg string) map[string]any {
	for line := range strings.Lines(l.String()) {
		var v map[string]any
		if json.Unmarshal([]byte(line), &v) == nil && v["msg"] == msg {
			return v
		}
	}
	return nil
}

// One receiver accepts the spans and never answers, another one does not exist. The exports
// complete, and the worker ends while the receiver still hangs.
func TestAReceiverThatHangsDelaysNothing(t *testing.T) {
	t.Parallel()
	release, hanging := make(chan struct{}), make(chan struct{}, 1000)
	hung := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		hanging <- struct{}{}
		<-release
	}))
	t.Cleanup(hung.Close)
	t.Cleanup(func() { close(release) }) // before Close, which waits for the handlers
	for name, endpoint := range map[string]string{"hangs": hung.URL, "is not there": "http://" + freeAddress(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := setup(t)
			w := p.start("OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint, "OTEL_BSP_SCHEDULE_DELAY=1")
			p.completed("globex", p.request(events.Requested{ProjectID: "globex"}))
			if endpoint == hung.URL {
				<-hanging // the receiver has a batch, and keeps it
			} else {
				w.awaitLog("traces cannot be exported and are dropped")
			}
			for range 3 {
				p.completed("globex", p.request(events.Requested{ProjectID: "globex"}))
			}
			p.settled()
			w.term()
			w.await()
			if w.err != nil {
				t.Errorf("the worker ended with %v", w.err)
			}
		})
	}
}

func TestAnEndpointThatCannotBeFollowedIsRefused(t *testing.T) {
	t.Parallel()
	for _, variables := range [][]string{
		{"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"},
	} {
		cmd := exec.CommandContext(t.Context(), "pgcourier", "serve")
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "PGCOURIER_DATABASE_URL=postgres://u@127.0.0.1:1/none"}, variables...)
		out, _ := cmd.CombinedOutput() // the exit code shows it
		if code := cmd.ProcessState.ExitCode(); code != 2 || !strings.Contains(string(out), "the configuration of tracing is not valid") {
			t.Errorf("%v: exit %d\n%s", variables, code, out)
		}
	}
}
