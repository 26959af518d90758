package telemetry

import (
	"context"
	"errors"
	"maps"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
)

// Publisher is the broker's publisher.
type Publisher interface {
	message.Publisher
	// PublishOnce returns false if the broker refused the message because one is stored already.
	PublishOnce(ctx context.Context, topic, filter string, msg *message.Message) (stored bool, err error)
	// PublishAfter returns false if the broker refused the message because the newest one of its topic
	// is not the one with sequence last.
	PublishAfter(ctx context.Context, topic string, last uint64, msg *message.Message) (stored bool, err error)
	PublishEphemeral(topic string, msg *message.Message) error
}

// Publisher returns next with spans of stored messages and a count of outcomes. The broker stores one
// outcome for each request, so exactly one process counts it.
//
// With traces on, a published message carries the span of its publishing, which its consumer
// continues. Without traces it keeps the context of the request.
func (t *Telemetry) Publisher(next Publisher) Publisher { return publisher{next, t} }

type publisher struct {
	Publisher
	t *Telemetry
}

// Publish implements message.Publisher.
func (p publisher) Publish(topic string, msgs ...*message.Message) error {
	for _, msg := range msgs {
		err := p.send(msg.Context(), topic, msg, func(ctx context.Context) error {
			msg.SetContext(ctx)
			return p.Publisher.Publish(topic, msg)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// PublishOnce implements Publisher.
func (p publisher) PublishOnce(ctx context.Context, topic, filter string, msg *message.Message) (stored bool, err error) {
	err = p.send(ctx, topic, msg, func(ctx context.Context) error {
		stored, err = p.Publisher.PublishOnce(ctx, topic, filter, msg)
		return err
	})
	if stored {
		p.t.metrics.published(topic, msg)
	}
	return stored, err
}

// PublishAfter implements Publisher.
func (p publisher) PublishAfter(ctx context.Context, topic string, last uint64, msg *message.Message) (stored bool, err error) {
	err = p.send(ctx, topic, msg, func(ctx context.Context) error {
		stored, err = p.Publisher.PublishAfter(ctx, topic, last, msg)
		return err
	})
	return stored, err
}

func (p publisher) send(ctx context.Context, topic string, msg *message.Message, do func(context.Context) error) error {
	if p.t.provider == nil {
		return do(ctx)
	}
	opts := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
			semconv.MessagingSystemKey.String("nats"), semconv.MessagingOperationTypeSend, semconv.MessagingOperationName("publish"),
			semconv.MessagingDestinationName(topic), semconv.MessagingDestinationTemplate(template(topic)),
			semconv.MessagingMessageID(msg.UUID), semconv.MessagingMessageBodySize(len(msg.Payload)),
		),
	}
	// An event belongs to the trace of its request. The sweeper has no trace of that request, and
	// the request's own trace may be in the body of a CloudEvent.
	here, there := trace.SpanContextFromContext(ctx), remote(msg.Metadata)
	parent := ctx
	if there.IsValid() && here.TraceID() != there.TraceID() {
		parent = trace.ContextWithRemoteSpanContext(ctx, there)
		if here.IsValid() {
			opts = append(opts, trace.WithLinks(trace.Link{SpanContext: here}))
		}
	}
	ctx, span := p.t.tracer.Start(parent, "send "+kind(topic), opts...)
	inject(ctx, msg.Metadata)
	err := do(ctx)
	end(span, err)
	return err
}

// published counts an outcome.
func (m *metrics) published(topic string, msg *message.Message) {
	ofRestore := false
	switch kind(topic) {
	case events.TypeCompleted, events.TypeFailed:
	case events.TypeRestoreCompleted, events.TypeRestoreFailed:
		ofRestore = true
	default:
		return
	}
	out, err := events.DecodeEvent(events.Message{Subject: topic, Header: maps.Clone(msg.Metadata), Body: msg.Payload})
	switch {
	case err != nil && ofRestore: // cannot happen: this process encoded it
		m.restores.WithLabelValues(resultFailed, string(codes.InternalError)).Inc()
	case err != nil: // cannot happen either
		m.exports.WithLabelValues(resultFailed, string(codes.InternalError)).Inc()
	case out.RestoreCompleted != nil:
		m.restores.WithLabelValues(resultCompleted, "").Inc()
	case out.RestoreFailed != nil:
		m.restores.WithLabelValues(resultFailed, string(out.RestoreFailed.Code)).Inc()
	case out.Completed != nil:
		m.exports.WithLabelValues(resultCompleted, "").Inc()
	case out.Failed != nil:
		m.exports.WithLabelValues(resultFailed, string(out.Failed.Code)).Inc()
	}
}

// kind returns the part of a subject that is the same for every project and request.
func kind(subject string) string {
	first, rest, _ := strings.Cut(subject, ".")
	second, _, _ := strings.Cut(rest, ".")
	return strings.TrimSuffix(first+"."+second, ".")
}

// template returns a subject with its ids replaced by wildcards.
func template(subject string) string {
	return kind(subject) + strings.Repeat(".*", max(0, strings.Count(subject, ".")-1))
}

// consumed returns the options of the span of a delivery.
func consumed(d delivery.Delivery, handler string, msg *message.Message) []trace.SpanStartOption {
	return []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			semconv.MessagingSystemKey.String("nats"), semconv.MessagingOperationTypeProcess, semconv.MessagingOperationName("process"),
			semconv.MessagingDestinationName(d.Subject), semconv.MessagingDestinationTemplate(template(d.Subject)),
			semconv.MessagingConsumerGroupName(handler),
			semconv.MessagingMessageID(d.EventID), semconv.MessagingMessageBodySize(len(msg.Payload)), attrDelivery.Int(d.Number),
		),
	}
}

var errPanic = errors.New("the handler panicked")
