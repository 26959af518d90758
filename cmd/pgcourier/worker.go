package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"filippo.io/age"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/controlplane"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/notify"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/retention"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/spool"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// worker is everything one serving process holds. close releases it, in the reverse order
// of opening.
type worker struct {
	config     config.Config
	log        *slog.Logger
	telemetry  *telemetry.Telemetry
	source     string         // CloudEvents source of what this process publishes
	server     *server.Server // nil: the broker is elsewhere
	logins     map[server.User]login
	nc         *nats.Conn // of the first role
	js         jetstream.JetStream
	admin      jetstream.JetStream // makes the streams, if it may
	pool       *pgxpool.Pool
	ledger     *ledger.Ledger
	exports    *export.Exporter
	store      export.Store
	places     destinations.Set // the store's, the primary one first
	speaker    *handlers.Announcer
	groups     *handlers.Groups  // nil: every project is dumped by itself
	checker    *verifier         // of the role verifier
	pruner     *retention.Pruner // of the role pruner
	scheduling bool              // this process moves what schedules make due
	closers    []func() error

	senders map[notify.Channel]notify.Sender // of the notifier
	policy  notify.Policy
}

// openWorker connects and checks everything a worker needs, and reports what is wrong
// before it takes any work.
func openWorker(ctx context.Context, c config.Config, log *slog.Logger) (*worker, error) {
	return openWorkerWith(ctx, c, log, nil)
}

// openWorkerWith is openWorker with credentials for S3; nil: the usual chain of them.
func openWorkerWith(ctx context.Context, c config.Config, log *slog.Logger, keys *credentials.Credentials) (w *worker, err error) {
	if c.Exporting() && c.DatabaseURL == "" {
		return nil, exitf(exitUsage, "set PGCOURIER_DATABASE_URL: the database of the control plane and the ledger")
	}
	recipients, err := seal.ParseRecipients(c.AgeRecipients)
	if err != nil {
		return nil, exitf(exitUsage, "PGCOURIER_AGE_RECIPIENTS: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name this worker: %w", err)
	}
	w = &worker{config: c, log: log, source: "pgcourier/worker", logins: map[server.User]login{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if err := w.openTelemetry(ctx); err != nil {
		return w, err
	}
	if err := w.openNotifier(); err != nil {
		return w, err
	}
	if err := w.openBroker(ctx); err != nil {
		return w, err
	}
	if err := w.openVerifier(ctx); err != nil || !c.Exporting() {
		return w, err
	}
	if err := w.openLedger(ctx); err != nil {
		return w, err
	}
	if err := w.openStorage(ctx, recipients, keys); err != nil {
		return w, err
	}
	return w, w.openExporter(ctx, fmt.Sprintf("%s/%d", host, os.Getpid()), recipients)
}

func (w *worker) openBroker(ctx context.Context) error {
	if w.config.NATSURL == "" {
		if err := w.startServer(ctx); err != nil {
			return err
		}
	}
	for _, user := range setup.Users(w.config) {
		l, err := w.logIn(user)
		if err != nil {
			return err
		}
		if w.nc == nil {
			w.nc, w.js = l.nc, l.js
		}
	}
	if w.admin == nil {
		w.admin = w.js
	}
	err := w.provision(ctx)
	if err == nil {
		w.scheduling, err = w.provisionSchedules(ctx)
	}
	return err
}

// provision makes the streams and consumers, or checks them where it may not.
func (w *worker) provision(ctx context.Context) error {
	err := broker.Provision(ctx, w.admin, setup.Topology(w.config))
	if drift, ok := errors.AsType[*broker.DriftError](err); ok && w.server == nil {
		return fmt.Errorf("%w: run `pgcourier broker setup` as the broker's administrator, with the same settings", drift)
	}
	return err
}

// provisionAgain does so after each reconnect: a broker that lost its store comes back
// without streams, and then nobody could ask for anything or be told of anything.
func (w *worker) provisionAgain(ctx context.Context) {
	status := w.nc.StatusChanged(nats.CONNECTED)
	defer w.nc.RemoveStatusListener(status)
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-status:
			if !open {
				return
			}
		}
		_ = export.Retry(ctx, func(ctx context.Context) error { // ends well, or with ctx
			err := w.provision(ctx)
			if err == nil {
				_, err = w.provisionSchedules(ctx)
			}
			err = outage(err)
			if err != nil && ctx.Err() == nil {
				w.log.WarnContext(ctx, "broker not set up yet", "error", err)
			}
			return err
		})
	}
}

// maxAttempts is the contract's: as many attempts as deliveries.
const maxAttempts = 3

