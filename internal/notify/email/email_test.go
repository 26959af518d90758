package email_test

import (
	"context"
	"errors"
	"net"
	stdmail "net/mail"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/smtptest"
	"github.com/pgcourier/pgcourier/internal/notify"
	"github.com/pgcourier/pgcourier/internal/notify/email"
	"github.com/pgcourier/pgcourier/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, c smtptest.Config) *smtptest.Server {
	t.Helper()
	s, err := smtptest.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// address is the URL of a server, with its authority trusted.
func address(t *testing.T, s *smtptest.Server, scheme, user string, options url.Values) secret.String {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, s.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	query := url.Values{"from": {"Backups <backups@example.org>"}, "ca": {ca}}
	for name, values := range options {
		query[name] = values
		if values == nil {
			delete(query, name)
		}
	}
	return secret.String(scheme + "://" + user + s.Addr() + "?" + query.Encode())
}

func sender(t *testing.T, raw secret.String) *email.Sender {
	t.Helper()
	c, err := email.ParseURL(raw)
	if err != nil {
		t.Fatal(err)
	}
	c.Timeout = 2 * time.Minute // only a test that fails reaches it
	s, err := email.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// note returns a notification of a failure with texts written by others.
func note(t *testing.T, recipient, text string) notify.Notification {
	t.Helper()
	m, err := events.Failed{
		RequestID: "r1", ProjectID: "acme", Attempts: 3, Code: codes.DumpTimeout, Message: text, RequestedBy: "ops",
		FinishedAt: time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC), Metadata: map[string]string{"Bcc": "victim@example.net"},
		Request: &events.Requested{ProjectID: "acme", RequestID: "r1", Format: "sql", Compression: "gzip"},
	}.Encode("test")
	if err != nil {
		t.Fatal(err)
	}
	return notify.Notification{Key: "email-abc", Channel: notify.Email, Recipient: recipient, Event: notify.Event{Subject: m.Subject, Header: m.Header, Body: m.Body}}
}

const recipient = "owner@example.com"

func permanent(err error) bool {
	_, ok := errors.AsType[*notify.PermanentError](err)
	return ok
}

func TestOneMailArrives(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		server  smtptest.Config
		scheme  string
		user    string
		options url.Values
	}{
		"STARTTLS":           {smtptest.Config{}, "smtp", "", nil},
		"TLS from the start": {smtptest.Config{Implicit: true}, "smtps", "", nil},
		"with a password":    {smtptest.Config{User: "u", Password: "p/w:"}, "smtp", "u:p%2Fw%3A@", nil},
		"plain on loopback":  {smtptest.Config{Plain: true}, "smtp", "", url.Values{"tls": {"none"}}},
		"a trusted network":  {smtptest.Config{Plain: true}, "smtp", "", url.Values{"tls": {"none"}, "network": {"trusted"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := start(t, c.server)
			s := sender(t, address(t, srv, c.scheme, c.user, c.options))
			for _, f := range []smtptest.Fault{smtptest.None, smtptest.DropAfterReply} {
				srv.Set(f)
				if err := s.Send(t.Context(), note(t, recipient, "too slow")); err != nil {
					t.Fatalf("%s: %v", f, err)
				}
			}
			mails := srv.Mails()
			if len(mails) != 2 || mails[0].To[0] != recipient || mails[0].TLS == c.server.Plain {
				t.Fatalf("mails are %+v", mails)
			}
			m, err := stdmail.ReadMessage(strings.NewReader(string(mails[0].Data)))
			if err != nil {
				t.Fatal(err)
			}
			if m.Header.Get("Message-Id") != "<email-abc@example.org>" || m.Header.Get("Subject") != "Export of acme failed (dump_timeout)" || !strings.Contains(m.Header.Get("From"), "backups@example.org") {
				t.Errorf("header is %v", m.Header)
			}
		})
	}
}

func TestNothingOfAPersonsTextReachesTheHeader(t *testing.T) {
	t.Parallel()
	srv := start(t, smtptest.Config{})
	s := sender(t, address(t, srv, "smtp", "", nil))
	const text = "x\r\nBcc: victim@example.net\r\n\r\n.\r\nMAIL FROM:<a@b.c>\r\n<script>alert(1)</script>"
	if err := s.Send(t.Context(), note(t, recipient, text)); err != nil {
		t.Fatal(err)
	}
	mails := srv.Mails()
	if len(mails) != 1 {
		t.Fatalf("%d mails", len(mails))
	}
	m, err := stdmail.ReadMessage(strings.NewReader(string(mails[0].Data)))
	if err != nil {
		t.Fatal(err)
	}
	for name := range m.Header {
		switch name {
		case "From", "To", "Subject", "Date", "Message-Id", "User-Agent", "X-Mailer", "Auto-Submitted", "Mime-Version", "Content-Type":
		default:
			t.Errorf("the header holds %s: %v", name, m.Header[name])
		}
	}
	_, html, found := strings.Cut(strings.ReplaceAll(string(mails[0].Data), "=\r\n", ""), "text/html") // soft line breaks
	if !found || strings.Contains(html, "<script>") || !strings.Contains(html, "&lt;script&gt;") {
		t.Errorf("the HTML is not escaped:\n%s", html)
	}
	// Addresses that are more than one plain address.
	for _, to := range []string{
		"", "nobody", "a@example.com, b@example.com", "Eve <a@example.com>", "a@example.com\r\nBcc: b@example.com",
		"a@example.com\nRCPT TO:<b@example.com>", "<a@example.com>", "a@example.com\x00", "a@example.com (x)",
	} {
		if err := s.Send(t.Context(), note(t, to, "x")); !permanent(err) {
			t.Errorf("to %q: %v", to, err)
		}
	}
	if n := len(srv.Mails()); n != 1 {
		t.Errorf("%d mails", n)
	}
}

func TestWithoutTrustedTLSNothingIsSent(t *testing.T) {
	t.Parallel()
	const login = "u:canary@"
	auth := smtptest.Config{User: "u", Password: "canary"}
	other := start(t, smtptest.Config{})
	for name, c := range map[string]struct {
		server  smtptest.Config
		options url.Values
	}{
		"another authority":                     {auth, url.Values{"ca": {writeFile(t, other.CA())}}},
		"the system's":                          {auth, url.Values{"ca": nil}},
		"another host":                          {smtptest.Config{Host: "mail.example.org", User: "u", Password: "canary"}, nil},
		"another authority from the first byte": {smtptest.Config{Implicit: true, User: "u", Password: "canary"}, url.Values{"ca": {writeFile(t, other.CA())}}},
		"another host from the first byte":      {smtptest.Config{Implicit: true, Host: "mail.example.org", User: "u", Password: "canary"}, nil},
		"no STARTTLS":                           {smtptest.Config{Plain: true, User: "u", Password: "canary"}, nil},
	} {
		srv := start(t, c.server)
		scheme := "smtp"
		if c.server.Implicit {
			scheme = "smtps"
		}
		err := sender(t, address(t, srv, scheme, login, c.options)).Send(t.Context(), note(t, recipient, "x"))
		if err == nil || permanent(err) || len(srv.Mails()) != 0 || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, %d mails", name, err, len(srv.Mails()))
		}
	}
}

