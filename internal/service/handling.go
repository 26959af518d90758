package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/consumer"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// takeConfig holds what the roles that receive requests share.
type takeConfig struct {
	JetStream jetstream.JetStream
	// Slots is how many messages run at once.
	Slots int
	// Pause is the pause before the first redelivery. It doubles up to 16 times that.
	Pause time.Duration
	// Drain is how long handlers may go on when the role ends.
	Drain time.Duration
	// Ready blocks until messages may be pulled.
	Ready func(ctx context.Context) error
	// Begun is called when the role's consumers are bound.
	Begun func()
	// Turned is called at each turn of a consumer's loop. See consumer.Config.
	Turned    func(consumer string, next time.Duration)
	Telemetry *telemetry.Telemetry
	Log       *slog.Logger
}

// with returns c for another role.
func (c takeConfig) with(begun func()) takeConfig {
	c.Begun = begun
	return c
}

// subscriber returns the configuration of the consumer.
func (c takeConfig) subscriber() consumer.Config {
	return consumer.Config{
		JetStream: c.JetStream, Bind: bindings, Slots: c.Slots, Ready: c.Ready, DrainTimeout: c.Drain, Logger: c.Log, Turned: c.Turned,
		Backoff: consumer.Exponential(c.Pause, 16*c.Pause, nil),
	}
}

// routerCloseTimeout is how long a router waits for its handlers beyond their drain.
const routerCloseTimeout = time.Minute

// handler is one topic and what handles its messages.
type handler struct {
	name, topic string
	handle      message.NoPublishHandlerFunc
	slots       int // 0: as many as the subscriber's configuration says
}

// handle runs handlers on subscribers until ctx ends and their messages are settled. It calls begun
// when their consumers are bound.
func handle(ctx context.Context, from consumer.Config, tel *telemetry.Telemetry, begun func(), all ...handler) error {
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: from.DrainTimeout + routerCloseTimeout}, newRouterLog(from.Logger))
	if err != nil {
		return err
	}
	router.AddMiddleware(consumer.Settle, tel.Middleware, middleware.Recoverer)
	for _, h := range all {
		own := from
		own.Slots = cmp.Or(h.slots, from.Slots)
		sub, err := consumer.New(own)
		if err != nil {
			return err
		}
		// The router waits for its handlers, and not for their acknowledgements.
		defer func() { _ = sub.Close() }() // always nil
		router.AddConsumerHandler(h.name, h.topic, sub, h.handle)
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-router.Running():
			begun()
		case <-stop:
		}
	}()
	return router.Run(ctx)
}

// bindings returns the durable consumer behind each subscribed topic.
func bindings(topic string) (broker.Binding, error) {
	switch topic {
	case events.RequestedFilter:
		return broker.Binding{Stream: events.StreamRequests, Consumer: events.ConsumerExport}, nil
	case events.CompletedFilter:
		return broker.Binding{Stream: events.StreamOutcomes, Consumer: events.ConsumerVerifier}, nil
	case events.TypeRequested:
		return broker.Binding{Stream: events.StreamIntake, Consumer: events.ConsumerIntake}, nil
	case events.RestoreRequestedFilter:
		return broker.Binding{Stream: events.StreamRestores, Consumer: events.ConsumerRestore}, nil
	case events.DueFilter:
		return broker.Binding{Stream: events.StreamSchedules, Consumer: events.ConsumerDue}, nil
	}
	return broker.Binding{}, fmt.Errorf("no consumer for %q", topic)
}

// routerLog is the log of a Watermill router. Info lines become debug lines. A handler logs its own
// export.Fault, so the router's line about it becomes a debug line too.
type routerLog struct{ watermill.LoggerAdapter }

func newRouterLog(log *slog.Logger) watermill.LoggerAdapter {
	return routerLog{watermill.NewSlogLoggerWithLevelMapping(log, map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug})}
}

// Error implements watermill.LoggerAdapter.
func (l routerLog) Error(msg string, err error, fields watermill.LogFields) {
	if _, fault := errors.AsType[*export.Fault](err); fault {
		l.Debug(msg, fields.Add(watermill.LogFields{"error": err}))
		return
	}
	l.LoggerAdapter.Error(msg, err, fields)
}

// With implements watermill.LoggerAdapter.
func (l routerLog) With(fields watermill.LogFields) watermill.LoggerAdapter {
	return routerLog{l.LoggerAdapter.With(fields)}
}
