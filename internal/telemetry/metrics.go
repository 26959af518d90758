package telemetry

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/pgcourier/pgcourier/events/codes"
)

const namespace = "pgcourier_"

// The results of an attempt, a notification and a verification.
const (
	resultCompleted  = "completed"
	resultFailed     = "failed"
	resultRetried    = "retried"
	resultSuperseded = "superseded"
	resultSent       = "sent"
	resultParked     = "parked"
	resultVerified   = "verified"
	resultGone       = "gone"
	resultNotMade    = "not_made"
)

var (
	// jobSeconds cover a tiny schema up to 8 hours: pg_dump may take TIMEOUT (30 min by default),
	// and each destination UPLOAD_TIMEOUT (2 h).
	jobSeconds = []float64{0.25, 1, 5, 15, 60, 180, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800}
	// callSeconds cover one try of a notification (NOTIFY_TIMEOUT is 30 s by default).
	callSeconds = []float64{0.01, 0.05, 0.25, 1, 5, 15, 30, 60}
	// jobBytes cover an empty schema up to 100 GiB, ten times the default MAX_BYTES.
	jobBytes = []float64{1 << 10, 16 << 10, 256 << 10, 1 << 20, 16 << 20, 64 << 20, 256 << 20, 1 << 30, 4 << 30, 10 << 30, 32 << 30, 100 << 30}
)

// metrics holds the instruments that running code sets. The values that are read at a scrape are in
// sampled.
type metrics struct {
	registry    *prometheus.Registry
	definitions []Definition

	attempts, exports, leaseLosses, ledgerFailures *prometheus.CounterVec
	running                                        *prometheus.GaugeVec
	duration, size, stored                         *prometheus.HistogramVec
	dumped                                         *prometheus.CounterVec

	written, storageFailures, storageRequests *prometheus.CounterVec
	putDuration                               *prometheus.HistogramVec

	deliveries, redeliveries, handlerFailures *prometheus.CounterVec

	notifications *prometheus.CounterVec
	sendDuration  *prometheus.HistogramVec

	restores *prometheus.CounterVec

	verifications  *prometheus.CounterVec
	verifyDuration *prometheus.HistogramVec

	apiCalls    *prometheus.CounterVec
	apiDuration *prometheus.HistogramVec

	transfers, transferBytes *prometheus.CounterVec

	traces *prometheus.CounterVec

	sampled *sampled
}

// Definition describes one metric for the documents.
type Definition struct {
	Name, Type, Help string
	Labels           []string
}

// Definitions returns the metrics of this package in the order of their definition, without those of
// the client library (Go runtime, process).
func (t *Telemetry) Definitions() []Definition { return slices.Clone(t.metrics.definitions) }

// Markdown returns the table of all metrics for docs/observability.md.
func (t *Telemetry) Markdown() string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, d := range t.metrics.definitions {
		labels := ""
		if len(d.Labels) > 0 {
			labels = "`" + strings.Join(d.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Name, d.Type, labels, d.Help)
	}
	return b.String()
}

func (m *metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.define(name, "counter", help, labels), Help: help}, labels)
	m.registry.MustRegister(v)
	if len(labels) == 0 {
		v.WithLabelValues()
	}
	return v
}

func (m *metrics) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: m.define(name, "gauge", help, labels), Help: help}, labels)
	m.registry.MustRegister(v)
	if len(labels) == 0 {
		v.WithLabelValues()
	}
	return v
}

func (m *metrics) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: m.define(name, "histogram", help, labels), Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(v)
	if len(labels) == 0 {
		v.WithLabelValues()
	}
	return v
}

// desc defines a metric that is read at a scrape.
func (m *metrics) desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(m.define(name, "gauge", help, labels), help, labels, nil)
}

func (m *metrics) define(name, kind, help string, labels []string) string {
	m.definitions = append(m.definitions, Definition{Name: namespace + name, Type: kind, Help: help, Labels: labels})
	return namespace + name
}

