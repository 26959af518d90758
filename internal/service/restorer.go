package service

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/restore/operation"
	"github.com/pgcourier/pgcourier/internal/restore/scratch"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// RestorerConfig is what the role restorer needs.
type RestorerConfig struct {
	Settings config.Config
	Name     string // of this process, in the ledger
	// Connection and JetStream are those of the user restorer.
	Connection *nats.Conn
	JetStream  jetstream.JetStream
	Ledger     *ledger.Ledger
	Targets    *project.Restores
	Health     *Health
	Draining   <-chan struct{}
	Telemetry  *telemetry.Telemetry
	// Ready blocks until messages may be pulled. Begun is called when the consumer is bound.
	Ready func(ctx context.Context) error
	Begun func()
	// Turned is called at each turn of the consumer's loop. See consumer.Config.
	Turned func(consumer string, next time.Duration)
	Log    *slog.Logger
}

// Restorer is the role restorer: it restores exports into the projects' databases. Like the verifier
// it opens the destinations itself, with identities, because a worker of the same process must not
// have these.
type Restorer struct {
	config    RestorerConfig
	reader    *destinations.Reader
	server    *scratch.Server
	placer    *placer
	ledger    *ledger.Restores
	publisher publications
}

// restorerSource is the CloudEvents source of a restorer's events.
const restorerSource = "pgcourier/restorer"

// NewRestorer checks the restore query, reads the identities and opens the storage. The first restore
// into a schema of another name starts the throw-away server. The caller closes the restorer.
func NewRestorer(ctx context.Context, c RestorerConfig) (*Restorer, error) {
	s := c.Settings
	if err := c.Targets.Check(ctx); err != nil {
		return nil, config.AsError(err)
	}
	if err := CheckClients(ctx, s, c.Log, append(restore.Tools(), "pg_dump")...); err != nil {
		return nil, err
	}
	ids, err := destinations.ReadIdentities(s.AgeIdentityFiles)
	if err != nil {
		return nil, err
	}
	urls, err := s.StorageURLs()
	if err != nil {
		return nil, err
	}
	set, err := destinations.Open(urls, destinations.Options{TelegramToken: s.TelegramToken, AllowPlaintext: true, Identities: ids, Log: c.Log})
	if err != nil {
		return nil, err
	}
	if err := set.Bind(ctx, c.Ledger); err != nil {
		return nil, errors.Join(err, set.Close())
	}
	sandbox, err := scratch.OpenSandbox(ctx, s.Sandbox, c.Log)
	if err != nil {
		return nil, errors.Join(err, set.Close())
	}
	r := &Restorer{
		config: c, reader: destinations.NewReader(set, ids), server: scratch.NewServer(s.VerifyScratchURL, s.PasswordCommand, sandbox),
		ledger: c.Ledger.Restores(), publisher: publications{c.Telemetry.Publisher(broker.NewPublisher(c.JetStream))},
	}
	rc := restore.Config{Logger: c.Log, SpoolDir: s.Spool(), Confine: sandbox.Confine(), Scratch: r.server.For}
	if s.PGBinDir != "" {
		rc.BinDirs = []string{s.PGBinDir}
	}
	r.placer = &placer{engine: restore.New(rc), reader: r.reader, database: s.DatabaseURL, command: s.PasswordCommand, keep: s.RestoreKeep, log: c.Log}
	return r, nil
}

// Run restores, one export at a time, until ctx ends, and lets a running restore finish. It also ends
// the restores that no restorer will end, and drops what was kept long enough.
func (r *Restorer) Run(ctx context.Context) error {
	c := r.config
	reaper := &operation.Reaper{Ledger: r.ledger, Targets: c.Targets, Engine: r.placer, Gap: max(30*time.Minute, 3*c.Settings.AckWait)}
	runner := operation.New(operation.Config{
		Ledger: r.ledger, Targets: c.Targets, Exports: exportsOf{c.Ledger}, Engine: r.placer, Reaper: reaper,
		Observer: &handlers.RestoreObserver{Publisher: r.publisher, Source: restorerSource, Log: c.Log},
		Lease:    c.Settings.AckWait, MaxAttempts: MaxAttempts, Worker: c.Name, Log: c.Log,
	})
	announcer := &handlers.Announcer{
		Publisher: r.publisher, Outbox: r.ledger, Source: restorerSource, Restores: true, Waiting: c.Health.Outcome, Draining: c.Draining, Log: c.Log,
	}
	from := takeConfig{
		JetStream: c.JetStream, Slots: 1, Pause: c.Settings.RetryBackoff, Drain: handlersDrain(c.Settings.DrainTimeout), Ready: c.Ready,
		Turned: c.Turned, Log: c.Log,
	}.subscriber()
	from.Turn = func(d delivery.Delivery) string { return d.Subject } // it names the project
	from.Window = window(c.Settings)
	h := &handlers.Restore{Restorer: runner, Announcer: announcer}

	queue := broker.NewRestoreQueue(c.JetStream, handlers.DecodeStoredRestore)
	canceller, err := NewCanceller(ctx, CancellerConfig{
		Connection: c.Connection, Ledger: r.ledger, Queue: queue, Announcer: announcer, Nudge: runner.Nudge, Restores: true, Log: c.Log,
	})
	if err != nil {
		return err
	}
	defer func() { _ = canceller.Close() }() // a running restore can be cancelled while the restorer drains
	rescuer := export.NewRescuer(export.RescuerConfig{
		Exporter: runner, Announcer: announcer, Queue: queue, Drain: handlersDrain(c.Settings.DrainTimeout), Log: c.Log,
	})
	sweeper := export.NewSweeper(export.SweeperConfig{
		Reaper: reaper, Announcer: announcer, Queue: queue, Rescue: rescuer.Rescue, Every: c.Settings.AckWait, Grace: 2 * c.Settings.AckWait, Log: c.Log,
		Cleaner: r.ledger, Keep: c.Settings.LedgerRetention,
	})
	defer rescuer.Wait()
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { sweeper.Run(gctx); return nil })
	kept := &keptDropper{ledger: r.ledger, targets: c.Targets, engine: r.placer, log: c.Log}
	group.Go(func() error { kept.run(gctx, min(dropEvery, c.Settings.RestoreKeep)); return nil })
	group.Go(func() error {
		return handle(gctx, from, c.Telemetry, c.Begun, handler{"restore", events.RestoreRequestedFilter, h.Handle, 0})
	})
	return group.Wait()
}

// Close stops the throw-away server and closes the storage.
func (r *Restorer) Close() error { return errors.Join(r.server.Close(), r.reader.Set.Close()) }

// exportsOf implements operation.Exports.
type exportsOf struct{ ledger *ledger.Ledger }

var _ operation.Exports = exportsOf{}

func (e exportsOf) Latest(ctx context.Context, project string, verified bool) (string, error) {
	return e.ledger.LatestExport(ctx, project, verified)
}

func (e exportsOf) Completed(ctx context.Context, id export.ID) (*export.Outcome, error) {
	found, err := e.ledger.Get(ctx, id.Request, id.Project)
	if err != nil || len(found) != 1 {
		return nil, err
	}
	if x := found[0]; x.State == export.Completed && x.RemovedAt == nil {
		return x.Outcome, nil
	}
	return nil, nil //nolint:nilnil // no such export is an ordinary answer
}
