package email

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	stdmail "net/mail"
	"slices"

	"github.com/wneessen/go-mail"

	"github.com/pgcourier/pgcourier/internal/notify"
)

// Check connects to the mail server as Send does, up to the login, and sends nothing. It
// returns the server's certificate; nil without TLS.
func (s *Sender) Check(ctx context.Context) (*x509.Certificate, error) {
	client, err := mail.NewClient(s.cfg.dialHost(), append(slices.Clip(s.options), mail.WithTimeout(s.timeout(ctx)))...)
	if err != nil {
		return nil, fmt.Errorf("check the mail server: %w", err)
	}
	conn, err := dial(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("connect to the mail server: %w", explain(err))
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer quit(client, conn)
	if err := conn.Noop(); err != nil {
		return nil, fmt.Errorf("ask the mail server for nothing: %w", err)
	}
	if state, ok := conn.TLSConnectionState(); ok && len(state.PeerCertificates) > 0 {
		return state.PeerCertificates[0], nil
	}
	return nil, nil //nolint:nilnil // no TLS, no certificate
}

// SendTest sends a test mail to an address.
func (s *Sender) SendTest(ctx context.Context, to string) error {
	address, err := stdmail.ParseAddress(to)
	if err != nil {
		return fmt.Errorf("send a test mail: %w", err)
	}
	ascii, err := notify.ASCIIAddress(*address)
	if err != nil {
		return fmt.Errorf("send a test mail: %w", err)
	}
	m := s.letter(&ascii, "pgcourier: a test", "test-"+rand.Text())
	m.SetBodyString(mail.TypeTextPlain, "This is a test by pgcourier doctor. Outcomes of exports will come from the same sender.\n")
	return s.deliver(ctx, m)
}