func newMetrics(registry *prometheus.Registry, c Config) *metrics {
	m := &metrics{registry: registry}
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.gauge("build_info", "Always 1; what runs.", "version", "go_version").WithLabelValues(c.Version, runtime.Version()).Set(1)
	m.exportMetrics()
	m.storageMetrics()

	m.deliveries = m.counter("deliveries_total", "Messages that a handler has dealt with; one that waits for its turn is not yet.", "handler")
	m.redeliveries = m.counter("redeliveries_total", "Of these, those that had been delivered before.", "handler")
	m.handlerFailures = m.counter("handler_failures_total", "Messages whose handler asked for another delivery.", "handler")

	m.apiCalls = m.counter("api_calls_total", "Calls of the HTTP API by the route that they matched and the status of the answer.", "route", "code")
	m.apiDuration = m.histogram("api_call_duration_seconds", "Time of a call of the HTTP API; calls that follow events are long.", callSeconds, "route")
	m.transfers = m.counter("downloads_total", "Transfers of exports, by a link or by a caller of the API: sent, cut (broken off) or redirected (S3 sends the file). A resumed download is several.", "by", "result")
	m.transferBytes = m.counter("download_bytes_total", "Bytes of exports that this process sent to clients.", "by")
	for _, by := range []string{"link", "caller"} {
		m.transferBytes.WithLabelValues(by)
		for _, result := range []string{"sent", "cut", "redirected"} {
			m.transfers.WithLabelValues(by, result)
		}
	}

	m.notifications = m.counter("notifications_total", "Tries of notifications: sent, retried (to be tried again) or parked (given up until an operator replays it).", "channel", "result")
	m.sendDuration = m.histogram("notification_send_duration_seconds", "Time of one try of a notification.", callSeconds, "channel")

	m.verifications = m.counter("verifications_total", "Verifications: verified, failed (with the code of backup.verification_failed), gone (deleted on purpose) or not_made (to be tried again).", "result", "code")
	m.verifyDuration = m.histogram("verification_duration_seconds", "Time of one verification that was made.", jobSeconds)

	m.restores = m.counter("restores_total", "Outcomes of restores by event that this process published, completed (plans too) or failed, each counted once in all processes together; code says why one failed.", "outcome", "code")
	m.restores.WithLabelValues(resultCompleted, "")
	for _, code := range codes.OfRestores() {
		m.restores.WithLabelValues(resultFailed, string(code))
	}

	m.traces = m.counter("trace_exports_total", "Batches of spans that were handed to the OTLP receiver: exported or failed.", "result")
	for _, result := range []string{"exported", resultFailed} {
		m.traces.WithLabelValues(result)
	}
	m.sampled = newSampled(m, c)
	registry.MustRegister(m.sampled)
	return m
}

func (m *metrics) exportMetrics() {
	m.attempts = m.counter("attempts_total", "Attempts that ended here: completed, failed, retried (to be tried again) or superseded (another attempt owns the request); code says why one did not complete.", "result", "code")
	m.exports = m.counter("exports_total", "Outcomes that this process published, completed or failed, each counted once in all processes together; code says why one failed.", "outcome", "code")
	m.running = m.gauge("exports_running", "Attempts under way in this process.")
	m.duration = m.histogram("export_duration_seconds", "From the start of the attempt that ended a request to its outcome.", jobSeconds, "outcome")
	m.size = m.histogram("export_size_bytes", "What pg_dump wrote for a completed export.", jobBytes)
	m.stored = m.histogram("export_stored_bytes", "What one destination holds of a completed export.", jobBytes)
	m.dumped = m.counter("dump_read_bytes_total", "Bytes read from pg_dump, failed attempts included.")
	m.leaseLosses = m.counter("lease_losses_total", "Attempts that another one overtook: this process was paused, cut off or too slow.")
	m.ledgerFailures = m.counter("ledger_failures_total", "Calls of the ledger that found its database unreachable; each is repeated.", "operation")

	m.attempts.WithLabelValues(resultCompleted, "")
	m.attempts.WithLabelValues(resultSuperseded, "")
	m.exports.WithLabelValues(resultCompleted, "")
	// increase() ignores the first sample of a series, so each series must exist before its first
	// failure.
	for _, code := range codes.OfFailures() {
		m.exports.WithLabelValues(resultFailed, string(code))
		m.attempts.WithLabelValues(resultFailed, string(code))
		if !code.Permanent() {
			m.attempts.WithLabelValues(resultRetried, string(code))
		}
	}
	for _, outcome := range []string{resultCompleted, resultFailed} {
		m.duration.WithLabelValues(outcome)
	}
	for _, operation := range []string{"claim", "renew", "finish"} {
		m.ledgerFailures.WithLabelValues(operation)
	}
}

func (m *metrics) storageMetrics() {
	m.written = m.counter("storage_written_bytes_total", "Bytes that a destination took, failed attempts included.", "destination")
	m.putDuration = m.histogram("storage_put_duration_seconds", "Time to store one export at one destination, the dump's own time included.", jobSeconds, "destination")
	m.storageFailures = m.counter("storage_failures_total", "Exports that a destination did not take or delete through its own fault; code is that of backup.failed.", "destination", "operation", "code")
	m.storageRequests = m.counter("storage_requests_total", "HTTP requests to a destination by class of answer: 2xx, 3xx, 4xx, 429, 5xx or none. What was repeated within one export is in 429, 5xx and none.", "destination", "answer")
}

// storageCodes are the codes of faults of a destination.
var storageCodes = []codes.Code{
	codes.StorageUnavailable, codes.StorageFull, codes.StorageRefused, codes.UploadTimeout, codes.InternalError,
}
