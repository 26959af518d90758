package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/ThreeDotsLabs/watermill"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// openTelemetry is first, so that it is closed last: after every span has ended.
func (w *worker) openTelemetry(ctx context.Context) error {
	var err error
	w.telemetry, err = telemetry.New(ctx, telemetry.Config{Version: version, PerProject: w.config.PerProject, Log: w.log})
	if err != nil {
		return exit(exitUsage, err)
	}
	w.closers = append(w.closers, w.telemetry.Close)
	return nil
}

// publisher publishes to the broker's streams as one of its users, counted and traced.
func (w *worker) publisher(user server.User) telemetry.Publisher {
	return w.telemetry.Publisher(broker.NewPublisher(w.logins[user].js))
}

// watchQueues shows at each scrape what waits, as far as this worker's roles may look.
func (w *worker) watchQueues() {
	w.telemetry.ShowConnection(w.connected)
	rooms := newWaitingRooms(w.js)
	if slices.Contains(w.config.Roles, "worker") || slices.Contains(w.config.Roles, "sweeper") {
		w.telemetry.SampleQueue("requests", backlog(rooms.requests))
	}
	if slices.Contains(w.config.Roles, "intake") {
		w.telemetry.SampleQueue("intake", backlog(rooms.intake))
	}
	for _, channel := range setup.Channels(w.config) {
		queue := broker.NewQueue(w.logins[server.UserNotifier].js, broker.Binding{Stream: events.StreamNotifications, Consumer: broker.NotificationConsumer(string(channel))}, "")
		w.telemetry.SampleNotifier(string(channel), backlog(queue))
	}
	if w.ledger != nil {
		w.telemetry.SampleSuccesses(w.ledger.Successes)
	}
	if w.pruner != nil {
		w.telemetry.SampleRetention(func(ctx context.Context) (telemetry.Retention, error) {
			r, err := w.ledger.RetentionProgress(ctx)
			return telemetry.Retention{Waiting: r.Waiting, Failing: r.Failing, LastRun: r.CompletedAt}, err
		})
	}
}

func backlog(q *broker.Queue) func(context.Context) (telemetry.Backlog, error) {
	return func(ctx context.Context) (telemetry.Backlog, error) {
		d, err := q.Depth(ctx)
		return telemetry.Backlog{Waiting: d.Waiting, Held: d.Held, Oldest: d.OldestWaiting, First: d.Oldest}, err
	}
}

// routerLog is the log of a Watermill router. What Watermill finds worth an info line
// interests only who debugs it, and so does a handler's error that was logged where it was
// met: the router would repeat it as an error.
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
