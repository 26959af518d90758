package webhook

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/notify"
)

// Check connects to the webhook's server, with TLS for https, and sends nothing. It returns the
// server's certificate, nil without TLS, or post.ErrProxied. No error contains the path or the
// query of the URL.
func (s *Sender) Check(ctx context.Context) (*x509.Certificate, error) {
	return s.http.Check(ctx, s.url)
}

// TestType is the CloudEvents type of the event that SendTest posts. It is not an event of the
// contract.
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
