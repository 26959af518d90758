// Package email sends a mail about an export, in text and in HTML.
//
// The header of a mail contains nothing from a requester except ids of the contract's alphabet and
// the recipient's address, so header injection is not possible. Free text from a requester is in
// the body only, and html/template escapes it in HTML.
package email

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"net"
	stdmail "net/mail"
	"slices"
	"strings"
	texttemplate "text/template"
	"time"

	"github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/pgcourier/pgcourier/internal/notify"
)

// Sender sends mails, each over its own connection. It is safe for concurrent use.
type Sender struct {
	cfg     Config
	options []mail.Option
	now     func() time.Time
}

var _ notify.DigestSender = (*Sender)(nil)

// New returns a sender. It does not connect.
func New(c Config) (*Sender, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure mail: %w", err)
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	s := &Sender{cfg: c, now: time.Now}
	s.options = []mail.Option{mail.WithPort(c.Port), mail.WithTLSConfig(c.tlsConfig())}
	switch {
	case c.Plain:
		s.options = append(s.options, mail.WithTLSPolicy(mail.NoTLS))
	case c.Implicit:
		s.options = append(s.options, mail.WithSSL())
	default:
		s.options = append(s.options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if c.Hello != "" {
		s.options = append(s.options, mail.WithHELO(c.Hello))
	}
	if c.User != "" {
		s.options = append(s.options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(c.User), mail.WithPassword(c.Password.Reveal()))
	}
	if _, err := mail.NewClient(c.dialHost(), s.options...); err != nil {
		return nil, fmt.Errorf("configure mail: %w", err)
	}
	return s, nil
}

// Send sends one mail to the notification's recipient. It returns nil once the server has accepted
// the mail. If the connection breaks between the last byte and the server's answer, Send returns an
// error, because the server may or may not have the mail. The mail is then sent again under the
// same Message-ID.
func (s *Sender) Send(ctx context.Context, n notify.Notification) error {
	m, err := s.compose(n)
	if err != nil {
		return err
	}
	return s.deliver(ctx, m)
}

func (s *Sender) deliver(ctx context.Context, m *mail.Msg) error {
	client, err := mail.NewClient(s.cfg.dialHost(), append(slices.Clip(s.options), mail.WithTimeout(s.timeout(ctx)))...)
	if err != nil {
		return fmt.Errorf("send mail: %w", err)
	}
	conn, err := dial(ctx, client)
	if err != nil {
		return fmt.Errorf("connect to the mail server: %w", explain(err))
	}
	// The library's deadlines end a wait for the server. The end of ctx ends only the steps after that
	// wait.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	err = client.SendWithSMTPClient(conn, m)
	if m.IsDelivered() {
		quit(client, conn)
		return nil
	}
	// No QUIT: in a body that broke off it could end the body.
	_ = conn.Close()
	if ctx.Err() != nil {
		return fmt.Errorf("send mail: %w", context.Cause(ctx))
	}
	return classify(err)
}

// dial connects and logs in. It returns at the end of ctx. The library obeys ctx only until it is
// connected, and then waits for a silent server until its own deadline. dial closes a connection
// that the library makes after that.
func dial(ctx context.Context, client *mail.Client) (*smtp.Client, error) {
	type made struct {
		conn *smtp.Client
		err  error
	}
	done := make(chan made, 1)
	go func() {
		conn, err := client.DialToSMTPClientWithContext(ctx)
		done <- made{conn, err}
	}()
	select {
	case m := <-done:
		return m.conn, m.err
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) { // the library's deadline is the same
		m := <-done
		return m.conn, m.err
	}
	go func() {
		if m := <-done; m.conn != nil {
			_ = m.conn.Close()
		}
	}()
	return nil, context.Cause(ctx)
}

// timeout returns the configured timeout, or the rest of ctx if that is shorter.
func (s *Sender) timeout(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return max(min(s.cfg.Timeout, time.Until(deadline)), time.Millisecond)
	}
	return s.cfg.Timeout
}

// quit ends the session with a server that has already accepted the mail.
func quit(client *mail.Client, conn *smtp.Client) {
	_ = client.CloseWithSMTPClient(conn)
	_ = conn.Close()
}

// explain adds advice to TLS errors.
func explain(err error) error {
	if cert, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("its certificate is not trusted: %w", cert)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Timeout() {
		return fmt.Errorf("no answer in time: %w", err)
	}
	return err
}

// classify returns a *notify.PermanentError for a refusal of this mail: a 5xx to its sender, its
// recipient or its content. An authentication error is transient, because the configuration of the
// server or of the sender is wrong, not the mail.
func classify(err error) error {
	failed, ok := errors.AsType[*mail.SendError](err)
	if !ok {
		return fmt.Errorf("send mail: %w", err)
	}
	const wantsTLS, wantsAuth, badAuth, weakAuth = 530, 534, 535, 538 // RFC 4954
	switch code := failed.ErrorCode(); {
	case code < 500 || code > 599, code == wantsTLS, code == wantsAuth, code == badAuth, code == weakAuth:
		return fmt.Errorf("send mail: %w", err)
	}
	return &notify.PermanentError{Reason: "the mail server refuses the mail", Err: err}
}

// compose writes the mail.
func (s *Sender) compose(n notify.Notification) (*mail.Msg, error) {
	of, err := n.Event.Decode()
	if err != nil {
		return nil, &notify.PermanentError{Reason: "the event cannot be read", Err: err}
	}
	summary := notify.Summarize(of)
	summary.Link = n.Link
	return s.write(n.Recipient, string(n.Key), summary.Headline, textTemplate, htmlTemplate, summary)
}

// write writes a mail with a body from templates.
func (s *Sender) write(recipient, id, subject string, text *texttemplate.Template, html *htmltemplate.Template, data any) (*mail.Msg, error) {
	to, err := stdmail.ParseAddress(recipient)
	if err != nil || to.Address != recipient {
		return nil, &notify.PermanentError{Reason: "the recipient is not one plain mail address"}
	}
	ascii, err := notify.ASCIIAddress(*to)
	if err != nil {
		return nil, &notify.PermanentError{Reason: "the recipient cannot be written to", Err: err}
	}
	m := s.letter(&ascii, subject, id)
	if err := m.SetBodyTextTemplate(text, data); err != nil {
		return nil, fmt.Errorf("write mail: %w", err)
	}
	if err := m.AddAlternativeHTMLTemplate(html, data); err != nil {
		return nil, fmt.Errorf("write mail: %w", err)
	}
	return m, nil
}

// letter returns a mail without a body. id must be unique.
func (s *Sender) letter(to *stdmail.Address, subject, id string) *mail.Msg {
	m := mail.NewMsg()
	m.FromMailAddress(&s.cfg.From)
	m.ToMailAddress(to)
	m.Subject(subject)
	_, domain, _ := strings.Cut(s.cfg.From.Address, "@")
	m.SetMessageIDWithValue(id + "@" + domain)
	m.SetDateWithValue(s.now())
	m.SetUserAgent("pgcourier")
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no answer by a machine
	return m
}
