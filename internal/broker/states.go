package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrNoState says that nothing is kept under that subject, or no such stream is there.
	ErrNoState = errors.New("no such state")
	// ErrStateChanged says that another process wrote meanwhile.
	ErrStateChanged = errors.New("the state was changed meanwhile")
)

// States is a stream that keeps one message for each subject, read and written under a
// revision. It is safe for concurrent use.
type States struct {
	js     jetstream.JetStream
	stream string
}

// NewStates returns a view of a stream with MaxMsgsPerSubject 1.
func NewStates(js jetstream.JetStream, stream string) *States { return &States{js: js, stream: stream} }

// Get returns what is kept under subject, and its revision. ErrNoState.
func (s *States) Get(ctx context.Context, subject string) (body []byte, revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	stream, err := s.js.Stream(ctx, s.stream)
	var m *jetstream.RawStreamMsg
	if err == nil {
		m, err = stream.GetLastMsgForSubject(ctx, subject)
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, 0, fmt.Errorf("read %s: %w", subject, ErrNoState)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", subject, err)
	}
	return m.Data, m.Sequence, nil
}

// Set writes body under subject if what is there has this revision; 0: if nothing is there.
// Otherwise ErrStateChanged, which after an earlier timeout may mean the caller's own write.
func (s *States) Set(ctx context.Context, subject string, body []byte, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	_, err := s.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: body}, jetstream.WithExpectLastSequencePerSubject(revision))
	if wrongSequence(err) {
		return fmt.Errorf("write %s: %w", subject, ErrStateChanged)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", subject, err)
	}
	return nil
}

// All calls use with everything that is kept, the longest unchanged first, until use returns
// an error. Without the stream it calls nothing. It needs the right to make a consumer.
func (s *States) All(ctx context.Context, use func(subject string, body []byte) error) error {
	stream, err := s.js.Stream(ctx, s.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", s.stream, err)
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return fmt.Errorf("list %s: %w", s.stream, err)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return fmt.Errorf("list %s: %w", s.stream, err)
	}
	if info.NumPending == 0 {
		return nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("list %s: %w", s.stream, err)
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("list %s: %w", s.stream, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("list %s: %w", s.stream, err)
		}
		if err := use(m.Subject(), m.Data()); err != nil {
			return err
		}
		if meta.NumPending == 0 {
			return nil
		}
	}
}
