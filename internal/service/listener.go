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
	// Addr is where it listens. Empty: nowhere.
	Addr string
	// Ready returns why the process may not take work now, in words fit for any caller.
	Ready   func(ctx context.Context) error
	Metrics http.Handler
	PProf   bool
	// Begun is called when it listens.
	Begun func()
	Log   *slog.Logger
}

// Listener answers /healthz (the process lives), /readyz (it may take work) and /metrics, and
// with PProf also Go's profiles.
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
		srv.WriteTimeout = 2 * time.Minute // a profile takes half a minute unless it is said
		if at, ok := listener.Addr().(*net.TCPAddr); ok && !at.IP.IsLoopback() {
			c.Log.WarnContext(ctx, "pprof is served beyond this machine: profiles show what is in memory", "addr", c.Addr)
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

// readyCache answers any number of callers with one look, and those within readyEvery with the
// same answer: a caller that asks a thousand times a second must not keep the ledger busy.
type readyCache struct {
	look func(context.Context) error

	mu   sync.Mutex
	err  error
	next time.Time // not to be looked at before
}

const (
	readyEvery   = 250 * time.Millisecond // as long as a page of metrics
	readyTimeout = 3 * time.Second
)

func (r *readyCache) current() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().Before(r.next) {
		return r.err
	}
	// Not the caller's context: the answer is for others as well.
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	r.err = r.look(ctx)
	r.next = time.Now().Add(readyEvery)
	return r.err
}

// servePProf puts the profiles on mux: nothing serves the default one, on which the package puts
// them itself.
func servePProf(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}

// answer says ok or what is missing. The reasons are fixed words: no host, no DSN.
func answer(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	status := map[string]string{"status": "ok"}
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		status = map[string]string{"status": "unavailable", "reason": err.Error()}
	}
	_ = json.NewEncoder(w).Encode(status) // fails only when the client has gone
}
