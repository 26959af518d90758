package events

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// followed says where the events of a kind of request are.
type followed struct {
	outcomes, events string // streams
	started          string // type
	filter           func(project, request string) string
}

var (
	followedExports  = followed{StreamOutcomes, StreamEvents, TypeStarted, OutcomeFilter}
	followedRestores = followed{StreamRestoreOutcomes, StreamRestoreEvents, TypeRestoreStarted, RestoreOutcomeFilter}
)

// storedOutcome returns the first outcome that the stream holds of a request.
func (c *Client) storedOutcome(ctx context.Context, of followed, project, request string) (Event, error) {
	return c.stored(ctx, of.outcomes, func(ctx context.Context, s jetstream.Stream) (*jetstream.RawStreamMsg, error) {
		return s.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(of.filter(project, request)))
	})
}

// lastStarted returns the latest Started that the stream holds of a request.
func (c *Client) lastStarted(ctx context.Context, of followed, project, request string) (Event, error) {
	return c.stored(ctx, of.events, func(ctx context.Context, s jetstream.Stream) (*jetstream.RawStreamMsg, error) {
		return s.GetLastMsgForSubject(ctx, EventSubject(of.started, project, request))
	})
}

func (c *Client) stored(ctx context.Context, stream string, get func(context.Context, jetstream.Stream) (*jetstream.RawStreamMsg, error)) (Event, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err := c.js.Stream(ctx, stream)
	if err != nil {
		return Event{}, fmt.Errorf("find stream %s: %w", stream, err)
	}
	m, err := get(ctx, s)
	if err != nil {
		return Event{}, fmt.Errorf("read stream %s: %w", stream, err)
	}
	return DecodeEvent(fromNATS(m.Subject, m.Header, m.Data))
}

// final reports whether asking the broker again cannot help.
func final(err error) bool {
	_, malformed := errors.AsType[*InvalidError](err)
	return malformed || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, nats.ErrConnectionClosed)
}

// unavailable adds ErrUnavailable to a broker's error.
func unavailable(err error) error {
	if _, malformed := errors.AsType[*InvalidError](err); malformed {
		return fmt.Errorf("a stored event breaks the contract: %w", err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
