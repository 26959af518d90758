// Package service runs `pgcourier serve`: the roles of one process and what they share.
//
// wiring.go opens the shared parts and constructs each role from its Config. Each role has a file of
// its own: exporter, intake, scheduler, sweeper, verifier, restorer, notifier, pruner, api, and the listener for
// probes and metrics.
package service

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/sync/errgroup"

	"github.com/pgcourier/pgcourier/internal/api/console"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// MaxAttempts is the most attempts of a request: as many as its deliveries.
const MaxAttempts = 3

// source is the CloudEvents source of a worker's events.
const source = "pgcourier/worker"

// Config configures the service of one process.
type Config struct {
	Settings config.Config
	// Version is the version of the program, for metrics and traces.
	Version string
	// S3 replaces the default sources of S3 credentials. nil: environment, file, role.
	S3 *credentials.Credentials
	// Examine checks what this process depends on, for the console. nil: the console does not check.
	Examine func(context.Context) []console.Finding
	// Once is a one-time login to the console. nil: there is none.
	Once *console.OneTimeLogin
	Log  *slog.Logger
}

// Service is one serving process. Its owner closes it after Run.
type Service struct {
	settings config.Config
	name     string // of this process
	log      *slog.Logger
	roles    []namedRole
	listener *Listener // serves until all roles have ended
	health   *Health
	draining chan struct{} // closed at the start of the drain
	starting *starting
	manager  *manager
	loops    *loops
	started  func() // called when Run has started all roles
	closers  []func() error

	mu      sync.Mutex
	running []string // roles that have not ended
	awaited string   // what the start waits for
}

// role is one part of a process that serves until its context ends.
type role interface {
	Run(ctx context.Context) error
}

type namedRole struct {
	name string
	role
}

// New connects to everything that the roles need and checks it, before any request is taken. The
// caller closes the service.
//
// Errors are a *config.Error, wrap broker.ErrUnreachable, broker.ErrUnauthorized,
// storage.ErrUnavailable or export.ErrLedgerUnavailable, or are faults of this machine.
func New(ctx context.Context, c Config) (*Service, error) {
	w, err := prepare(c)
	if err != nil {
		return nil, err
	}
	if err := w.open(ctx); err != nil {
		return nil, errors.Join(err, w.service.Close())
	}
	return w.service, nil
}

// prepare checks the settings and returns the wiring of a service that has opened nothing.
func prepare(c Config) (*wiring, error) {
	if runtime.GOOS != "linux" {
		return nil, config.Errorf("serving needs Linux, and this is %s: run the worker on Linux or in a container; the other commands work here", runtime.GOOS)
	}
	settings := c.Settings
	if (settings.Exporting() || settings.Serves(config.RoleRestorer) || settings.Serves(config.RoleAPI)) && settings.DatabaseURL == "" {
		return nil, config.Errorf("set PGCOURIER_DATABASE_URL: the database of the control plane and the ledger")
	}
	recipients, err := seal.ParseRecipients(settings.AgeRecipients)
	if err != nil {
		return nil, config.Errorf("PGCOURIER_AGE_RECIPIENTS: %w", err)
	}
	name, err := ProcessName()
	if err != nil {
		return nil, err
	}
	s := &Service{settings: settings, name: name, log: c.Log, draining: make(chan struct{}), manager: newManager(c.Log), loops: newLoops()}
	s.starting, s.started = newStarting()
	return &wiring{Config: c, service: s, recipients: recipients, name: name}, nil
}

// Run serves the roles until ctx ends, and then lets running exports finish. It serves probes and
// metrics until the last export has ended.
func (s *Service) Run(ctx context.Context) error {
	group, gctx := errgroup.WithContext(ctx)
	lasting, endAll := context.WithCancel(context.WithoutCancel(ctx))
	defer endAll()
	var ending sync.WaitGroup // goroutines that run until the roles have ended
	defer ending.Wait()
	defer endAll()
	if s.listener != nil {
		failed := make(chan error, 1)
		ending.Go(func() { failed <- s.listener.Run(lasting) })
		group.Go(func() error {
			select {
			case err := <-failed:
				return err
			case <-gctx.Done():
				return nil
			}
		})
	}
	for _, r := range s.roles {
		s.runs(r.name)
		group.Go(func() error {
			defer s.ended(r.name)
			return r.Run(gctx)
		})
	}
	s.started()
	s.opening("its roles")
	defer context.AfterFunc(ctx, func() {
		close(s.draining)
		s.manager.stops("draining: running exports may finish")
		if s.health != nil {
			s.health.Drain()
		}
		s.log.InfoContext(ctx, "draining: running exports may finish, a second signal ends them", "at_most", s.settings.DrainTimeout)
		s.tellDrain(lasting)
	})()
	s.starting.say(gctx, func() {
		s.log.InfoContext(ctx, "serving", "worker", s.name, "roles", strings.Join(s.settings.Roles, ","), "concurrency", s.settings.Concurrency)
		s.manager.serves(s.serving())
	})
	err := group.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // stopped before all roles had started
	}
	return err
}

func (s *Service) runs(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = append(s.running, name)
}

func (s *Service) ended(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.running, name); i >= 0 {
		s.running = slices.Delete(s.running, i, i+1)
	}
}

// add adds a role to Run. The name is for the log.
func (s *Service) add(name string, r role) { s.roles = append(s.roles, namedRole{name, r}) }

// onClose adds f to Close, which calls the functions in reverse order.
func (s *Service) onClose(f func() error) { s.closers = append(s.closers, f) }

// Close releases what New opened.
func (s *Service) Close() error {
	s.manager.endStart()
	var faults []error
	for _, f := range slices.Backward(s.closers) {
		faults = append(faults, f())
	}
	s.closers = nil
	return errors.Join(faults...)
}
