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

// Middleware counts and traces what each handler is given, as the continuation of the trace
// that the message carries. It belongs outside of the one that turns panics into errors, and
// within the one that carries out a handler's decisions.
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
				return // a span without an end is never exported: it may be one a second for hours
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

// handled counts a delivery that a handler has dealt with. All its counters begin together.
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

// outcomeOf reads the ids that the subject of an outcome names.
func outcomeOf(subject string) (export.ID, bool) {
	tokens := strings.Split(subject, ".")
	if k := kind(subject); len(tokens) != 4 || k != events.TypeCompleted && k != events.TypeFailed {
		return export.ID{}, false
	}
	return export.ID{Project: tokens[2], Request: tokens[3]}, true
}
