package telemetry

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// Runner runs exports; handlers call it.
type Runner interface {
	Run(ctx context.Context, req export.Request, d delivery.Delivery, g export.Group) (export.Outcome, error)
}

// work holds the current request of a context, for logs, spans and metrics.
type work struct {
	mu      sync.Mutex
	project string
	request string
	attempt int // 0: none granted yet
}

type workKey struct{}

// workOf returns the work of ctx; nil if ctx belongs to no request.
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

// Runner returns next with the request's ids added to logs and spans.
func (t *Telemetry) Runner(next Runner) Runner { return runner{next} }

type runner struct{ next Runner }

func (r runner) Run(ctx context.Context, req export.Request, d delivery.Delivery, g export.Group) (export.Outcome, error) {
	w := workOf(ctx)
	if w == nil {
		w = &work{}
		ctx = context.WithValue(ctx, workKey{}, w)
	}
	w.set(req.ID, 0)
	out, err := r.next.Run(ctx, req, d, g)
	project, request, attempt := w.get()
	trace.SpanFromContext(ctx).SetAttributes(attrProject.String(project), attrRequest.String(request), attrAttempt.Int(attempt))
	return out, err
}

// Ledger returns next with spans of claims and commits, and metrics of attempts from grant to end.
func (t *Telemetry) Ledger(next export.Ledger) export.Ledger {
	return &ledger{Ledger: next, t: t, running: map[export.Token]bool{}}
}

type ledger struct {
	export.Ledger
	t *Telemetry

	mu      sync.Mutex
	running map[export.Token]bool
}

// began and ended each return true once for each attempt.
func (l *ledger) began(t export.Token) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.running[t] // a claim that is repeated after a lost reply is granted again
	l.running[t] = true
	return !before
}

func (l *ledger) ended(t export.Token) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.running[t]
	delete(l.running, t)
	return before
}

// Claim implements export.Ledger. Only a final answer gets a span: a request claims repeatedly while
// it stands by, waits for its project, or the ledger is unreachable.
func (l *ledger) Claim(ctx context.Context, ask export.ClaimRequest) (export.Claim, error) {
	begun := time.Now()
	c, err := l.Ledger.Claim(ctx, ask)
	if l.unreachable("claim", err) || err == nil && (c.Verdict == export.Leased || c.Verdict == export.Busy) {
		return c, err
	}
	if err == nil && c.Verdict == export.Granted {
		if w := workOf(ctx); w != nil {
			w.set(c.Token.ID, c.Token.Attempt)
		}
		if l.began(c.Token) {
			l.t.metrics.running.WithLabelValues().Inc()
		}
	}
	_, span := l.t.tracer.Start(ctx, "claim", trace.WithTimestamp(begun), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(postgresql("claim")...), trace.WithAttributes(attrVerdict.String(verdict(c.Verdict)), attrAttempt.Int(c.Token.Attempt)))
	end(span, err)
	return c, err
}

// Renew implements export.Ledger. It makes no span.
func (l *ledger) Renew(ctx context.Context, t export.Token) error {
	err := l.Ledger.Renew(ctx, t)
	if !l.unreachable("renew", err) && errors.Is(err, export.ErrSuperseded) {
		l.count(t, export.Ending{}, err)
	}
	return err
}

// Finish implements export.Ledger.
func (l *ledger) Finish(ctx context.Context, t export.Token, e export.Ending) error {
	begun := time.Now()
	err := l.Ledger.Finish(ctx, t, e)
	if l.unreachable("finish", err) {
		return err
	}
	_, span := l.t.tracer.Start(ctx, "commit", trace.WithTimestamp(begun), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(postgresql("commit")...), trace.WithAttributes(attrAttempt.Int(t.Attempt)))
	end(span, err)
	if err == nil || errors.Is(err, export.ErrSuperseded) {
		l.count(t, e, err)
	}
	return err
}

// count counts an attempt that ended or was superseded.
func (l *ledger) count(t export.Token, e export.Ending, err error) {
	if !l.ended(t) {
		return
	}
	m := l.t.metrics
	m.running.WithLabelValues().Dec()
	switch {
	case err != nil:
		m.attempts.WithLabelValues(resultSuperseded, "").Inc()
		m.leaseLosses.WithLabelValues().Inc()
	case e.Retry != nil:
		m.attempts.WithLabelValues(resultRetried, string(e.Retry.Code)).Inc()
	case e.Outcome != nil:
		out := *e.Outcome
		m.attempts.WithLabelValues(string(out.State), string(out.Code)).Inc()
		m.duration.WithLabelValues(string(out.State)).Observe(out.FinishedAt.Sub(out.StartedAt).Seconds())
		if out.Artifact != nil {
			m.size.WithLabelValues().Observe(float64(out.Artifact.SizeBytes))
			m.stored.WithLabelValues().Observe(float64(out.Artifact.StoredBytes))
		}
	}
}

func (l *ledger) unreachable(operation string, err error) bool {
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
	case export.Busy:
		return "busy"
	}
	return "none"
}

func postgresql(operation string) []attribute.KeyValue {
	return []attribute.KeyValue{semconv.DBSystemNamePostgreSQL, semconv.DBOperationName(operation)}
}

// Projects returns next with spans of look-ups.
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
