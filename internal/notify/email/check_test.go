package email_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net/textproto"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/dev/smtptest"
)

func TestCheckGoesAsFarAsTheLogin(t *testing.T) {
	t.Parallel()
	s := start(t, smtptest.Config{User: "u", Password: "canary"})
	good := sender(t, address(t, s, "smtp", "u:canary@", nil))
	if cert, err := good.Check(t.Context()); err != nil || cert == nil || cert.Subject.CommonName != "127.0.0.1" {
		t.Errorf("%v, %v", cert, err)
	}
	_, err := sender(t, address(t, s, "smtp", "u:wrong-canary@", nil)).Check(t.Context())
	if said, ok := errors.AsType[*textproto.Error](err); !ok || said.Code != 535 || strings.Contains(err.Error(), "canary") {
		t.Errorf("a wrong password: %v", err)
	}
	_, err = sender(t, address(t, s, "smtp", "u:canary@", map[string][]string{"ca": nil})).Check(t.Context())
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Errorf("an unknown authority: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := good.Check(cancelled); err == nil {
		t.Error("it was checked without time")
	}
	if n := len(s.Mails()); n != 0 {
		t.Errorf("%d mails were sent", n)
	}
	if err := good.SendTest(t.Context(), "ops@example.org"); err != nil {
		t.Fatal(err)
	}
	mails := s.Mails()
	if len(mails) != 1 || mails[0].To[0] != "ops@example.org" || !strings.Contains(string(mails[0].Data), "This is a test") {
		t.Errorf("sent %+v", mails)
	}
	if err := good.SendTest(t.Context(), "nobody"); err == nil {
		t.Error("a test was sent without a recipient")
	}
	if err := s.Down(); err != nil {
		t.Fatal(err)
	}
	if _, err := good.Check(t.Context()); err == nil {
		t.Error("a server that is down was found well")
	}
	plain := start(t, smtptest.Config{Plain: true})
	if cert, err := sender(t, address(t, plain, "smtp", "", map[string][]string{"tls": {"none"}})).Check(t.Context()); err != nil || cert != nil {
		t.Errorf("without TLS: %v, %v", cert, err)
	}
}