func (w *worker) openLedger(ctx context.Context) error {
	if w.ledger != nil { // a verifier of this process was first
		return nil
	}
	var err error
	if w.pool, err = controlplane.Connect(context.WithoutCancel(ctx), w.config.DatabaseURL); err != nil {
		return exit(exitUsage, err)
	}
	w.closers = append(w.closers, func() error { w.pool.Close(); return nil })
	w.ledger, err = ledger.Open(ctx, ledger.Config{Pool: w.pool, Lease: w.config.AckWait, MaxAttempts: maxAttempts})
	if errors.Is(err, export.ErrLedgerUnavailable) {
		return exit(exitUnreachable, err)
	}
	return err
}

func (w *worker) openStorage(ctx context.Context, recipients []age.Recipient, keys *credentials.Credentials) error {
	c := w.config
	urls, err := c.StorageURLs()
	if err != nil {
		return err
	}
	w.places, err = destinations.Open(urls, destinations.Options{
		TelegramToken: c.TelegramToken, AllowPlaintext: c.AllowPlaintext, Recipients: recipients, S3: keys, Log: w.log,
		Transport: w.telemetry.Transport,
		Journal:   func(destination string) storage.Journal { return notes{w.ledger, destination} },
	})
	if err != nil {
		return err
	}
	w.closers = append(w.closers, w.places.Close)
	if err := w.places.Check(ctx, w.log); err != nil {
		return err
	}
	w.store, err = w.places.Store(destinations.StoreConfig{Budget: c.UploadTimeout, Around: w.telemetry.Store, Log: w.log})
	return err
}

func (w *worker) openExporter(ctx context.Context, name string, recipients []age.Recipient) error {
	c := w.config
	projects := project.New(w.pool, c.ProjectQuery)
	err := projects.Check(ctx)
	if err != nil {
		return exit(exitUsage, err)
	}
	tools := []string{"pg_dump"}
	if grouping(c) { // what is dumped together is made into scripts by pg_restore, here
		tools = append(tools, "pg_restore")
	}
	if err := checkClients(ctx, c, w.log, tools...); err != nil {
		return err
	}
	dumps := w.dumpConfig()
	if dumps.Spool, err = w.openSpool(ctx); err != nil {
		return exit(exitUsage, err)
	}
	dumper, err := pgdump.New(dumps)
	if err != nil {
		return exit(exitUsage, err)
	}
	w.closers = append(w.closers, dumper.Close)
	speaker := publications{w.publisher(server.UserWorker)}
	w.speaker = &handlers.Announcer{Publisher: speaker, Outbox: w.ledger, Source: w.source, Log: w.log}
	w.exports = export.New(export.Config{
		Ledger: w.telemetry.Ledger(w.ledger), Projects: w.telemetry.Projects(projects), Dumper: w.telemetry.Dumper(dumper), Store: w.store,
		Observer: &handlers.Observer{Publisher: speaker, Source: w.source, Log: w.log},
		Inspect:  func(f export.Format) (export.Inspector, error) { return archive.NewChecker(f) },
		Seal:     seal.Options{MaxBytes: int64(c.MaxBytes), Recipients: recipients},
		Lease:    c.AckWait, MaxAttempts: maxAttempts, Worker: name, Log: w.log,
	})
	if err := w.openGroups(dumper, dumps.Spool != nil); err != nil {
		return err
	}
	return w.openPruner(projects, name)
}

// openSpool opens the spool for format directory and clears what killed workers have left in
// it. Who set no folder may do without: a worker need not be able to write to a disk.
func (w *worker) openSpool(ctx context.Context) (*spool.Area, error) {
	area, err := spool.Open(w.config.Spool())
	switch {
	case err != nil && w.config.SpoolDir != "":
		return nil, fmt.Errorf("PGCOURIER_SPOOL_DIR: %w", err)
	case err != nil:
		w.log.WarnContext(ctx, "no spool: exports of format directory will fail here", "error", err)
	}
	return area, nil
}

func (w *worker) dumpConfig() pgdump.Config {
	c := w.config
	d := pgdump.Config{
		DefaultDSN: c.DatabaseURL, Timeout: c.Timeout, Stall: c.StallTimeout, LockWaitTimeout: c.LockTimeout, Logger: w.log,
		SpoolBytes: int64(c.SpoolBytes), ParallelJobs: c.ParallelJobs,
		KeepWarm:  30 * time.Second,
		KillDelay: 500 * time.Millisecond, // a cancelled dump is gone within two seconds, its whole process group
	}
	if c.PGBinDir != "" {
		d.BinDirs = []string{c.PGBinDir}
	}
	return d
}

// close releases what openWorker opened.
func (w *worker) close() error {
	var faults []error
	for _, c := range slices.Backward(w.closers) {
		faults = append(faults, c())
	}
	w.closers = nil
	return errors.Join(faults...)
}
