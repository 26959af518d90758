package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

// serveHTTP answers /healthz (the process lives), /readyz (it may take work) and /metrics at
// HTTP_ADDR until ctx ends; with PPROF also Go's profiles. An empty address serves nothing.
func (w *worker) serveHTTP(ctx context.Context) error {
	addr := w.config.HTTPAddr
	if addr == "" {
		<-ctx.Done()
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { answer(rw, nil) })
	ready := &readiness{look: w.ready}
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, _ *http.Request) { answer(rw, ready.current()) })
	mux.Handle("GET /metrics", w.telemetry.Handler())
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	if w.config.PProf {
		servePProf(mux)
		srv.WriteTimeout = 2 * time.Minute // a profile takes half a minute unless it is said
		if at, ok := l.Addr().(*net.TCPAddr); ok && !at.IP.IsLoopback() {
			w.log.WarnContext(ctx, "pprof is served beyond this machine: profiles show what is in memory", "addr", addr)
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// readiness answers any number of callers with one look, and the next ones within readyEvery
// with what it found: whoever asks a thousand times a second must not keep the ledger busy.
type readiness struct {
	look func(context.Context) error

	mu   sync.Mutex
	err  error
	next time.Time // not to be looked at before
}

const (
	readyEvery    = 250 * time.Millisecond // as long as a page of metrics
	readyPatience = 3 * time.Second
)

func (r *readiness) current() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().Before(r.next) {
		return r.err
	}
	// Not the caller's context: the answer is for others as well.
	ctx, cancel := context.WithTimeout(context.Background(), readyPatience)
	defer cancel()
	r.err = r.look(ctx)
	r.next = time.Now().Add(readyEvery)
	return r.err
}

// servePProf puts the profiles on mux: nothing serves the default one, on which the package
// puts them itself.
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
	_ = json.NewEncoder(w).Encode(status) // the client has gone: nobody is left to tell
}

func (a *app) healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "health",
		Short:   "Ask a running worker whether it is ready",
		Long:    "Asks /readyz at HTTP_ADDR. Meant for a container's health check.",
		Example: "  pgcourier health --http-addr 127.0.0.1:8080",
		Args:    cobra.NoArgs,
	}
	load := a.settingFlags(cmd, "HTTP_ADDR")
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		if c.HTTPAddr == "" {
			return exitf(exitUsage, "set PGCOURIER_HTTP_ADDR, as for the worker")
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.HTTPAddr+"/readyz", nil)
		if err != nil {
			return exit(exitUsage, err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return exit(exitUnreachable, err)
		}
		defer func() { _ = res.Body.Close() }()
		var status struct {
			Status string `json:"status"`
			Reason string `json:"reason,omitempty"`
		}
		if err := json.NewDecoder(res.Body).Decode(&status); err != nil {
			return exitf(exitFailed, "unexpected answer from %s: %w", c.HTTPAddr, err)
		}
		if status.Status != "ok" {
			return exitf(exitFailed, "not ready: %s", status.Reason)
		}
		return a.print(status, "ready\n")
	})
	return cmd
}