func writeFile(t *testing.T, b []byte) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(f, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestRefusalsArePermanentAndOutagesAreNot(t *testing.T) {
	t.Parallel()
	srv := start(t, smtptest.Config{User: "u", Password: "right"})
	s := sender(t, address(t, srv, "smtp", "u:right@", nil))
	for f, want := range map[smtptest.Fault]bool{smtptest.Refuse: true, smtptest.Later: false, smtptest.DropBeforeReply: false} {
		srv.Set(f)
		if err := s.Send(t.Context(), note(t, recipient, "x")); err == nil || permanent(err) != want {
			t.Errorf("%s: %v", f, err)
		}
	}
	srv.Set(smtptest.None)
	// The operator fixes a wrong or missing password: no mail is lost by it.
	for _, user := range []string{"u:canary@", ""} {
		err := sender(t, address(t, srv, "smtp", user, nil)).Send(t.Context(), note(t, recipient, "x"))
		if err == nil || permanent(err) || strings.Contains(err.Error(), "canary") {
			t.Errorf("user %q: %v", user, err)
		}
	}
	if err := srv.Down(); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), note(t, recipient, "x")); err == nil || permanent(err) {
		t.Errorf("down: %v", err)
	}
}

func TestAServerThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	srv := start(t, smtptest.Config{})
	srv.Set(smtptest.Hang)
	s := sender(t, address(t, srv, "smtp", "", nil))
	// A busy machine may need longer to reach the point where the server hangs.
	for limit := 300 * time.Millisecond; srv.Met(smtptest.Hang) == 0; limit *= 2 {
		ctx, cancel := context.WithTimeoutCause(t.Context(), limit, errors.New("the try's time is over"))
		if err := s.Send(ctx, note(t, recipient, "x")); err == nil || permanent(err) {
			t.Fatalf("hanging: %v", err)
		}
		cancel()
	}
	if n := len(srv.Mails()); n != 0 {
		t.Errorf("%d mails arrived", n)
	}
}

// A drain does not wait for a server that accepts connections and never answers.
func TestAServerThatNeverAnswersIsGivenUpAtOnce(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := email.ParseURL(secret.String("smtp://" + l.Addr().String() + "?from=a%40b.example&tls=none"))
	if err != nil {
		t.Fatal(err)
	}
	c.Timeout = time.Hour
	s, err := email.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("the worker is shutting down")
	taken := make(chan net.Conn, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		taken <- conn
		cancel(over)
	}()
	if err := s.Send(ctx, note(t, recipient, "x")); !errors.Is(err, over) || permanent(err) {
		t.Errorf("mute: %v", err)
	}
	if err := errors.Join((<-taken).Close(), l.Close()); err != nil {
		t.Error(err)
	}
}

// The server's address is written as in a URL, and dialled.
func TestAServerIsReachedByItsIPv6Address(t *testing.T) {
	t.Parallel()
	s := sender(t, "smtp://[::1]:1?from=a%40b.example&tls=none")
	err := s.Send(t.Context(), note(t, recipient, "x"))
	if err == nil || permanent(err) || !strings.Contains(err.Error(), "[::1]:1") || strings.Contains(err.Error(), "too many colons") {
		t.Errorf("port 1: %v", err)
	}
}

