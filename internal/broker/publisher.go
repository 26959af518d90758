package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var _ message.Publisher = (*Publisher)(nil)

var (
	// ErrQueueFull says that the broker refused the message because its subject or its stream is full.
	// JetStream uses one code (10077) for every refusal of its store, so a full disk of the broker has
	// the same code. The wrapped error tells which it is.
	ErrQueueFull = errors.New("queue full")
	// ErrTooLarge says that the message is larger than max_payload of the server or max_msg_size of
	// the stream.
	ErrTooLarge = errors.New("message too large")
	// ErrClosed says that the publisher was closed.
	ErrClosed = errors.New("closed")
	// ErrHeader says that a metadata key or value cannot be a NATS header.
	ErrHeader = errors.New("metadata is not a header")
)

// MsgIDMetadata is the only metadata key of the broker's own headers that Publish passes on:
// JetStream's deduplication id.
const MsgIDMetadata = jetstream.MsgIDHeader

// UUIDHeader carries a Watermill message's UUID, under the name that Watermill's own NATS
// adapter uses.
const UUIDHeader = "_watermill_message_uuid"

const (
	// Codes of nats-server that nats.go has no name for.
	storeFailed    jetstream.ErrorCode = 10077 // JSStreamStoreFailedF
	messageExceeds jetstream.ErrorCode = 10054 // JSStreamMessageExceedsMaximumErr
	// publishTimeout bounds one publish of Watermill's Publish, which has no context except the
	// message's.
	publishTimeout = 10 * time.Second
)

// Publisher publishes to streams and waits for the broker's acknowledgement. It is safe for
// concurrent use. It does not close the connection.
type Publisher struct {
	js     jetstream.JetStream
	closed atomic.Bool
}

// NewPublisher returns a publisher on js.
func NewPublisher(js jetstream.JetStream) *Publisher { return &Publisher{js: js} }

// Publish stores each message under the subject topic and returns once the broker has stored all of
// them. The first failure ends it. Metadata becomes headers. Keys that begin with "Nats-" are
// headers of the broker (roll-up, expectations, schedules). They are left out, except
// MsgIDMetadata, so that copied metadata of a received message cannot control the broker.
// ErrQueueFull, ErrHeader, ErrClosed. After a timeout the message may be stored all the same.
func (p *Publisher) Publish(topic string, msgs ...*message.Message) error {
	for _, msg := range msgs {
		ctx, cancel := context.WithTimeout(msg.Context(), publishTimeout)
		err := p.publish(ctx, topic, msg)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// PublishOnce stores msg under topic unless its stream holds any message under filter. filter is a
// subject, possibly with wildcards, of that stream. stored is false, without an error, if the
// broker refused because such a message exists. After an earlier timeout that may be the caller's
// own message.
func (p *Publisher) PublishOnce(ctx context.Context, topic, filter string, msg *message.Message) (stored bool, err error) {
	err = p.publish(ctx, topic, msg, jetstream.WithExpectLastSequenceForSubject(0, filter))
	if wrongSequence(err) {
		return false, nil
	}
	return err == nil, err
}

// PublishAfter stores msg under topic if last is still the sequence of the newest message of topic
// in its stream; 0: there is none. stored is false, without an error, if the broker refused because
// a message was added or removed in between.
func (p *Publisher) PublishAfter(ctx context.Context, topic string, last uint64, msg *message.Message) (stored bool, err error) {
	err = p.publish(ctx, topic, msg, jetstream.WithExpectLastSequencePerSubject(last))
	if wrongSequence(err) {
		return false, nil
	}
	return err == nil, err
}

// wrongSequence reports whether the broker has another last message than expected. A replicated
// stream uses the second code.
func wrongSequence(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// PublishEphemeral sends msg over plain NATS: only current subscribers get it. It returns before
// the broker has it.
func (p *Publisher) PublishEphemeral(topic string, msg *message.Message) error {
	if p.closed.Load() {
		return fmt.Errorf("publish to %q: %w", topic, ErrClosed)
	}
	m, err := toNATS(topic, msg)
	if err != nil {
		return err
	}
	if err := p.js.Conn().PublishMsg(m); err != nil {
		return fmt.Errorf("publish to %q: %w", topic, err)
	}
	return nil
}

// Close makes later publishes fail with ErrClosed. It is idempotent and leaves the connection open.
func (p *Publisher) Close() error {
	p.closed.Store(true)
	return nil
}

func (p *Publisher) publish(ctx context.Context, topic string, msg *message.Message, opts ...jetstream.PublishOpt) error {
	if p.closed.Load() {
		return fmt.Errorf("publish to %q: %w", topic, ErrClosed)
	}
	m, err := toNATS(topic, msg)
	if err != nil {
		return err
	}
	_, err = p.js.PublishMsg(ctx, m, opts...)
	api, _ := errors.AsType[*jetstream.APIError](err)
	switch {
	case err == nil:
		return nil
	case api != nil && api.ErrorCode == storeFailed:
		return fmt.Errorf("publish to %q: %w: %w", topic, ErrQueueFull, err)
	case errors.Is(err, nats.ErrMaxPayload) || api != nil && api.ErrorCode == messageExceeds:
		return fmt.Errorf("publish to %q: %w: %w", topic, ErrTooLarge, err)
	default:
		return fmt.Errorf("publish to %q: %w", topic, err)
	}
}

func toNATS(topic string, msg *message.Message) (*nats.Msg, error) {
	m := nats.NewMsg(topic)
	m.Data = msg.Payload
	if msg.UUID != "" {
		m.Header[UUIDHeader] = []string{msg.UUID}
	}
	for key, value := range msg.Metadata {
		if key != MsgIDMetadata && strings.HasPrefix(strings.ToLower(key), "nats-") {
			continue
		}
		m.Header[key] = []string{value}
	}
	for key, values := range m.Header {
		// The library silently drops names that it cannot write, and folds line breaks.
		if !token(key) || strings.ContainsAny(values[0], "\r\n\x00") {
			return nil, fmt.Errorf("publish to %q: %w: key %q", topic, ErrHeader, key)
		}
	}
	return m, nil
}

// token reports whether s is a token of RFC 9110, the form of header names.
func token(s string) bool {
	for _, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}
