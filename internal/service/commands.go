package service

import (
	"context"
	"errors"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/export"
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

// CancelRestore records that a restore is to end: one that the ledger knows, or one that waits in the
// queue. Its outcome is nil until its owner ends it. export.ErrUnknown: there is no such restore. Other
// errors are those of WithLedger and setup.WithJetStream.
func CancelRestore(ctx context.Context, c config.Config, log *slog.Logger, id export.ID, by string) (out *export.Outcome, err error) {
	err = WithLedger(ctx, c, func(ctx context.Context, l *ledger.Ledger, _ *project.Projects) error {
		restores := l.Restores()
		known, err := restores.Cancel(ctx, id, by)
		if !errors.Is(err, export.ErrUnknown) {
			out = known.Outcome
			return err
		}
		return setup.WithJetStream(ctx, c, log, func(ctx context.Context, js jetstream.JetStream) error {
			queued, err := broker.NewRestoreQueue(js, handlers.DecodeStoredRestore).OfProject(ctx, id.Project)
			if err != nil {
				return err
			}
			for _, q := range queued {
				if q.Request.ID == id {
					now, err := restores.CancelQueued(ctx, q.Request, q.Delivery, by)
					out = now.Outcome
					return err
				}
			}
			now, err := restores.Cancel(ctx, id, by) // a restorer may have recorded it between the two looks
			out = now.Outcome
			return err
		})
	})
	return out, err
}
