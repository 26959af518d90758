package telegram_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

// A token in an error would reach the ledger, the log and a terminal.
func TestTokenIsNeverShown(t *testing.T) {
	t.Parallel()
	nobody := httptest.NewServer(http.NotFoundHandler())
	nobody.Close()
	garbage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(buf, "%s is no HTTP\r\n\r\n", r.URL.Path)
		_ = buf.Flush()
		_ = conn.Close()
	}))
	t.Cleanup(garbage.Close)
	var visits atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visits.Add(1) }))
	t.Cleanup(elsewhere.Close)

	b := setup(t)
	tests := map[string]struct {
		base  string
		fault telegramtest.Fault
	}{
		"refused connection": {nobody.URL, telegramtest.Fault{}},
		"not HTTP":           {garbage.URL, telegramtest.Fault{}},
		"unknown host":       {"http://name.invalid", telegramtest.Fault{}},
		"echo":               {"", telegramtest.Fault{Kind: telegramtest.Echo, Times: -1}},
		"redirect":           {"", telegramtest.Fault{Kind: telegramtest.Redirect, Target: elsewhere.URL, Times: -1}},
		"reset":              {"", telegramtest.Fault{Kind: telegramtest.Reset, Times: -1}},
		"bad gateway":        {"", telegramtest.Fault{Kind: telegramtest.BadGateway, Times: -1}},
	}
	for name, tt := range tests {
		b.Heal()
		if tt.fault.Kind != 0 {
			b.Inject(tt.fault)
		}
		var log bytes.Buffer
		c := b.newClient(t, telegram.ClientConfig{
			BaseURL: tt.base, Attempts: 2, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		_, err := c.Send(t.Context(), channel, upload([]byte("x")))
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		var all strings.Builder
		fmt.Fprintf(&all, "%v %+v %#v %s %v %+v", err, err, err, log.String(), c, c)
		for e := err; e != nil; e = errors.Unwrap(e) {
			fmt.Fprintf(&all, " %v %#v", e, e)
		}
		shown := all.String()
		_, secret, _ := strings.Cut(b.token, ":")
		if strings.Contains(shown, secret) {
			t.Errorf("%s: the token is shown in %s", name, shown)
		}
	}
	if visits.Load() != 0 {
		t.Error("the client followed a redirect to another host")
	}
}

func TestCausesStayInTheChain(t *testing.T) {
	t.Parallel()
	nobody := httptest.NewServer(http.NotFoundHandler())
	nobody.Close()
	b := setup(t)
	c := b.newClient(t, telegram.ClientConfig{BaseURL: nobody.URL, Attempts: 1})
	_, err := c.Me(t.Context())
	if lost, ok := errors.AsType[*telegram.TransportError](err); !ok || lost.Method != "getMe" || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want a refused connection", err)
	}
}

func TestClientConfigIsValidated(t *testing.T) {
	t.Parallel()
	good := telegram.ClientConfig{Token: "123:ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
	tests := map[string]func(*telegram.ClientConfig){
		"no token":     func(c *telegram.ClientConfig) { c.Token = "" },
		"half a token": func(c *telegram.ClientConfig) { c.Token = "123:" },
		"path in it":   func(c *telegram.ClientConfig) { c.Token += "/../x" },
		"ftp":          func(c *telegram.ClientConfig) { c.BaseURL = "ftp://host" },
		"no host":      func(c *telegram.ClientConfig) { c.BaseURL = "https://" },
		"credentials":  func(c *telegram.ClientConfig) { c.BaseURL = "https://a:b@host" },
		"query":        func(c *telegram.ClientConfig) { c.BaseURL = "https://host?a=b" },
		"negative":     func(c *telegram.ClientConfig) { c.Attempts = -1 },
	}
	for name, spoil := range tests {
		cfg := good
		spoil(&cfg)
		if _, err := telegram.NewClient(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		} else if token := cfg.Token.Reveal(); len(token) > 5 && strings.Contains(err.Error(), token) {
			t.Errorf("%s: the token is in %v", name, err)
		}
	}
	c, err := telegram.NewClient(good)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.String(); got != "telegram client of "+telegram.DefaultBaseURL {
		t.Errorf("String is %q", got)
	}
}

// The token is in every request's path, so only a server with a trusted certificate may see it.
func TestAnUntrustedServerGetsNoToken(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	b := setup(t)
	c := b.newClient(t, telegram.ClientConfig{BaseURL: srv.URL, Attempts: 1})
	_, err := c.Send(t.Context(), channel, upload([]byte("x")))
	if _, ok := errors.AsType[*telegram.TransportError](err); !ok || !strings.Contains(err.Error(), "certificate") || calls.Load() != 0 || strings.Contains(err.Error(), b.token) {
		t.Errorf("%v, %d calls", err, calls.Load())
	}
}
