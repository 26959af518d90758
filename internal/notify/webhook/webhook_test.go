package webhook_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/internal/notify"
	"github.com/pgcourier/pgcourier/internal/notify/webhook"
	"github.com/pgcourier/pgcourier/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	first  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjU"
	second = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

func note() notify.Notification {
	return notify.Notification{
		Key: "webhook-abc", Channel: notify.Webhook, Recipient: notify.WebhookRecipient,
		Event: notify.Event{
			Subject: "backup.failed.acme.r1",
			Header: map[string]string{"ce-id": "backup.failed.acme.r1", "ce-type": "backup.failed", "_watermill_message_uuid": "x",
				"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=1"},
			Body: []byte(`{"request_id": "r1", "message": "<&>"}`),
		},
	}
}

func sender(t *testing.T, url string, secrets ...secret.String) *webhook.Sender {
	t.Helper()
	if len(secrets) == 0 {
		secrets = []secret.String{first}
	}
	s, err := webhook.New(webhook.Config{URL: secret.String(url), Secrets: secrets})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestTheEnvelopesTypeIsUnderTheSignature(t *testing.T) {
	t.Parallel()
	var header http.Header
	var body []byte
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		header = r.Header
		body, _ = io.ReadAll(r.Body)
	})
	s, err := webhook.New(webhook.Config{URL: secret.String(url), Secrets: []secret.String{first}, Envelope: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	n := note()
	n.Event.Header["CE-Time"] = "2026-03-14T09:26:53Z"
	if err := s.Send(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Type, Timestamp string
		Data            map[string]string
	}
	if err := json.Unmarshal(body, &got); err != nil || got.Type != "backup.failed" || got.Timestamp != "2026-03-14T09:26:53Z" ||
		got.Data["request_id"] != "r1" || got.Data["message"] != "<&>" {
		t.Errorf("body is %s, %v", body, err)
	}
	v, err := standardwebhooks.NewWebhook(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Verify(body, header); err != nil || header.Get("Ce-Type") != "backup.failed" {
		t.Errorf("the standard's own verifier: %v; header %v", err, header)
	}
	n.Event.Body = []byte("{")
	if _, permanent := errors.AsType[*notify.PermanentError](s.Send(t.Context(), n)); !permanent {
		t.Error("a body that is not JSON was sent")
	}
}

func TestTheBodyIsTheEventSignedByEachSecret(t *testing.T) {
	t.Parallel()
	var header http.Header
	var body []byte
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		header = r.Header
		body, _ = io.ReadAll(r.Body)
	})
	if err := sender(t, url, first, second).Send(t.Context(), note()); err != nil {
		t.Fatal(err)
	}
	if string(body) != string(note().Event.Body) {
		t.Errorf("body is %s", body)
	}
	for _, s := range []string{first, second} {
		v, err := standardwebhooks.NewWebhook(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Verify(body, header); err != nil {
			t.Errorf("%s: %v", s, err)
		}
		if err := v.Verify([]byte(strings.Replace(string(body), "r1", "r2", 1)), header); err == nil {
			t.Error("another body has the same signature")
		}
	}
	if header.Get("Webhook-Id") != "webhook-abc" || header.Get("Ce-Type") != "backup.failed" || header.Get("Content-Type") != "application/json" || header.Get("_watermill_message_uuid") != "" {
		t.Errorf("header is %v", header)
	}
	if header.Get("Traceparent") != note().Event.Header["traceparent"] || header.Get("Tracestate") != "a=1" {
		t.Errorf("the trace's context is %q, %q", header.Get("Traceparent"), header.Get("Tracestate"))
	}
}

func TestEachAnswerMeansOneThing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code      int
		header    string // Retry-After
		sent      bool
		permanent bool
		after     time.Duration
	}{
		{code: 200, sent: true}, {code: 204, sent: true},
		{code: 301, permanent: true}, {code: 308, permanent: true}, {code: 304, permanent: true},
		{code: 400, permanent: true}, {code: 401, permanent: true}, {code: 404, permanent: true}, {code: 410, permanent: true},
		{code: 408}, {code: 425}, {code: 429}, {code: 429, header: "120", after: 2 * time.Minute},
		{code: 500}, {code: 503, header: "7", after: 7 * time.Second}, {code: 503, header: "soon"}, {code: 503, header: "-3"},
		{code: 503, header: "Mon, 01 Jan 2001 00:00:00 GMT"},
	} {
		var followed atomic.Bool
		url := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				followed.Store(true)
				return
			}
			w.Header().Set("Location", "/elsewhere")
			if c.header != "" {
				w.Header().Set("Retry-After", c.header)
			}
			w.WriteHeader(c.code)
		})
		err := sender(t, url).Send(t.Context(), note())
		_, permanent := errors.AsType[*notify.PermanentError](err)
		var after time.Duration
		if d, ok := errors.AsType[*notify.DelayError](err); ok {
			after = d.After
		}
		if (err == nil) != c.sent || permanent != c.permanent || after != c.after || followed.Load() {
			t.Errorf("%d, Retry-After %q: %v (permanent %t, after %s, followed %t)", c.code, c.header, err, permanent, after, followed.Load())
		}
	}
}

