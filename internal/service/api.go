package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/api/console"
	"github.com/pgcourier/pgcourier/internal/api/issuer"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/handover"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/retention"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// APIConfig configures the role api.
type APIConfig struct {
	Settings   config.Config
	Connection *nats.Conn
	JetStream  jetstream.JetStream
	// Calls is the connection for calls over NATS. Run drains it, so nothing else may use it.
	Calls    *nats.Conn
	Process  string // its name, for the discovery of services
	Ledger   *ledger.Ledger
	Projects *project.Projects
	// Examine checks what this process depends on, for the console. nil: it does not check.
	Examine   func(context.Context) []console.Finding
	Once      *console.OneTimeLogin
	Telemetry *telemetry.Telemetry
	Handover  *Handover
	Version   string
	Begun     func() // called when it listens
	Log       *slog.Logger
}

// API is the role api. It serves the HTTP API on its own listener and answers calls over NATS.
type API struct {
	config APIConfig
	api    *api.API
	tls    *tls.Config // nil: plain HTTP
}

// The limits of the listener.
const (
	apiHeaderTimeout = 5 * time.Second
	apiReadTimeout   = 30 * time.Second // of a whole call: its body has at most 64 KiB
	apiIdleTimeout   = time.Minute
	apiHeaderBytes   = 16 << 10
)

// NewAPI makes an API. The caller closes it.
func NewAPI(c APIConfig) (*API, error) {
	client, err := setup.Client(c.Settings, c.Connection)
	if err != nil {
		return nil, err
	}
	r := &API{config: c}
	s := c.Settings
	if s.APICert != "" {
		cert, err := tls.LoadX509KeyPair(s.APICert, s.APIKey)
		if err != nil {
			return nil, config.Errorf("%sAPI_TLS_CERT: %w", config.Prefix, err)
		}
		r.tls = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	}
	var jwt *issuer.Issuer
	if s.OIDCIssuer != "" {
		jwt = issuer.New(issuer.Config{Issuer: s.OIDCIssuer, Audience: s.OIDCAudience, ProjectClaim: s.OIDCProjects, ScopeClaim: s.OIDCScopes})
	}
	r.api, err = api.New(api.Config{
		Ledger: c.Ledger, Client: client, JetStream: c.JetStream, Version: c.Version, PublicURL: s.PublicURL,
		Queue: broker.NewRequestQueue(c.JetStream, handlers.DecodeStored), Planner: NewPlanner(c.JetStream),
		RestoreQueue: broker.NewRestoreQueue(c.JetStream, handlers.DecodeStoredRestore), RestoreOutcomeBody: restoreOutcomeBody,
		OutcomeBody: outcomeBody, BehindProxy: s.APIBehindProxy, Rate: s.APIRate, Issuer: jwt, Observe: c.Telemetry.APICall, Trace: telemetry.TraceOf, Span: c.Telemetry.Call, Log: c.Log,
		Notices:  newNotices(c.Connection, c.JetStream),
		Mounts:   map[string]http.Handler{handover.Prefix: c.Handover.Handler},
		Handover: &api.Handover{Links: c.Handover.Links, Files: c.Handover.Handler, Receipt: c.Handover.receipt},
	})
	if err != nil || !s.Console {
		return r, err
	}
	if err := r.mountConsole(jwt); err != nil {
		return nil, errors.Join(err, r.api.Close())
	}
	return r, nil
}

