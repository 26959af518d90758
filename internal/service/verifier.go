package service

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/consumer"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/handover/receipt"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/restore/scratch"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// VerifierConfig is what the role verifier needs.
type VerifierConfig struct {
	Settings  config.Config
	JetStream jetstream.JetStream
	Signer    *receipt.Signer // of receipts; nil: none
	Ledger    *ledger.Ledger  // nil: deletions are not known, and results are not recorded
	Telemetry *telemetry.Telemetry
	// Ready blocks until messages may be pulled. Begun is called when the consumer is bound.
	Ready func(ctx context.Context) error
	Begun func()
	// Turned is called at each turn of the consumer's loop. See consumer.Config.
	Turned func(consumer string, next time.Duration)
	Log    *slog.Logger
}

// Verifier is the role verifier: it restores completed exports. It opens the destinations itself,
// with identities, because a worker of the same process must not have these.
type Verifier struct {
	config   VerifierConfig
	reader   *destinations.Reader
	server   *scratch.Server
	restorer *restore.Restorer
	turn     chan struct{} // held by the one verification that runs
}

// NewVerifier reads the identities and opens the storage. The first verification starts the scratch
// server. The caller closes the verifier.
func NewVerifier(ctx context.Context, c VerifierConfig) (*Verifier, error) {
	s := c.Settings
	if err := CheckClients(ctx, s, c.Log, restore.Tools()...); err != nil {
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
	if c.Ledger != nil { // without the marker, an export on an unmounted file system would count as missing
		if err := set.Bind(ctx, c.Ledger); err != nil {
			return nil, errors.Join(err, set.Close())
		}
	}
	sandbox, err := scratch.OpenSandbox(ctx, s.Sandbox, c.Log)
	if err != nil {
		return nil, errors.Join(err, set.Close())
	}
	rc := restore.Config{Logger: c.Log, SpoolDir: s.Spool(), Confine: sandbox.Confine()}
	if s.PGBinDir != "" {
		rc.BinDirs = []string{s.PGBinDir}
	}
	return &Verifier{
		config: c, server: scratch.NewServer(s.VerifyScratchURL, s.PasswordCommand, sandbox), reader: destinations.NewReader(set, ids), restorer: restore.New(rc),
		turn: make(chan struct{}, 1),
	}, nil
}

// Run verifies completed exports, and those that it is ordered to, one at a time: a restore loads the
// scratch server.
func (v *Verifier) Run(ctx context.Context) error {
	c := v.config
	pause := c.Settings.RetryBackoff
	h := &handlers.Completed{
		Verifier: c.Telemetry.Verifier(v), Source: "pgcourier/verifier", Log: c.Log,
		Publisher: publications{c.Telemetry.Publisher(broker.NewPublisher(c.JetStream))},
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		v.carryOutOrders(ctx, h)
		return nil
	})
	group.Go(func() error { return v.handle(ctx, h, pause) })
	return group.Wait()
}

// handle verifies exports as they complete.
func (v *Verifier) handle(ctx context.Context, h *handlers.Completed, pause time.Duration) error {
	c := v.config
	return handle(ctx, consumer.Config{
		JetStream: c.JetStream, Bind: bindings, Slots: 1, Ready: c.Ready, DrainTimeout: handlersDrain(c.Settings.DrainTimeout), Logger: c.Log, Turned: c.Turned,
		Backoff: consumer.Exponential(pause, 64*pause, nil),
	}, c.Telemetry, c.Begun, handler{"verify", events.CompletedFilter, h.Handle, 0})
}

// Close stops the scratch server and closes the storage.
func (v *Verifier) Close() error { return errors.Join(v.server.Close(), v.reader.Set.Close()) }
