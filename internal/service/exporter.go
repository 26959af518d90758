package service

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/handover/receipt"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/spool"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// ExporterConfig is what the role worker needs.
type ExporterConfig struct {
	takeConfig
	// Window is the most requests that the worker holds to find those of other projects.
	Window    int
	Runner    handlers.Exporter
	Announcer *handlers.Announcer
	Groups    *handlers.Groups // nil: every project is dumped alone
}

// Exporter is the role worker: it receives requests and runs their exports.
type Exporter struct{ config ExporterConfig }

// NewExporter makes an Exporter.
func NewExporter(c ExporterConfig) *Exporter { return &Exporter{c} }

// Run exports until ctx ends, and lets running exports finish.
func (e *Exporter) Run(ctx context.Context) error {
	from := e.config.subscriber()
	from.Turn = func(d delivery.Delivery) string { return d.Subject } // it names the project
	from.Window = e.config.Window
	h := &handlers.Requested{Exporter: e.config.Runner, Announcer: e.config.Announcer, Groups: e.config.Groups}
	return handle(ctx, from, e.config.Telemetry, e.config.Begun, handler{"export", events.RequestedFilter, h.Handle, 0})
}

// window returns the most requests that a worker holds: all that may wait for one project, and
// 1,024 others. The limit of 4,096 bounds the heartbeats for parked messages.
func window(c config.Config) int {
	return c.Concurrency + min(c.MaxWaitingPerProject+1024, 4096)
}

// exportsConfig is what the use case export needs.
type exportsConfig struct {
	Settings   config.Config
	Name       string // of this worker
	Ledger     *ledger.Ledger
	Projects   *project.Projects
	Store      export.Store
	Recipients []seal.Recipient
	Signer     *receipt.Signer // of receipts; nil: none
	Publisher  telemetry.Publisher
	JetStream  jetstream.JetStream
	Telemetry  *telemetry.Telemetry
	Health     *Health
	Draining   <-chan struct{}
	Log        *slog.Logger
}

// exports is the use case with its adapters.
type exports struct {
	exporter  *export.Exporter
	announcer *handlers.Announcer
	groups    *handlers.Groups
	store     export.Store
	dumper    *pgdump.Dumper
	announced *export.Announced
}

// openExporter checks the project query and the client tools and opens the spool and the dumper.
// The caller closes the dumper.
func openExporter(ctx context.Context, c exportsConfig) (*exports, error) {
	s := c.Settings
	if err := c.Projects.Check(ctx); err != nil {
		return nil, config.AsError(err)
	}
	tools := []string{"pg_dump"}
	if groups(s) { // pg_restore turns the archive of a group into scripts
		tools = append(tools, "pg_restore")
	}
	if err := CheckClients(ctx, s, c.Log, tools...); err != nil {
		return nil, err
	}
	dumps := dumpConfig(s, c.Log)
	var err error
	if dumps.Spool, err = openSpool(ctx, s, c.Log); err != nil {
		return nil, config.AsError(err)
	}
	dumper, err := pgdump.New(dumps)
	if err != nil {
		return nil, config.AsError(err)
	}
	publisher := publications{c.Publisher}
	out := &exports{dumper: dumper, store: c.Store}
	out.announcer = &handlers.Announcer{Publisher: publisher, Outbox: c.Ledger, Source: source, Waiting: c.Health.Outcome, Draining: c.Draining, Log: c.Log}
	out.announced = &export.Announced{Stream: announcements{c.JetStream}, Ledger: c.Ledger, Log: c.Log}
	out.exporter = export.New(export.Config{
		Announced: out.announced,
		Ledger:    c.Telemetry.Ledger(c.Ledger), Projects: c.Telemetry.Projects(c.Projects), Dumper: c.Telemetry.Dumper(dumper), Store: c.Store,
		Observer:   &handlers.Observer{Publisher: publisher, Source: source, Log: c.Log},
		Inspect:    func(f export.Format) (export.Inspector, error) { return archive.NewChecker(f) },
		Seal:       seal.Options{MaxBytes: int64(s.MaxBytes), Level: seal.Level(s.Level)},
		Recipients: c.Recipients, Required: export.Required(s.RecipientsRequired),
		Lease: s.AckWait, MaxAttempts: MaxAttempts, Worker: c.Name, Log: c.Log,
	})
	if c.Signer != nil {
		out.exporter.Receipt = c.Signer.Export
	}
	if groups(s) && dumps.Spool != nil {
		if out.groups, err = newGroups(s, dumper, c.Telemetry); err != nil {
			_ = dumper.Close() // always nil
			return nil, err
		}
	}
	return out, nil
}

// openSpool opens the spool for format directory and removes the files of killed workers from it.
// If SPOOL_DIR is not set, a spool that cannot be opened is only logged: a worker needs no disk.
func openSpool(ctx context.Context, c config.Config, log *slog.Logger) (*spool.Area, error) {
	area, err := spool.Open(c.Spool())
	switch {
	case err != nil && c.SpoolDir != "":
		return nil, config.Errorf("PGCOURIER_SPOOL_DIR: %w", err)
	case err != nil:
		log.WarnContext(ctx, "no spool: exports of format directory will fail here", "error", err)
	}
	return area, nil
}

// dumpConfig returns how pg_dump runs here, without a spool.
func dumpConfig(c config.Config, log *slog.Logger) pgdump.Config {
	d := pgdump.Config{
		DefaultDSN: c.DatabaseURL, PasswordCommand: c.PasswordCommand, Timeout: c.Timeout, Stall: c.StallTimeout, LockWaitTimeout: c.LockTimeout, Logger: log,
		SpoolBytes: int64(c.SpoolBytes), ParallelJobs: c.ParallelJobs,
		KeepWarm:  30 * time.Second,
		KillDelay: 500 * time.Millisecond, // the process group of a cancelled dump must end within two seconds
	}
	if c.PGBinDir != "" {
		d.BinDirs = []string{c.PGBinDir}
	}
	return d
}
