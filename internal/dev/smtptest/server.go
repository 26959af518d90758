// Package smtptest is a mail server for tests, with STARTTLS, authentication and certificates of
// its own authority. It can be down, hang, refuse mails, and close the connection before or after
// its reply to a mail. It delivers nothing.
package smtptest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/pgcourier/pgcourier/internal/pgcluster/freeport"
)

// Fault is what the server does to each mail until the next Set.
type Fault string

// The faults.
const (
	None            Fault = ""
	Hang            Fault = "hang"              // no answer to MAIL
	Refuse          Fault = "refuse"            // 550 to RCPT
	Later           Fault = "later"             // 451 to RCPT
	DropBeforeReply Fault = "drop before reply" // accepts the mail, and closes the connection instead of answering
	DropAfterReply  Fault = "drop after reply"  // accepts the mail, answers 250 and closes the connection
	// DropOneBeforeReply is DropBeforeReply for one mail, then None.
	DropOneBeforeReply Fault = "drop one before reply"
)

// Config describes a server.
type Config struct {
	// Host is the name in the server's certificate. Default: 127.0.0.1.
	Host string
	// Plain disables STARTTLS.
	Plain bool
	// Implicit is TLS from the first byte.
	Implicit bool
	// User and Password are required of clients, if set.
	User, Password string
}

// Mail is an accepted mail.
type Mail struct {
	From string
	To   []string
	Data []byte // with header
	TLS  bool
}

// Server is a running server. It is safe for concurrent use.
type Server struct {
	cfg  Config
	addr string
	ca   []byte
	tls  *tls.Config

	mu    sync.Mutex
	smtp  *smtp.Server // nil while it is down
	bound net.Listener // the smtp server's
	done  chan error
	gate  chan struct{} // closed at the end of the fault Hang
	fault Fault
	mails []Mail
	met   map[Fault]int
}

// Start listens on a free port of 127.0.0.1. The caller calls Close.
func Start(c Config) (*Server, error) {
	if c.Host == "" {
		c.Host = "127.0.0.1"
	}
	port, err := freeport.Get()
	if err != nil {
		return nil, fmt.Errorf("start mail server: %w", err)
	}
	s := &Server{cfg: c, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), met: map[Fault]int{}, gate: make(chan struct{})}
	if s.tls, s.ca, err = certificate(c.Host); err != nil {
		return nil, fmt.Errorf("start mail server: %w", err)
	}
	return s, s.Up()
}

// Addr returns host:port.
func (s *Server) Addr() string { return s.addr }

// CA returns the certificate of the authority that signed the server's certificate, in PEM.
func (s *Server) CA() []byte { return s.ca }

// Up starts a server that is down again, on the same port.
func (s *Server) Up() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.smtp != nil {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", s.addr)
	if err != nil {
		return fmt.Errorf("start mail server: %w", err)
	}
	s.addr = l.Addr().String()
	srv := smtp.NewServer(smtp.BackendFunc(s.session))
	srv.Domain = s.cfg.Host
	srv.ErrorLog = log.New(io.Discard, "", 0)
	srv.ReadTimeout, srv.WriteTimeout = time.Minute, time.Minute
	srv.AllowInsecureAuth = s.cfg.Plain
	if s.cfg.Implicit {
		l = tls.NewListener(l, s.tls)
	} else if !s.cfg.Plain {
		srv.TLSConfig = s.tls
	}
	done := make(chan error, 1)
	s.smtp, s.bound, s.done = srv, l, done
	go func() { done <- srv.Serve(l) }()
	return nil
}

// Down closes all connections and refuses new ones, until Up.
func (s *Server) Down() error {
	s.mu.Lock()
	srv, bound, done := s.smtp, s.bound, s.done
	s.smtp = nil
	s.mu.Unlock()
	if srv == nil {
		return nil
	}
	err := srv.Close()
	_ = bound.Close() // the server does not know it yet if it is closed right after its start
	if serr := <-done; serr != nil && !errors.Is(serr, smtp.ErrServerClosed) && !errors.Is(serr, net.ErrClosed) {
		err = errors.Join(err, serr)
	}
	return err
}

// Close stops the server for good.
func (s *Server) Close() error {
	s.Set(None)
	return s.Down()
}

// Set sets the fault for the following mails. Connections that hang continue to hang.
func (s *Server) Set(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
	close(s.gate)
	s.gate = make(chan struct{})
}

// Mails returns all accepted mails, oldest first.
func (s *Server) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

// Met returns how many mails met a fault.
func (s *Server) Met(f Fault) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.met[f]
}

// meet returns the current fault if it is one of those that act at this point.
func (s *Server) meet(here ...Fault) (Fault, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(here, s.fault) {
		return None, nil
	}
	s.met[s.fault]++
	met := s.fault
	if met == DropOneBeforeReply {
		s.fault = None
	}
	return met, s.gate
}

func (s *Server) session(c *smtp.Conn) (smtp.Session, error) {
	return &session{server: s, conn: c, welcome: s.cfg.User == ""}, nil
}

type session struct {
	server  *Server
	conn    *smtp.Conn
	welcome bool
	mail    Mail
	drop    bool
}

var _ smtp.AuthSession = (*session)(nil)

func (s *session) AuthMechanisms() []string {
	if s.server.cfg.User == "" {
		return nil
	}
	return []string{sasl.Plain}
}

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != s.server.cfg.User || password != s.server.cfg.Password {
			return smtp.ErrAuthFailed
		}
		s.welcome = true
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if !s.welcome {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "Authentication required"}
	}
	if f, gate := s.server.meet(Hang); f == Hang {
		<-gate
		return &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "It hung"}
	}
	_, secure := s.conn.TLSConnectionState()
	s.mail = Mail{From: from, TLS: secure}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	f, _ := s.server.meet(Refuse, Later)
	if f == Refuse {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such user"}
	}
	if f == Later {
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "Try again later"}
	}
	s.mail.To = append(s.mail.To, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mail.Data = data
	s.server.mu.Lock()
	s.server.mails = append(s.server.mails, s.mail)
	s.server.mu.Unlock()
	f, _ := s.server.meet(DropBeforeReply, DropOneBeforeReply, DropAfterReply)
	if f == DropBeforeReply || f == DropOneBeforeReply {
		_ = s.conn.Conn().Close()
		return errors.New("dropped")
	}
	s.drop = f == DropAfterReply
	return nil
}

// Reset is called right after the reply to a mail's data.
func (s *session) Reset() {
	s.mail = Mail{}
	if s.drop {
		_ = s.conn.Conn().Close()
	}
}

func (s *session) Logout() error { return nil }

// certificate makes an authority and a certificate for the server, signed by it.
func certificate(host string) (*tls.Config, []byte, error) {
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "smtptest authority"}, IsCA: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(60 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true,
	}
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	if err != nil {
		return nil, nil, err
	}
	own := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		own.IPAddresses = []net.IP{ip}
	} else {
		own.DNSNames = []string{host}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, own, authority, &key.PublicKey, authorityKey)
	if err != nil {
		return nil, nil, err
	}
	var ca bytes.Buffer
	if err := pem.Encode(&ca, &pem.Block{Type: "CERTIFICATE", Bytes: authorityDER}); err != nil {
		return nil, nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}, ca.Bytes(), nil
}
