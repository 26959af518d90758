package service

import (
	"context"
	"net/http"

	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/retention"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// wiring constructs the roles of one service.
type wiring struct {
	Config
	service    *Service
	recipients []seal.Recipient
	name       string // of this process, in the ledger and in traces
}

// shared holds what the roles that need the database share.
type shared struct {
	telemetry    *telemetry.Telemetry
	broker       *brokerLink
	schedules    bool // the broker supports schedules, and this process serves them
	ledger       *ledger.Ledger
	projects     *project.Projects
	restores     *project.Restores
	destinations destinations.Set
	exports      *exports
	health       *Health
}

// open connects to all that the roles need and constructs them. After an error, the service closes
// what was opened.
func (w wiring) open(ctx context.Context) error {
	c, s := w.Settings, w.service
	// Opened first and so closed last, after every span has ended.
	tel, err := telemetry.New(ctx, telemetry.Config{Version: w.Version, Instance: w.name, PerProject: c.PerProject, Log: w.Log})
	if err != nil {
		return config.AsError(err)
	}
	s.onClose(tel.Close)
	channels, err := openChannels(c, tel, w.Log)
	if err != nil {
		return err
	}
	s.onClose(channels.Close)
	s.opening("the broker")
	link, err := openBroker(ctx, c, w.Log)
	if err != nil {
		return err
	}
	s.onClose(link.Close)
	sh := shared{telemetry: tel, broker: link, health: NewHealth(w.Log, s.loops.turn, link.check)}
	s.health = sh.health
	s.opening("the broker's streams")
	if sh.schedules, err = link.provision(ctx); err != nil {
		return err
	}
	s.add("broker", link)
	s.opening("the ledger")
	if err := w.openRecords(ctx, &sh); err != nil {
		return err
	}
	sh.health.watch(sh.ledger)
	s.add("health", sh.health)
	if c.Serves(config.RoleVerifier) {
		s.opening("the verifier")
		signer, err := openSigner(ctx, c, w.Version, w.Log)
		if err != nil {
			return err
		}
		v, err := NewVerifier(ctx, VerifierConfig{
			Signer: signer, Settings: c, JetStream: link.jetStream(server.UserVerifier), Ledger: sh.ledger, Telemetry: tel, Log: w.Log,
			Ready: s.starting.ready, Begun: s.starting.part(), Turned: s.loops.turn,
		})
		if err != nil {
			return err
		}
		s.onClose(v.Close)
		s.add("verifier", v)
	}
	if c.Serves(config.RoleRestorer) {
		s.opening("the restorer")
		r, err := NewRestorer(ctx, RestorerConfig{
			Settings: c, Name: w.name, Connection: link.connection(server.UserRestorer), JetStream: link.jetStream(server.UserRestorer), Ledger: sh.ledger, Targets: sh.restores, Health: sh.health,
			Draining: s.draining, Telemetry: tel, Ready: w.ready(sh), Begun: s.starting.part(), Turned: s.loops.turn, Log: w.Log,
		})
		if err != nil {
			return err
		}
		s.onClose(r.Close)
		s.add("restorer", r)
	}
	if c.Serves(config.RoleNotifier) {
		links, err := linkAddress(c)
		if err != nil {
			return err
		}
		s.add("notifier", NewNotifier(NotifierConfig{
			Link:      links,
			JetStream: link.jetStream(server.UserNotifier), Channels: channels, Telemetry: tel, Log: w.Log,
			Pause: c.NotifyBackoff, Tries: c.NotifyTries, Digest: c.NotifyDigest, Timeout: c.NotifyTimeout, Drain: handlersDrain(c.DrainTimeout),
			Ready: s.starting.ready, Begun: s.starting.part(), Turned: s.loops.turn,
		}))
	}
	if c.Exporting() {
		if err := w.openExports(ctx, &sh); err != nil {
			return err
		}
		if err := w.addExporting(ctx, sh); err != nil {
			return err
		}
	}
	if c.Serves(config.RoleAPI) {
		s.opening("the API")
		hand, err := NewHandover(HandoverConfig{
			Settings: c, Ledger: sh.ledger, Publisher: link.publisher(server.UserAPI, tel),
			Address: func(r *http.Request) string { return api.Address(r, c.APIBehindProxy) }, Observe: tel.Download, Log: w.Log,
		})
		if err != nil {
			return err
		}
		s.onClose(hand.Close)
		s.add("handover", hand)
		calls, err := link.dial(server.UserAPI)
		if err != nil {
			return err
		}
		a, err := NewAPI(APIConfig{
			Handover: hand, Calls: calls, Process: w.name,
			Settings: c, Connection: link.connection(server.UserAPI), JetStream: link.jetStream(server.UserAPI),
			Ledger: sh.ledger, Projects: sh.projects, Examine: w.Examine, Once: w.Once, Telemetry: tel, Version: w.Version, Begun: s.starting.part(), Log: w.Log,
		})
		if err != nil {
			return err
		}
		s.onClose(a.Close)
		s.add("api", a)
	}
	sample(samples{Settings: c, Telemetry: tel, Broker: link, Ledger: sh.ledger, Health: sh.health})
	s.listener = NewListener(ListenerConfig{
		Addr: c.HTTPAddr, Ready: sh.health.Ready, Metrics: tel.Handler(), PProf: c.PProf, Begun: s.starting.part(), Log: w.Log,
	})
	return nil
}

// openRecords opens the ledger and the control plane's projects if a role needs them. A verifier
// works without DATABASE_URL, but then does not see deletions.
func (w wiring) openRecords(ctx context.Context, sh *shared) error {
	c := w.Settings
	if c.DatabaseURL == "" || !c.Exporting() && !c.Serves(config.RoleVerifier) && !c.Serves(config.RoleRestorer) && !c.Serves(config.RoleAPI) {
		return nil
	}
	pool, err := controlplane.ConnectFor(context.WithoutCancel(ctx), c.DatabaseURL, c.PasswordCommand, c.LedgerCalls())
	if err != nil {
		return config.AsError(err)
	}
	w.service.onClose(func() error { pool.Close(); return nil })
	sh.ledger, err = ledger.Open(ctx, ledger.Config{Pool: pool, Lease: c.AckWait, MaxAttempts: MaxAttempts})
	if behind, look := controlplane.Pooled(ctx, pool); look == nil && behind {
		w.Log.WarnContext(ctx, "the control plane's database is reached through a pooler: statements are not prepared by name")
	}
	sh.projects, sh.restores = project.New(pool, c.ProjectQuery), project.NewRestores(pool, c.RestoreQuery)
	return err
}

// ready returns a function that blocks until messages may be pulled: no message is pulled while the
// control plane is unreachable, so that an outage costs no delivery.
func (w wiring) ready(sh shared) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := w.service.starting.ready(ctx); err != nil {
			return err
		}
		return export.Retry(ctx, export.Wait{For: "the ledger", Log: w.Log}, sh.ledger.Ping)
	}
}