func TestAnInternationalisedDomainIsWrittenAsALabels(t *testing.T) {
	t.Parallel()
	srv := start(t, smtptest.Config{})
	s := sender(t, address(t, srv, "smtp", "", nil))
	if err := s.Send(t.Context(), note(t, "ops@b\u00fccher.example", "x")); err != nil {
		t.Fatal(err)
	}
	if mails := srv.Mails(); len(mails) != 1 || mails[0].To[0] != "ops@xn--bcher-kva.example" || !strings.Contains(string(mails[0].Data), "To: <ops@xn--bcher-kva.example>") {
		t.Errorf("mails are %+v", mails)
	}
	if err := s.Send(t.Context(), note(t, "b\u00fccher@example.com", "x")); !permanent(err) {
		t.Errorf("a local part that is not ASCII: %v", err)
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	c, err := email.ParseURL("smtps://u:p%40@mail.example.org?from=a%40b.example&hello=me")
	if err != nil || c.Host != "mail.example.org" || c.Port != 465 || !c.Implicit || c.User != "u" || c.Password.Reveal() != "p@" || c.Hello != "me" {
		t.Errorf("parsed %+v, %v", c, err)
	}
	if c, err := email.ParseURL("smtp://h?from=a%40b.example"); err != nil || c.Port != 587 || c.Implicit || c.Plain {
		t.Errorf("parsed %+v, %v", c, err)
	}
	if c, err := email.ParseURL("smtp://relay.example.org:25?from=a%40b.example&tls=none&network=trusted"); err != nil || !c.Plain || !c.Trusted {
		t.Errorf("a relay on a trusted network: %+v, %v", c, err)
	}
	if c, err := email.ParseURL("smtp://mail.b%C3%BCcher.example?from=B%C3%BCcher%20%3Ca%40b%C3%BCcher.example%3E"); err != nil ||
		c.Host != "mail.xn--bcher-kva.example" || c.From.Address != "a@xn--bcher-kva.example" || c.From.Name != "B\u00fccher" {
		t.Errorf("internationalised domains: %+v, %v", c, err)
	}
	for _, raw := range []string{
		"smtp://h?from=a@b.c&network=trusted", "smtp://h?from=a@b.c&tls=none&network=canary", "smtp://u:p@h?from=a@b.c&tls=none&network=trusted",
		"smtp://h?from=b%C3%BCcher%40b.example", "", "canary", "http://h?from=a@b.c", "smtp://?from=a@b.c", "smtp://h", "smtp://h?from=canary", "smtp://h/path?from=a@b.c",
		"smtp://h:0?from=a@b.c", "smtp://h:" + strconv.Itoa(1<<17) + "?from=a@b.c", "smtp://h?from=a@b.c&tls=none", "smtp://h?from=a@b.c&tls=canary",
		"smtps://localhost?from=a@b.c&tls=none", "smtp://h?from=a@b.c&CANARY=1", "smtp://h?from=a@b.c&from=d@e.f", "smtp://h?from=a@b.c&ca=/nonexistent",
		"smtp://u:can%ary@h?from=a@b.c", "smtp://h?from=a@b.c&hello=a%0d%0aRSET",
	} {
		if _, err := email.ParseURL(secret.String(raw)); err == nil || strings.Contains(strings.ToLower(err.Error()), "canary") {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func TestADigestIsOneMail(t *testing.T) {
	t.Parallel()
	srv := start(t, smtptest.Config{})
	s := sender(t, address(t, srv, "smtp", "", nil))
	all := []notify.Notification{note(t, recipient, "too slow"), note(t, recipient, "<b>\r\n.\r\nlost")}
	all[1].Key = "email-def"
	for range 2 {
		if err := s.SendDigest(t.Context(), all); err != nil {
			t.Fatal(err)
		}
	}
	mails := srv.Mails()
	if len(mails) != 2 {
		t.Fatalf("%d mails", len(mails))
	}
	first, err := stdmail.ReadMessage(strings.NewReader(string(mails[0].Data)))
	if err != nil {
		t.Fatal(err)
	}
	second, err := stdmail.ReadMessage(strings.NewReader(string(mails[1].Data)))
	if err != nil {
		t.Fatal(err)
	}
	body := string(mails[0].Data)
	if first.Header.Get("Subject") != "2 exports failed" || first.Header.Get("Message-ID") != second.Header.Get("Message-ID") ||
		!strings.Contains(body, "cause: dump_timeout: too slow") || !strings.Contains(body, "pgcourier replay r1 --project acme") ||
		strings.Count(body, "<b>") != 1 { // in the text, and escaped in HTML
		t.Errorf("the mail is\n%s", body)
	}
	var refused *notify.PermanentError
	all[1].Event.Body = []byte("{")
	if err := s.SendDigest(t.Context(), all); !errors.As(err, &refused) {
		t.Errorf("an event that cannot be read: %v", err)
	}
}
