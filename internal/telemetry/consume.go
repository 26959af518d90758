package telemetry

import (
	"context"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/export"
)

// Delivery is what the broker knows of a message.
type Delivery struct {
	Subject string
	EventID string
	Number  int // 1 for the first
}

// Middleware counts and traces what each handler is given, as the continuation of the trace
// that the message carries. It belongs outside of the one that turns panics into errors. of
// says how a message was delivered.
func (t *Telemetry) Middleware(of func(*message.Message) Delivery) message.HandlerMiddleware {
	return func(next message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			handler, d := message.HandlerNameFromCtx(msg.Context()), of(msg)
			ctx := msg.Context()
			if there := remote(msg.Metadata); there.IsValid() && t.provider != nil {
				ctx = trace.ContextWithRemoteSpanContext(ctx, there)
			}
			ctx, span := t.tracer.Start(ctx, "process "+kind(d.Subject), consumed(d, handler, msg)...)
			w := &work{}
			if id, ok := outcomeOf(d.Subject); ok {
				w.set(id, 0)
				span.SetAttributes(attrProject.String(id.Project), attrRequest.String(id.Request))
			}
			msg.SetContext(context.WithValue(ctx, workKey{}, w))
			err := errPanic
			defer func() {
				if w.deferred() {
					return // a span without an end is never exported: it may be one a second for hours
				}
				t.metrics.handled(handler, d, err)
				end(span, err)
			}()
			out, failed := next(msg)
			err = failed
			return out, err
		}
	}
}

// handled counts a delivery that a handler has dealt with. All its counters begin together.
func (m *metrics) handled(handler string, d Delivery, err error) {
	failures, again := m.handlerFailures.WithLabelValues(handler), m.redeliveries.WithLabelValues(handler)
	m.deliveries.WithLabelValues(handler).Inc()
	if d.Number > 1 {
		again.Inc()
	}
	if err != nil {
		failures.Inc()
	}
}

// outcomeOf reads the ids that the subject of an outcome names.
func outcomeOf(subject string) (export.ID, bool) {
	tokens := strings.Split(subject, ".")
	if k := kind(subject); len(tokens) != 4 || k != events.TypeCompleted && k != events.TypeFailed {
		return export.ID{}, false
	}
	return export.ID{Project: tokens[2], Request: tokens[3]}, true
}
