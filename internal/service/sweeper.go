package service

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/pgdump"
)

// SweeperConfig is what the role sweeper needs.
type SweeperConfig struct {
	Connection *nats.Conn
	JetStream  jetstream.JetStream
	Ledger     *ledger.Ledger
	Store      export.Store
	Exporter   *export.Exporter // runs requests that used up their deliveries and never began
	Announcer  *handlers.Announcer
	Announced  *export.Announced
	Projects   export.Projects
	Dumper     *pgdump.Dumper // ends the sessions of lost attempts on the sources
	// AckWait is how long a worker may be silent, and the pause between two sweeps.
	AckWait time.Duration
	// Drain is how long exports of the sweeper may continue after the end of Run's context.
	Drain time.Duration
	// Keep is how long the ledger keeps requests without a stored export. 0: for ever.
	Keep time.Duration
	// Begun is called when the sweeper listens.
	Begun func()
	Log   *slog.Logger
}

// Sweeper is the role sweeper: it ends requests that no worker will end, deletes the objects of
// failed attempts, and removes old rows from the ledger.
type Sweeper struct{ config SweeperConfig }

// NewSweeper makes a Sweeper.
func NewSweeper(c SweeperConfig) *Sweeper { return &Sweeper{c} }

// Run sweeps until ctx ends. An advisory of the broker starts a sweep early.
func (r *Sweeper) Run(ctx context.Context) error {
	c := r.config
	queue := broker.NewRequestQueue(c.JetStream, handlers.DecodeStored)
	rescuer := export.NewRescuer(export.RescuerConfig{
		Exporter: c.Exporter, Announcer: c.Announcer, Queue: queue, Drain: c.Drain, Log: c.Log,
	})
	defer rescuer.Wait()
	s := export.NewSweeper(export.SweeperConfig{
		Reaper: c.Ledger, Collector: c.Ledger, Announcer: c.Announcer, Store: c.Store, Log: c.Log,
		Queue: queue, Rescue: rescuer.Rescue, Every: c.AckWait, Grace: 2 * c.AckWait,
		Cleaner: c.Ledger, Removals: c.Ledger, Keep: c.Keep,
		EndSessions: r.endSessions, Announced: c.Announced,
	})
	const advisories = "$JS.EVENT.ADVISORY.CONSUMER.*." + events.StreamRequests + ".>"
	hint, err := c.Connection.Subscribe(advisories, func(*nats.Msg) { s.Hint() })
	if err != nil {
		return fmt.Errorf("listen for advisories: %w", err)
	}
	defer func() { _ = hint.Unsubscribe() }()
	c.Begun()
	s.Run(ctx)
	return nil
}

// endSessions finds the source of a request's project, and ends there what its attempts have left.
func (r *Sweeper) endSessions(ctx context.Context, id export.ID, attempts int) error {
	p, err := r.config.Projects.Lookup(ctx, id.Project)
	if err != nil {
		return err
	}
	return r.config.Dumper.EndAttempts(ctx, p, id, attempts)
}