// openExports opens the storage and the exporter.
func (w wiring) openExports(ctx context.Context, sh *shared) error {
	c := w.Settings
	urls, err := c.StorageURLs()
	if err != nil {
		return err
	}
	sh.destinations, err = destinations.Open(urls, destinations.Options{
		TelegramToken: c.TelegramToken, AllowPlaintext: c.AllowPlaintext, Recipients: seal.Keys(w.recipients), S3: w.S3, Log: w.Log,
		Transport: sh.telemetry.Transport,
		Journal:   func(destination string) storage.Journal { return NewJournal(sh.ledger, destination, w.Log) },
	})
	if err != nil {
		return err
	}
	w.service.onClose(sh.destinations.Close)
	w.service.opening("the storage")
	if err := sh.destinations.Check(ctx, sh.ledger, w.Log); err != nil {
		return err
	}
	store, err := sh.destinations.Store(destinations.StoreConfig{Budget: c.UploadTimeout, Around: sh.telemetry.Store, Log: w.Log})
	if err != nil {
		return err
	}
	signer, err := openSigner(ctx, c, w.Version, w.Log)
	if err != nil {
		return err
	}
	w.service.opening("the project query and the client tools")
	sh.exports, err = openExporter(ctx, exportsConfig{
		Signer:   signer,
		Settings: c, Name: w.name, Ledger: sh.ledger, Projects: sh.projects, Store: store, Recipients: w.recipients,
		Publisher: sh.broker.publisher(server.UserWorker, sh.telemetry), JetStream: sh.broker.jetStream(server.UserWorker), Telemetry: sh.telemetry, Log: w.Log,
		Health: sh.health, Draining: w.service.draining,
	})
	if err != nil {
		return err
	}
	w.service.onClose(sh.exports.dumper.Close)
	return nil
}