// mountConsole adds the web pages to the API.
func (r *API) mountConsole(jwt *issuer.Issuer) error {
	c, s := r.config, r.config.Settings
	policy, err := retention.Parse(s.Retention)
	if err != nil {
		return config.Errorf("%sRETENTION: %w", config.Prefix, err)
	}
	keys, err := c.Handover.keys.Derive("console session")
	if err != nil {
		return err
	}
	settings := console.Config{
		API: r.api, Keys: keys, Version: c.Version, PublicURL: s.PublicURL, Examine: c.Examine, Once: c.Once, Notice: s.PruneNotice, Retention: policy, Log: c.Log,
		Plan: NewPruner(PrunerConfig{Ledger: c.Ledger, Projects: c.Projects, Policy: policy, Notice: s.PruneNotice, Log: c.Log}).PlanNow,
	}
	if jwt != nil && s.OIDCClientID != "" {
		settings.Login = issuer.NewLogin(jwt, s.OIDCClientID, s.OIDCSecret, strings.TrimRight(s.PublicURL, "/")+console.LoginPath)
	}
	pages, err := console.New(settings)
	if err != nil {
		return err
	}
	r.api.Mount(console.Prefix, pages)
	return nil
}

// outcomeBody returns the body of the outcome's event.
func outcomeBody(out export.Outcome) ([]byte, error) {
	m, err := handlers.EncodeOutcome(out, source)
	return m.Body, err
}

// restoreOutcomeBody is outcomeBody for restores.
func restoreOutcomeBody(out export.Outcome) ([]byte, error) {
	m, err := handlers.EncodeRestoreOutcome(out, restorerSource)
	return m.Body, err
}

// Run serves until ctx ends. Running calls may then continue for at most DRAIN_TIMEOUT.
func (r *API) Run(ctx context.Context) error {
	c := r.config
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Settings.APIAddr)
	if err != nil {
		return fmt.Errorf("listen for the HTTP API: %w", err)
	}
	if r.tls != nil {
		listener = tls.NewListener(listener, r.tls)
	}
	srv := apiServer(c.Telemetry.API(r.api.Handler()), c.Log)
	c.Log.InfoContext(ctx, "HTTP API listens", "addr", listener.Addr().String(), "tls", r.tls != nil)
	c.Begun()
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the HTTP API: %w", err)
		}
		return nil
	})
	group.Go(func() error { return r.serveCalls(gctx) })
	group.Go(func() error {
		r.api.Tidy(gctx, c.Settings.LedgerRetention)
		return nil
	})
	group.Go(func() error {
		<-gctx.Done()
		r.api.Drain()
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Settings.DrainTimeout)
		defer cancel()
		if err := srv.Shutdown(drain); err != nil {
			return srv.Close()
		}
		return nil
	})
	return group.Wait()
}

// apiServer returns a server with the listener's limits.
func apiServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: apiHeaderTimeout, ReadTimeout: apiReadTimeout, IdleTimeout: apiIdleTimeout, MaxHeaderBytes: apiHeaderBytes,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// serveCalls answers calls over NATS until ctx ends. It then answers the calls that have already
// arrived, for at most DRAIN_TIMEOUT. A login from an earlier version may not subscribe to calls;
// serveCalls then logs a warning and returns.
func (r *API) serveCalls(ctx context.Context) error {
	nc := r.config.Calls
	who, err := server.WhoAmI(ctx, nc)
	if err == nil && who.Rights != nil && len(who.Rights.Lacks(server.Rights{Subscribe: []string{events.CallFilter}})) > 0 {
		r.config.Log.WarnContext(ctx, "calls over NATS are not answered: this login may not listen for them, give the role api a key of its own", "subject", events.CallFilter)
		return nil
	}
	if err := r.api.ServeCalls(nc, r.config.Process); err != nil {
		return err
	}
	r.config.Log.InfoContext(ctx, "API answers calls over NATS", "subject", events.CallFilter)
	<-ctx.Done()
	closed := nc.StatusChanged(nats.CLOSED)
	if err := nc.Drain(); err != nil { // the connection is already closed
		return nil
	}
	limit := time.NewTimer(r.config.Settings.DrainTimeout)
	defer limit.Stop()
	select {
	case <-closed:
	case <-limit.C:
		nc.Close()
	}
	return nil
}

// Close ends the subscription to events.
func (r *API) Close() error { return r.api.Close() }
