package webhook

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/notify"
)

// ErrProxied says that the webhook is reached through a proxy of the environment, so that
// Check cannot look at it.
var ErrProxied = errors.New("the webhook is reached through a proxy")

// Check connects to the webhook's server, with TLS if it is https, and sends it nothing. It
// returns the server's certificate; nil without TLS. ErrProxied. No error holds the URL's
// path or query.
func (s *Sender) Check(ctx context.Context) (*x509.Certificate, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, nil)
	if err != nil {
		return nil, errors.New("connect to the webhook: the URL cannot be requested")
	}
	if proxy, err := http.ProxyFromEnvironment(req); err != nil || proxy != nil {
		return nil, ErrProxied
	}
	u := req.URL
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("connect to the webhook: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if u.Scheme != "https" {
		return nil, nil //nolint:nilnil // no TLS, no certificate
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t, ok := s.http.Transport.(*http.Transport); ok && t.TLSClientConfig != nil {
		config = t.TLSClientConfig.Clone()
	}
	config.ServerName = host
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("connect to the webhook: %w", err)
	}
	return secure.ConnectionState().PeerCertificates[0], nil
}

// TestType is the CloudEvents type of what SendTest posts. It is no event of the contract.
const TestType = "pgcourier.test"

// SendTest posts a small event of the type TestType, signed like any other.
func (s *Sender) SendTest(ctx context.Context) error {
	id := "test-" + strings.ToLower(rand.Text())
	return s.Send(ctx, notify.Notification{
		Key: notify.Key(id), Channel: notify.Webhook, Recipient: notify.WebhookRecipient,
		Event: notify.Event{
			Header: map[string]string{
				"ce-specversion": "1.0", "ce-type": TestType, "ce-source": "pgcourier/doctor", "ce-id": id,
				"ce-time": s.now().UTC().Format(time.RFC3339),
			},
			Body: []byte(`{"test": true}`),
		},
	})
}