// An answer of ten megabytes is neither read nor waited for.
func TestAHugeAnswerIsNotRead(t *testing.T) {
	t.Parallel()
	var written atomic.Int64
	ended := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(ended)
		block := make([]byte, 64<<10)
		for written.Load() < 10<<30 { // as much as the client accepts
			n, err := w.Write(block)
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	if err := sender(t, url).Send(t.Context(), note()); err != nil {
		t.Errorf("a 200 with a huge body: %v", err)
	}
	<-ended
	if n := written.Load(); n > 64<<20 {
		t.Errorf("%d bytes were read", n)
	}
}

func TestNoAnswerEndsWithTheTry(t *testing.T) {
	t.Parallel()
	reached, release := make(chan struct{}), make(chan struct{})
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(reached)
		<-release
	})
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-reached; cancel() }()
	err := sender(t, url+"/hook?token=canary").Send(ctx, note())
	if _, permanent := errors.AsType[*notify.PermanentError](err); err == nil || permanent || strings.Contains(err.Error(), "canary") {
		t.Errorf("no answer: %v", err)
	}
}

func TestADeadServerCanPassAndItsAddressIsNotShown(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	err = sender(t, "http://"+addr+"/hook?token=canary").Send(t.Context(), note())
	if _, permanent := errors.AsType[*notify.PermanentError](err); err == nil || permanent || strings.Contains(err.Error(), "canary") {
		t.Errorf("a dead server: %v", err)
	}
}

func TestAFaultyConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]webhook.Config{
		"no URL":           {Secrets: []secret.String{first}},
		"another scheme":   {URL: "ftp://h/canary", Secrets: []secret.String{first}},
		"a broken URL":     {URL: "http://h/%zz-canary", Secrets: []secret.String{first}},
		"no secret":        {URL: "https://h/"},
		"without whsec_":   {URL: "https://h/", Secrets: []secret.String{"canaryMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}},
		"no base64":        {URL: "https://h/", Secrets: []secret.String{"whsec_canary!"}},
		"too short":        {URL: "https://h/", Secrets: []secret.String{"whsec_Y2FuYXJ5"}},
		"one bad of two":   {URL: "https://h/", Secrets: []secret.String{first, "whsec_"}},
		"longer than 64 B": {URL: "https://h/", Secrets: []secret.String{secret.String("whsec_" + strings.Repeat("A", 88))}},
	} {
		if _, err := webhook.New(c); err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "Y2FuYXJ5") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A receiver with an untrusted certificate gets nothing: no event, no signature.
func TestAnUntrustedReceiverGetsNothing(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	err := sender(t, srv.URL+"/canary").Send(t.Context(), note())
	if _, refused := errors.AsType[*tls.CertificateVerificationError](err); !refused || calls.Load() != 0 || strings.Contains(err.Error(), "canary") {
		t.Errorf("%v, %d calls", err, calls.Load())
	}
	if permanent, ok := errors.AsType[*notify.PermanentError](err); ok {
		t.Errorf("it cannot be fixed: %v", permanent)
	}
}
