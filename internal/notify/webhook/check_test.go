package webhook_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/pgcourier/pgcourier/internal/notify/webhook"
	"github.com/pgcourier/pgcourier/internal/secret"
)

func TestCheckConnectsAndPostsNothing(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	t.Cleanup(func() { plain.Close(); secure.Close() })
	if cert, err := sender(t, plain.URL+"/canary").Check(t.Context()); err != nil || cert != nil {
		t.Errorf("http: %v, %v", cert, err)
	}
	if _, err := sender(t, secure.URL+"/canary").Check(t.Context()); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("a certificate of an unknown authority: %v", err)
	} else if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Errorf("a certificate of an unknown authority: %v", err)
	}
	trusting, err := webhook.New(webhook.Config{URL: secret.String(secure.URL), Secrets: []secret.String{first}, Transport: secure.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	if cert, err := trusting.Check(t.Context()); err != nil || cert == nil || cert.NotAfter.IsZero() {
		t.Errorf("https: %v, %v", cert, err)
	}
	plain.Close()
	if _, err := sender(t, plain.URL+"/canary").Check(t.Context()); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("a server that is gone: %v", err)
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

func TestATestMessageIsSignedAndSaysThatItIsATest(t *testing.T) {
	t.Parallel()
	var header http.Header
	var body []byte
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		header = r.Header
		body, _ = io.ReadAll(r.Body)
	})
	if err := sender(t, url).SendTest(t.Context()); err != nil {
		t.Fatal(err)
	}
	v, err := standardwebhooks.NewWebhook(first)
	if err == nil {
		err = v.Verify(body, header)
	}
	if err != nil || header.Get("Ce-Type") != webhook.TestType || header.Get("Ce-Id") != header.Get("Webhook-Id") {
		t.Errorf("%v: %v %s", err, header, body)
	}
}
