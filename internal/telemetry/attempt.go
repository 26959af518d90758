package telemetry

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgcourier/pgcourier/internal/export"
)

// Runner is the use case, as the handler asks for it.
type Runner interface {
	Run(ctx context.Context, req export.Request, d export.Delivery) (export.Outcome, error)
}

// work is what a context knows of the request that is worked on, for logs, spans and counts.
type work struct {
	mu      sync.Mutex
	project string
	request string
	attempt int // 0: none was granted
}

type workKey struct{}

// workOf is nil when ctx is no request's.
func workOf(ctx context.Context) *work {
	w, _ := ctx.Value(workKey{}).(*work)
	return w
}

func (w *work) set(id export.ID, attempt int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.project, w.request, w.attempt = id.Project, id.Request, attempt
}

func (w *work) get() (project, request string, attempt int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.project, w.request, w.attempt
}

// Runner counts the attempts that next makes and names them to logs and spans.
func (t *Telemetry) Runner(next Runner) Runner { return runner{next, t} }

type runner struct {
	next Runner
	t    *Telemetry
}

func (r runner) Run(ctx context.Context, req export.Request, d export.Delivery) (out export.Outcome, err error) {
	w := workOf(ctx)
	if w == nil {
		w = &work{}
		ctx = context.WithValue(ctx, workKey{}, w)
	}
	w.set(req.ID, 0)
	defer func() {
		project, request, attempt := w.get()
		trace.SpanFromContext(ctx).SetAttributes(attrProject.String(project), attrRequest.String(request), attrAttempt.Int(attempt))
		if attempt > 0 {
			r.t.metrics.running.WithLabelValues().Dec()
			r.t.metrics.ended(out, err)
		}
	}()
	return r.next.Run(ctx, req, d)
}

// ended counts an attempt that was granted.
func (m *metrics) ended(out export.Outcome, err error) {
	switch {
	case errors.Is(err, export.ErrSuperseded):
		m.attempts.WithLabelValues(resultSuperseded, "").Inc()
		m.leaseLosses.WithLabelValues().Inc()
		return
	case err != nil:
		m.attempts.WithLabelValues(resultRetried, string(export.AsFault(err).Code)).Inc()
		return
	}
	outcome := string(out.State)
	m.attempts.WithLabelValues(outcome, string(out.Code)).Inc()
	m.duration.WithLabelValues(outcome).Observe(out.FinishedAt.Sub(out.StartedAt).Seconds())
	if out.Artifact != nil {
		m.size.WithLabelValues().Observe(float64(out.Artifact.SizeBytes))
		m.stored.WithLabelValues().Observe(float64(out.Artifact.StoredBytes))
	}
}

// Ledger traces claims and commits, and notes which attempt was granted.
func (t *Telemetry) Ledger(next export.Ledger) export.Ledger { return ledger{next, t} }

type ledger struct {
	export.Ledger
	t *Telemetry
}

// Claim implements export.Ledger. Standing by asks once a second for as long as another
// attempt runs, and an outage is asked out: only an answer is worth a span.
func (l ledger) Claim(ctx context.Context, ask export.ClaimRequest) (export.Claim, error) {
	begun := time.Now()
	c, err := l.Ledger.Claim(ctx, ask)
	if l.unreachable("claim", err) || err == nil && c.Verdict == export.Leased {
		return c, err
	}
	if w := workOf(ctx); w != nil && err == nil && c.Verdict == export.Granted {
		w.set(c.Token.ID, c.Token.Attempt)
		l.t.metrics.running.WithLabelValues().Inc()
	}
	_, span := l.t.tracer.Start(ctx, "claim", trace.WithTimestamp(begun), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(postgresql("claim")...), trace.WithAttributes(attrVerdict.String(verdict(c.Verdict)), attrAttempt.Int(c.Token.Attempt)))
	end(span, err)
	return c, err
}

// Renew implements export.Ledger; its heartbeat is no span.
func (l ledger) Renew(ctx context.Context, t export.Token) error {
	err := l.Ledger.Renew(ctx, t)
	l.unreachable("renew", err)
	return err
}

// Finish implements export.Ledger.
func (l ledger) Finish(ctx context.Context, t export.Token, e export.Ending) error {
	begun := time.Now()
	err := l.Ledger.Finish(ctx, t, e)
	if l.unreachable("finish", err) {
		return err
	}
	_, span := l.t.tracer.Start(ctx, "commit", trace.WithTimestamp(begun), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(postgresql("commit")...), trace.WithAttributes(attrAttempt.Int(t.Attempt)))
	end(span, err)
	return err
}

func (l ledger) unreachable(operation string, err error) bool {
	if !errors.Is(err, export.ErrUnavailable) {
		return false
	}
	l.t.metrics.ledgerFailures.WithLabelValues(operation).Inc()
	return true
}

func verdict(v export.Verdict) string {
	switch v {
	case export.Granted:
		return "granted"
	case export.Ended:
		return "ended"
	case export.Conflicting:
		return "conflicting"
	case export.Leased:
		return "leased"
	}
	return "none"
}

func postgresql(operation string) []attribute.KeyValue {
	return []attribute.KeyValue{semconv.DBSystemNamePostgreSQL, semconv.DBOperationName(operation)}
}

// Projects traces look-ups.
func (t *Telemetry) Projects(next export.Projects) export.Projects { return projects{next, t} }

type projects struct {
	export.Projects
	t *Telemetry
}

// Lookup implements export.Projects.
func (p projects) Lookup(ctx context.Context, id string) (export.Project, error) {
	ctx, span := p.t.tracer.Start(ctx, "look up project", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(postgresql("lookup")...))
	found, err := p.Projects.Lookup(ctx, id)
	end(span, err)
	return found, err
}
