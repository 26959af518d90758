package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
)

// Streams is what a plan needs to know, as the broker's streams have it. It is safe for
// concurrent use. With restricted users it needs the rights of events.Client's Await, and
// to make consumers of BACKUP_OUTCOMES.
type Streams struct{ js jetstream.JetStream }

var _ History = (*Streams)(nil)

// NewStreams returns a view of js's streams, without contacting the broker.
func NewStreams(js jetstream.JetStream) *Streams { return &Streams{js} }

// Failed implements History.
func (s *Streams) Failed(ctx context.Context, project string, since time.Time) ([]events.Failed, error) {
	if project == "" {
		project = "*"
	}
	consumer, err := s.js.OrderedConsumer(ctx, events.StreamOutcomes, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{events.EventSubject(events.TypeFailed, project, "*")},
		DeliverPolicy:  jetstream.DeliverByStartTimePolicy, OptStartTime: &since,
		InactiveThreshold: time.Minute, // it goes by itself
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", events.StreamOutcomes, events.ErrUnavailable, err)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", events.StreamOutcomes, events.ErrUnavailable, err)
	}
	left := info.NumPending
	if left == 0 {
		return nil, nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", events.StreamOutcomes, events.ErrUnavailable, err)
	}
	defer messages.Stop()
	var out []events.Failed
	for left > 0 {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w: %w", events.StreamOutcomes, events.ErrUnavailable, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", events.StreamOutcomes, err)
		}
		left = meta.NumPending
		e, err := decode(m.Subject(), m.Headers(), m.Data())
		if err == nil && e.Failed != nil { // else it is not one of ours
			out = append(out, *e.Failed)
		}
	}
	return out, nil
}

// Outcome implements History.
func (s *Streams) Outcome(ctx context.Context, project, request string) (events.Outcome, error) {
	stream, err := s.js.Stream(ctx, events.StreamOutcomes)
	if err != nil {
		return events.Outcome{}, fmt.Errorf("read %s: %w: %w", events.StreamOutcomes, events.ErrUnavailable, err)
	}
	m, err := stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(events.OutcomeFilter(project, request)))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return events.Outcome{}, nil
	}
	if err != nil {
		return events.Outcome{}, fmt.Errorf("read %s: %w: %w", events.StreamOutcomes, events.ErrUnavailable, err)
	}
	return decode(m.Subject, m.Header, m.Data)
}

// Projects implements History.
func (s *Streams) Projects(ctx context.Context, request string) ([]string, error) {
	var out []string
	for _, name := range []string{events.StreamOutcomes, events.StreamEvents} {
		stream, err := s.js.Stream(ctx, name)
		if err == nil {
			var info *jetstream.StreamInfo
			if info, err = stream.Info(ctx, jetstream.WithSubjectFilter(events.OutcomeFilter("*", request))); err == nil {
				for subject := range info.State.Subjects {
					out = append(out, strings.Split(subject, ".")[2])
				}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w: %w", name, events.ErrUnavailable, err)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func decode(subject string, header map[string][]string, body []byte) (events.Outcome, error) {
	single := make(map[string]string, len(header))
	for name, values := range header {
		single[name] = strings.Join(values, ", ")
	}
	out, err := events.DecodeOutcome(events.Message{Subject: subject, Header: single, Body: body})
	if err != nil {
		return out, fmt.Errorf("a stored outcome breaks the contract: %w", err)
	}
	return out, nil
}
