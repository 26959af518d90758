package telemetry

import (
	"context"
	"errors"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// Middleware counts and traces the calls of handlers. A span continues the trace of its message. Put
// it outside the middleware that turns panics into errors, and inside the one that carries out the
// decisions of handlers.
func (t *Telemetry) Middleware(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		ctx := msg.Context()
		handler, d := message.HandlerNameFromCtx(ctx), delivery.Of(ctx)
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
			if _, snoozed := errors.AsType[*delivery.SnoozeError](err); snoozed {
				return // a span that does not end is not exported: there may be one a second for hours
			}
			if errors.Is(err, delivery.ErrDrop) {
				err = nil
			}
			t.metrics.handled(handler, d, err)
			end(span, err)
		}()
		out, failed := next(msg)
		err = failed
		return out, failed
	}
}

// handled counts a handled delivery. It creates all counters of the handler at once.
func (m *metrics) handled(handler string, d delivery.Delivery, err error) {
	failures, again := m.handlerFailures.WithLabelValues(handler), m.redeliveries.WithLabelValues(handler)
	m.deliveries.WithLabelValues(handler).Inc()
	if d.Number > 1 {
		again.Inc()
	}
	if err != nil {
		failures.Inc()
	}
}

// outcomeOf returns the ids in the subject of an outcome.
func outcomeOf(subject string) (export.ID, bool) {
	tokens := strings.Split(subject, ".")
	if k := kind(subject); len(tokens) != 4 || k != events.TypeCompleted && k != events.TypeFailed {
		return export.ID{}, false
	}
	return export.ID{Project: tokens[2], Request: tokens[3]}, true
}
