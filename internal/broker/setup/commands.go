package setup

import (
	"context"
	"errors"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/config"
)

// WithClient connects as user, calls do and disconnects. Errors are those of Connect and of do.
func WithClient(ctx context.Context, c config.Config, user server.User, log *slog.Logger, do func(context.Context, *events.Client) error) error {
	nc, err := Connect(c, user, log)
	if err != nil {
		return err
	}
	defer nc.Close()
	client, err := Client(c, nc)
	if err != nil {
		return err
	}
	return do(ctx, client)
}

// WithJetStream connects as the operator, calls do and disconnects. Errors are those of Connect and
// of do. If the broker does not answer do, the error is also a broker.ErrUnreachable.
func WithJetStream(ctx context.Context, c config.Config, log *slog.Logger, do func(context.Context, jetstream.JetStream) error) error {
	nc, err := Connect(c, server.UserOperator, log)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := JetStream(c, nc)
	if err != nil {
		return err
	}
	err = do(ctx, js)
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, context.DeadlineExceeded) {
		return unansweredError{err}
	}
	return err
}

// ConnectOperator connects as the operator, for the streams and for events. The caller calls
// disconnect. Errors are those of Connect.
func ConnectOperator(c config.Config, log *slog.Logger) (js jetstream.JetStream, client *events.Client, disconnect func(), err error) {
	nc, err := Connect(c, server.UserOperator, log)
	if err != nil {
		return nil, nil, nil, err
	}
	if js, err = JetStream(c, nc); err == nil {
		client, err = Client(c, nc)
	}
	if err != nil {
		nc.Close()
		return nil, nil, nil, err
	}
	return js, client, nc.Close, nil
}

// WithSchedules is WithJetStream with the broker's schedules.
func WithSchedules(ctx context.Context, c config.Config, log *slog.Logger, do func(context.Context, *broker.Schedules) error) error {
	return WithJetStream(ctx, c, log, func(ctx context.Context, js jetstream.JetStream) error {
		s, err := broker.OpenSchedules(ctx, js)
		if err != nil {
			return err
		}
		return do(ctx, s)
	})
}

// unansweredError is a broker.ErrUnreachable with the text of its cause.
type unansweredError struct{ error }

func (e unansweredError) Unwrap() error { return e.error }

func (unansweredError) Is(target error) bool { return target == broker.ErrUnreachable }