// addExporting adds the roles that need the database.
func (w wiring) addExporting(ctx context.Context, sh shared) error {
	c := w.Settings
	policy, err := retention.Parse(c.Retention)
	if err != nil {
		return config.Errorf("%sRETENTION: %w", config.Prefix, err)
	}
	publisher := sh.broker.publisher(server.UserWorker, sh.telemetry)
	js, nc := sh.broker.jetStream(server.UserWorker), sh.broker.connection(server.UserWorker)
	take := takeConfig{
		JetStream: js, Slots: c.Concurrency, Pause: c.RetryBackoff, Drain: handlersDrain(c.DrainTimeout), Telemetry: sh.telemetry, Turned: w.service.loops.turn, Log: w.Log,
		Ready: w.ready(sh),
	}
	if c.Serves(config.RoleWorker) {
		canceller, err := NewCanceller(ctx, CancellerConfig{
			Connection: nc, Ledger: sh.ledger, Queue: broker.NewRequestQueue(js, handlers.DecodeStored), Announcer: sh.exports.announcer,
			Nudge: sh.exports.exporter.Nudge, Log: w.Log,
		})
		if err != nil {
			return err
		}
		w.service.onClose(canceller.Close) // running exports can be cancelled while the worker drains
		w.service.add("exporter", NewExporter(ExporterConfig{
			takeConfig: take.with(w.service.starting.part()), Window: window(c), Runner: sh.telemetry.Runner(sh.exports.exporter), Announcer: sh.exports.announcer, Groups: sh.exports.groups,
		}))
	}
	if c.Serves(config.RoleIntake) {
		w.service.add("intake", NewIntake(IntakeConfig{takeConfig: take.with(w.service.starting.part()), Publisher: publisher}))
		if sh.schedules {
			w.service.add("scheduler", NewScheduler(SchedulerConfig{takeConfig: take.with(w.service.starting.part()), Publisher: publisher}))
		}
	}
	if c.Serves(config.RoleSweeper) {
		w.service.add("sweeper", NewSweeper(SweeperConfig{
			Connection: nc, JetStream: js, Ledger: sh.ledger, Store: sh.exports.store, Exporter: sh.exports.exporter, Announcer: sh.exports.announcer, Announced: sh.exports.announced,
			Projects: sh.projects, Dumper: sh.exports.dumper,
			AckWait: c.AckWait, Drain: handlersDrain(c.DrainTimeout), Keep: c.LedgerRetention, Begun: w.service.starting.part(), Log: w.Log,
		}))
	}
	if c.Serves(config.RolePruner) {
		w.service.add("pruner", NewPruner(PrunerConfig{
			Ledger: sh.ledger, Projects: sh.projects, Destinations: sh.destinations, NotDeleted: sh.telemetry.NotDeleted,
			Publisher: publisher, Policy: policy, Notice: c.PruneNotice, Every: c.PruneEvery, Holder: w.name, Log: w.Log,
		}))
	}
	return nil
}
