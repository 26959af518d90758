// Package service is what `pgcourier serve` runs: the roles of one process, and what they share.
//
// service.go opens what the roles share and makes each role of its Config. Each role has a file
// of its own: exporter, intake, scheduler, sweeper, verifier, notifier, pruner, and the listener
// for probes and metrics.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/sync/errgroup"

	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/controlplane"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/retention"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// MaxAttempts is the contract's: as many attempts as deliveries.
const MaxAttempts = 3

// source is the CloudEvents source of what a worker publishes.
const source = "pgcourier/worker"

// Config says what one process serves.
type Config struct {
	Settings config.Config
	// Version is the program's, for metrics and traces.
	Version string
	// S3 replaces the usual sources of credentials for S3. nil: environment, file, role.
	S3  *credentials.Credentials
	Log *slog.Logger
}

// Service is one serving process. Its owner closes it after Run.
type Service struct {
	settings config.Config
	log      *slog.Logger
	roles    []role
	closers  []func() error
}

// role is one part of a process that serves until its context ends.
type role interface {
	Run(ctx context.Context) error
}

// shared is what the roles that need the database share.
type shared struct {
	settings     config.Config
	name         string // of this process, in the ledger
	log          *slog.Logger
	telemetry    *telemetry.Telemetry
	broker       *brokerLink
	ledger       *ledger.Ledger
	projects     *project.Projects
	destinations destinations.Set
	exports      *exports
}

// New connects to everything that the roles need and checks it. What is wrong is reported before
// any work is taken. The caller closes the service.
//
// Errors are a *config.Error, wrap broker.ErrUnreachable, broker.ErrUnauthorized,
// storage.ErrUnavailable or export.ErrLedgerUnavailable, or are faults of this machine.
func New(ctx context.Context, c Config) (s *Service, err error) {
	if runtime.GOOS != "linux" {
		return nil, config.Errorf("serving needs Linux, and this is %s: run the worker on Linux or in a container; the other commands work here", runtime.GOOS)
	}
	settings := c.Settings
	if settings.Exporting() && settings.DatabaseURL == "" {
		return nil, config.Errorf("set PGCOURIER_DATABASE_URL: the database of the control plane and the ledger")
	}
	recipients, err := seal.ParseRecipients(settings.AgeRecipients)
	if err != nil {
		return nil, config.Errorf("PGCOURIER_AGE_RECIPIENTS: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name this worker: %w", err)
	}
	s = &Service{settings: settings, log: c.Log}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
			s = nil
		}
	}()
	// The first to open is the last to close: after every span has ended.
	tel, err := telemetry.New(ctx, telemetry.Config{Version: c.Version, PerProject: settings.PerProject, Log: c.Log})
	if err != nil {
		return s, config.AsError(err)
	}
	s.onClose(tel.Close)
	channels, err := openChannels(settings, tel, c.Log)
	if err != nil {
		return s, err
	}
	s.onClose(channels.Close)
	link, err := openBroker(ctx, settings, c.Log)
	if err != nil {
		return s, err
	}
	s.onClose(link.Close)
	schedules, err := link.provision(ctx)
	if err != nil {
		return s, err
	}
	s.roles = append(s.roles, link)
	var pool *pgxpool.Pool
	var records *ledger.Ledger
	openRecords := func() error {
		if pool, records, err = openLedger(ctx, settings); err == nil {
			s.onClose(func() error { pool.Close(); return nil })
		}
		return err
	}
	if settings.Serves(config.RoleVerifier) {
		if settings.DatabaseURL != "" { // without it a verifier knows nothing of removals
			if err := openRecords(); err != nil {
				return s, err
			}
		}
		v, err := NewVerifier(ctx, VerifierConfig{
			Settings: settings, JetStream: link.jetStream(server.UserVerifier), Ledger: records, Telemetry: tel, Log: c.Log,
		})
		if err != nil {
			return s, err
		}
		s.onClose(v.Close)
		s.roles = append(s.roles, v)
	}
	if settings.Serves(config.RoleNotifier) {
		s.roles = append(s.roles, NewNotifier(NotifierConfig{
			JetStream: link.jetStream(server.UserNotifier), Channels: channels, Telemetry: tel, Log: c.Log,
			Pause: settings.NotifyBackoff, Tries: settings.NotifyTries, Timeout: settings.NotifyTimeout, Drain: settings.DrainTimeout,
		}))
	}
	if settings.Exporting() {
		if records == nil {
			if err := openRecords(); err != nil {
				return s, err
			}
		}
		sh := shared{
			settings: settings, name: fmt.Sprintf("%s/%d", host, os.Getpid()), log: c.Log,
			telemetry: tel, broker: link, ledger: records, projects: project.New(pool, settings.ProjectQuery),
		}
		if err := s.openExports(ctx, &sh, recipients, c.S3); err != nil {
			return s, err
		}
		if err := s.addExportingRoles(ctx, sh, schedules); err != nil {
			return s, err
		}
	}
	sample(samples{Settings: settings, Telemetry: tel, Broker: link, Ledger: records})
	s.roles = append(s.roles, NewListener(ListenerConfig{
		Addr: settings.HTTPAddr, Ready: readiness(link, records), Metrics: tel.Handler(), PProf: settings.PProf, Log: c.Log,
	}))
	return s, nil
}

func openLedger(ctx context.Context, settings config.Config) (*pgxpool.Pool, *ledger.Ledger, error) {
	pool, err := controlplane.Connect(context.WithoutCancel(ctx), settings.DatabaseURL)
	if err != nil {
		return nil, nil, config.AsError(err)
	}
	l, err := ledger.Open(ctx, ledger.Config{Pool: pool, Lease: settings.AckWait, MaxAttempts: MaxAttempts})
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	return pool, l, nil
}

