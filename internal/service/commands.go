package service

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/delivery"
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

// CancelRestore asks the restorers to cancel a restore. If none answers within timeout, it records the
// cancel in the ledger, for which it needs DATABASE_URL: a restorer finds it there. Errors are those of
// setup.WithClient, events.Client.CancelRestore and WithLedger.
func CancelRestore(ctx context.Context, c config.Config, log *slog.Logger, ask events.RestoreCancel, timeout time.Duration) (reply events.RestoreCancelReply, err error) {
	err = setup.WithClient(ctx, c, server.UserOperator, log, func(ctx context.Context, client *events.Client) error {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		reply, err = client.CancelRestore(ctx, ask)
		return err
	})
	away := errors.Is(err, events.ErrUnavailable) || errors.Is(err, broker.ErrUnreachable) || errors.Is(err, server.ErrNoServer)
	if !away || c.DatabaseURL == "" {
		return reply, err
	}
	err = WithLedger(ctx, c, func(ctx context.Context, l *ledger.Ledger, _ *project.Projects) error {
		id, out, err := export.NewCanceller(export.CancellerConfig{
			Ledger: l.Restores(), Queue: waitingRestores{c, log}, Announcer: silent{}, Tell: func(export.ID) {}, Log: log,
		}).Cancel(ctx, ask.RestoreID, ask.ProjectID, ask.RequestedBy)
		reply = handlers.RestoreCancelReply(ask, id, out, err)
		if reply.Result == events.CancelUnavailable {
			return err
		}
		return nil
	})
	return reply, err
}

// waitingRestores is the queue of restores as the operator may use it. It connects only if it is
// asked.
type waitingRestores struct {
	config config.Config
	log    *slog.Logger
}

// Waiting implements export.WaitingQueue.
func (w waitingRestores) Waiting(ctx context.Context, id, project string) (out []export.QueuedRequest, err error) {
	err = setup.WithJetStream(ctx, w.config, w.log, func(ctx context.Context, js jetstream.JetStream) error {
		out, err = broker.NewRestoreQueue(js, handlers.DecodeStoredRestore).Waiting(ctx, id, project)
		return err
	})
	return out, err
}

// Remove implements export.WaitingQueue. The operator may not remove requests; a restorer does.
func (waitingRestores) Remove(context.Context, delivery.Delivery) error { return nil }

// silent is an Announcer of the operator, which may announce nothing: a restorer does.
type silent struct{}

func (silent) Announce(context.Context, export.Outcome) error { return nil }
