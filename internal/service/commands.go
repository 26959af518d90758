package service

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/replay"
)

// WithLedger opens the ledger and the control plane's projects, calls do and closes them. It
// creates a missing schema of the ledger. A missing or malformed DATABASE_URL is a *config.Error.
func WithLedger(ctx context.Context, c config.Config, do func(context.Context, *ledger.Ledger, *project.Projects) error) error {
	if c.DatabaseURL == "" {
		return config.Errorf("set PGCOURIER_DATABASE_URL, as for the worker")
	}
	pool, err := controlplane.Connect(ctx, c.DatabaseURL, c.PasswordCommand)
	if err != nil {
		return config.AsError(err)
	}
	defer pool.Close()
	l, err := ledger.Open(ctx, ledger.Config{Pool: pool})
	if err != nil {
		return err
	}
	return do(ctx, l, project.New(pool, c.ProjectQuery))
}

// NewPlanner returns a planner of replays over the broker's streams.
func NewPlanner(js jetstream.JetStream) *replay.Planner {
	return &replay.Planner{History: replay.NewStreams(js), Queue: broker.NewRequestQueue(js, handlers.DecodeStored)}
}
