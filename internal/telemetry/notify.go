package telemetry

import (
	"context"
	"maps"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/pgcourier/pgcourier/internal/notify"
)

// Sender returns next with a metric and a span for each try of one channel.
func (t *Telemetry) Sender(channel notify.Channel, next notify.Sender) notify.Sender {
	for _, result := range []string{resultSent, resultRetried, resultParked} {
		t.metrics.notifications.WithLabelValues(string(channel), result)
	}
	s := sender{next, t, string(channel)}
	if many, ok := next.(notify.DigestSender); ok {
		return digestSender{s, many}
	}
	return s
}

type sender struct {
	notify.Sender
	t       *Telemetry
	channel string
}

// Send implements notify.Sender.
func (s sender) Send(ctx context.Context, n notify.Notification) error {
	if id, ok := outcomeOf(n.Event.Subject); ok {
		if w := workOf(ctx); w != nil {
			w.set(id, 0)
		}
	}
	ctx, span := s.t.tracer.Start(ctx, "send "+s.channel, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrChannel.String(s.channel)))
	if span.SpanContext().IsValid() { // the recipient continues this trace; without it, that of the event
		n.Event.Header = maps.Clone(n.Event.Header)
		inject(ctx, n.Event.Header)
	}
	begun := time.Now()
	err := s.Sender.Send(ctx, n)
	s.t.metrics.sendDuration.WithLabelValues(s.channel).Observe(time.Since(begun).Seconds())
	end(span, err)
	return err
}

// digestSender is a sender that can send digests.
type digestSender struct {
	sender
	next notify.DigestSender
}

// SendDigest implements notify.DigestSender.
func (s digestSender) SendDigest(ctx context.Context, all []notify.Notification) error {
	ctx, span := s.t.tracer.Start(ctx, "send digest "+s.channel, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrChannel.String(s.channel)))
	begun := time.Now()
	err := s.next.SendDigest(ctx, all)
	s.t.metrics.sendDuration.WithLabelValues(s.channel).Observe(time.Since(begun).Seconds())
	end(span, err)
	return err
}

// Records returns next with a count of the results of tries. A result counts when it is recorded.
func (t *Telemetry) Records(next notify.Records) notify.Records { return records{next, t} }

type records struct {
	notify.Records
	t *Telemetry
}

// Put implements notify.Records.
func (r records) Put(ctx context.Context, record notify.Record, revision uint64) error {
	err := r.Records.Put(ctx, record, revision)
	if err != nil {
		return err
	}
	result := map[notify.State]string{notify.Sent: resultSent, notify.Parked: resultParked, notify.Waiting: resultRetried}[record.State]
	if result != "" {
		r.t.metrics.notifications.WithLabelValues(string(record.Channel), result).Inc()
	}
	return nil
}