// openExports opens the storage and what exports into it.
func (s *Service) openExports(ctx context.Context, sh *shared, recipients []age.Recipient, keys *credentials.Credentials) error {
	c := sh.settings
	urls, err := c.StorageURLs()
	if err != nil {
		return err
	}
	sh.destinations, err = destinations.Open(urls, destinations.Options{
		TelegramToken: c.TelegramToken, AllowPlaintext: c.AllowPlaintext, Recipients: recipients, S3: keys, Log: s.log,
		Transport: sh.telemetry.Transport,
		Journal:   func(destination string) storage.Journal { return NewJournal(sh.ledger, destination) },
	})
	if err != nil {
		return err
	}
	s.onClose(sh.destinations.Close)
	if err := sh.destinations.Check(ctx, s.log); err != nil {
		return err
	}
	store, err := sh.destinations.Store(destinations.StoreConfig{Budget: c.UploadTimeout, Around: sh.telemetry.Store, Log: s.log})
	if err != nil {
		return err
	}
	sh.exports, err = openExporter(ctx, exportsConfig{
		Settings: c, Name: sh.name, Ledger: sh.ledger, Projects: sh.projects, Store: store, Recipients: recipients,
		Publisher: sh.broker.publisher(server.UserWorker, sh.telemetry), Telemetry: sh.telemetry, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.onClose(sh.exports.dumper.Close)
	return nil
}

// addExportingRoles makes the roles that need the database.
func (s *Service) addExportingRoles(ctx context.Context, sh shared, schedules bool) error {
	c := sh.settings
	policy, err := retention.Parse(c.Retention)
	if err != nil {
		return config.Errorf("%sRETENTION: %w", config.Prefix, err)
	}
	publisher := sh.broker.publisher(server.UserWorker, sh.telemetry)
	js, nc := sh.broker.jetStream(server.UserWorker), sh.broker.connection(server.UserWorker)
	take := takeConfig{
		JetStream: js, Slots: c.Concurrency, Pause: c.RetryBackoff, Drain: c.DrainTimeout, Telemetry: sh.telemetry, Log: s.log,
		// While the control plane is unreachable nothing is pulled: an outage costs no delivery.
		Ready: func(ctx context.Context) error { return export.Retry(ctx, sh.ledger.Ping) },
	}
	if c.Serves(config.RoleWorker) {
		canceller, err := NewCanceller(ctx, CancellerConfig{Connection: nc, JetStream: js, Ledger: sh.ledger, Exporter: sh.exports.exporter, Announcer: sh.exports.announcer, Log: s.log})
		if err != nil {
			return err
		}
		s.onClose(canceller.Close) // running exports can be cancelled while the worker drains
		s.roles = append(s.roles, NewExporter(ExporterConfig{
			takeConfig: take, Window: window(c), Runner: sh.telemetry.Runner(sh.exports.exporter), Announcer: sh.exports.announcer, Groups: sh.exports.groups,
		}))
	}
	if c.Serves(config.RoleIntake) {
		s.roles = append(s.roles, NewIntake(IntakeConfig{takeConfig: take, Publisher: publisher}))
		if schedules {
			s.roles = append(s.roles, NewScheduler(SchedulerConfig{takeConfig: take, Publisher: publisher}))
		}
	}
	if c.Serves(config.RoleSweeper) {
		s.roles = append(s.roles, NewSweeper(SweeperConfig{
			Connection: nc, JetStream: js, Ledger: sh.ledger, Store: sh.exports.store, Exporter: sh.exports.exporter, Announcer: sh.exports.announcer,
			AckWait: c.AckWait, Drain: c.DrainTimeout, Keep: c.LedgerRetention, Log: s.log,
		}))
	}
	if c.Serves(config.RolePruner) {
		s.roles = append(s.roles, NewPruner(PrunerConfig{
			Ledger: sh.ledger, Projects: sh.projects, Destinations: sh.destinations, NotDeleted: sh.telemetry.NotDeleted,
			Publisher: publisher, Policy: policy, Notice: c.PruneNotice, Every: c.PruneEvery, Holder: sh.name, Log: s.log,
		}))
	}
	return nil
}

// Run serves the roles until ctx ends, and then lets running exports finish.
func (s *Service) Run(ctx context.Context) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, r := range s.roles {
		group.Go(func() error { return r.Run(gctx) })
	}
	defer context.AfterFunc(ctx, func() {
		s.log.InfoContext(ctx, "draining: running exports may finish, a second signal ends them", "at_most", s.settings.DrainTimeout)
	})()
	s.log.InfoContext(ctx, "serving", "roles", strings.Join(s.settings.Roles, ","), "concurrency", s.settings.Concurrency)
	err := group.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // told to stop before all had begun
	}
	return err
}

// onClose lets Close call f, before what was given to it earlier.
func (s *Service) onClose(f func() error) { s.closers = append(s.closers, f) }

// Close releases what New opened.
func (s *Service) Close() error {
	var faults []error
	for _, f := range slices.Backward(s.closers) {
		faults = append(faults, f())
	}
	s.closers = nil
	return errors.Join(faults...)
}

// readiness returns whether the process may take work now, in words fit for any caller.
func readiness(link *brokerLink, records *ledger.Ledger) func(context.Context) error {
	return func(ctx context.Context) error {
		if !link.connected() {
			return errors.New("the broker is unreachable")
		}
		if records == nil { // a notifier alone needs none
			return nil
		}
		if err := records.Ping(ctx); err != nil {
			return errors.New("the control plane is unreachable")
		}
		return nil
	}
}

// routerCloseTimeout is what a router's handlers may take to return beyond their drain.
const routerCloseTimeout = time.Minute
