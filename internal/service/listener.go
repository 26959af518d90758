package service

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"
)

// ListenerConfig is what a Listener needs.
type ListenerConfig struct {
	// Addr is the address to listen on. Empty: no listener.
	Addr string
	// Ready returns why the process takes no requests now. The text may be shown to any caller.
	Ready   func(ctx context.Context) error
	Metrics http.Handler
	PProf   bool
	// Begun is called when it listens.
	Begun func()
	Log   *slog.Logger
}

// Listener serves /healthz (the process runs), /readyz (it takes requests), /metrics, and with PProf
// the Go profiles.
type Listener struct{ config ListenerConfig }

// NewListener makes a Listener.
func NewListener(c ListenerConfig) *Listener { return &Listener{c} }

// Run listens until ctx ends.
func (l *Listener) Run(ctx context.Context) error {
	c := l.config
	if c.Addr == "" {
		c.Begun()
		<-ctx.Done()
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { answer(rw, nil) })
	ready := &readyCache{look: c.Ready}
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, _ *http.Request) { answer(rw, ready.current()) })
	mux.Handle("GET /metrics", c.Metrics)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return err
	}
	if c.PProf {
		servePProf(mux)
		srv.WriteTimeout = 2 * time.Minute // a profile takes 30 s by default
		if at, ok := listener.Addr().(*net.TCPAddr); ok && !at.IP.IsLoopback() {
			c.Log.WarnContext(ctx, "pprof is reachable from other machines: profiles show the content of memory", "addr", c.Addr)
		}
	}
	c.Begun()
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// readyCache runs one check for concurrent callers and reuses its result for readyEvery, so that
// frequent probes do not load the ledger.
type readyCache struct {
	look func(context.Context) error

	mu   sync.Mutex
	err  error
	next time.Time // no check before this time
}

const (
	readyEvery   = 250 * time.Millisecond
	readyTimeout = 3 * time.Second
)

func (r *readyCache) current() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().Before(r.next) {
		return r.err
	}
	// Not the caller's context: other callers share the result.
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	r.err = r.look(ctx)
	r.next = time.Now().Add(readyEvery)
	return r.err
}

// servePProf registers the profiles on mux. The package registers them on http.DefaultServeMux only,
// which is not served.
func servePProf(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}

// answer writes ok or the reason. Reasons are fixed words: no host, no DSN.
func answer(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	status := map[string]string{"status": "ok"}
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		status = map[string]string{"status": "unavailable", "reason": err.Error()}
	}
	_ = json.NewEncoder(w).Encode(status) // fails only if the client closed the connection
}
