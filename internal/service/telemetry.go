package service

import (
	"context"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// samples holds the sources that a scrape reads.
type samples struct {
	Settings  config.Config
	Telemetry *telemetry.Telemetry
	Broker    *brokerLink
	Ledger    *ledger.Ledger // nil: none
	Health    *Health
}

// sample adds the waiting requests and notifications to each scrape, as far as the users of this
// process's roles may read them.
func sample(s samples) {
	c, tel := s.Settings, s.Telemetry
	tel.ShowConnection(s.Broker.connected)
	tel.ShowHealth(s.Health.Sound, s.Health.OutcomesWaiting)
	queue := broker.NewRequestQueue(s.Broker.jetStream(s.Broker.first), handlers.DecodeStored)
	if c.Serves(config.RoleWorker) || c.Serves(config.RoleSweeper) {
		tel.SampleQueue("requests", backlog(queue.Projects))
	}
	if c.Serves(config.RoleIntake) {
		tel.SampleQueue("intake", backlog(queue.Intake))
	}
	for _, channel := range setup.Channels(c) {
		queue := broker.NewQueue(s.Broker.jetStream(server.UserNotifier), broker.Binding{Stream: events.StreamNotifications, Consumer: broker.NotificationConsumer(string(channel))}, "")
		tel.SampleNotifier(string(channel), backlog(queue))
	}
	if s.Ledger == nil {
		return
	}
	tel.SampleSuccesses(s.Ledger.Successes)
	if c.Serves(config.RolePruner) {
		tel.SampleRetention(func(ctx context.Context) (telemetry.Retention, error) {
			r, err := s.Ledger.RetentionProgress(ctx)
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
