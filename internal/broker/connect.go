package broker

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/pgcourier/pgcourier/internal/secret"
)

var (
	// ErrUnreachable says that none of the configured brokers could be reached or trusted.
	ErrUnreachable = errors.New("broker unreachable")
	// ErrUnauthorized says that a broker was reached and refused the credentials.
	ErrUnauthorized = errors.New("broker refused the credentials")
)

const (
	// connectTimeout bounds one dial.
	connectTimeout = 5 * time.Second
	// A dead connection is detected after three unanswered pings: 15 s, below the smallest sensible
	// AckWait. With the library's default of 2 minutes, deliveries would expire on a dead connection.
	pingInterval     = 5 * time.Second
	pingsOutstanding = 2
	// The pause between two attempts to connect to the same server. Jitter spreads the reconnects of
	// many workers after an outage.
	reconnectWait   = 500 * time.Millisecond
	reconnectJitter = time.Second
)

// Config describes how to reach a broker. At most one of CredentialsFile, NKeySeedFile, User and
// Token may be set. Userinfo in a URL counts as one of them.
type Config struct {
	// URLs of the broker or of the members of its cluster: nats://, tls://, ws:// or
	// wss://. At least one, unless Server is set.
	URLs []string
	// Server is the embedded server of this process. The connection then uses neither the network nor
	// TLS. URLs and the files for TLS are ignored.
	Server LocalServer
	// Name is the name of this connection on the broker. Default: "pgcourier".
	Name string

	// CredentialsFile is a NATS .creds file (JWT and seed). It is read at each connect.
	CredentialsFile string
	// NKeySeedFile contains one nkey seed. It is read at each connect.
	NKeySeedFile string
	// User and Password are a login with a password.
	User     string
	Password secret.String
	// Token is a login with a shared token.
	Token secret.String

	// CAFile is a PEM bundle that replaces the system's root certificates.
	CAFile string
	// CertFile and KeyFile are the client's certificate for mutual TLS. Both or none.
	CertFile string
	KeyFile  string

	// TLSFirst starts TLS before the server's first message, for a broker with handshake_first. It
	// requires TLS.
	TLSFirst bool

	// InboxPrefix replaces "_INBOX", so that permissions can prevent one client from reading another
	// client's replies.
	InboxPrefix string

	// Logger gets every disconnect, reconnect and refused subject. Default: slog.Default().
	Logger *slog.Logger

	// NKey is a login with a key in memory. Nil: not used.
	NKey nkeys.KeyPair
}

// LocalServer is a broker in this process.
type LocalServer interface {
	nats.InProcessConnProvider
	ClientURL() string
}

// Connect returns a connection that reconnects without a limit, with jitter, also while its
// credentials are refused. The caller closes it.
//
// The first connect is not retried. With the library's RetryOnFailedConnect, a wrong address, a
// wrong certificate or a refused password would only appear in a callback, while the connection
// seems to work. A process that starts before its broker ends with a clear error, and its
// supervisor restarts it. Errors wrap ErrUnreachable or ErrUnauthorized once a broker was dialled.
//
// Nothing is buffered during an outage: a publish then fails at once. A buffered negative
// acknowledgement would act on another worker's delivery minutes later.
func Connect(c Config) (*nats.Conn, error) {
	shown, err := c.check()
	if err != nil {
		return nil, err
	}
	opts, err := c.options()
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(strings.Join(c.URLs, ","), opts...)
	switch {
	case err == nil:
		return nc, nil
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired),
		errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired):
		return nil, fmt.Errorf("connect to %s: %w: %w", shown, ErrUnauthorized, err)
	default:
		return nil, fmt.Errorf("connect to %s: %w: %w", shown, ErrUnreachable, err)
	}
}

// check validates the configuration and returns the URLs without secrets.
func (c Config) check() (string, error) {
	var faults []error
	shown := make([]string, 0, len(c.URLs))
	userinfo := false
	if c.Server != nil {
		c.URLs = []string{c.Server.ClientURL()}
	}
	for i, raw := range c.URLs {
		u, err := url.Parse(raw)
		// The parser's own error repeats the URL, password included.
		// A slash within a password that was not escaped ends the host; what follows is secret.
		if err != nil || u.Host == "" || u.Opaque != "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			faults = append(faults, fmt.Errorf("broker URL %d of %d is not of the form nats://host:port", i+1, len(c.URLs)))
			continue
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			faults = append(faults, fmt.Errorf("broker URL %d of %d: scheme %q is none of nats, tls, ws, wss", i+1, len(c.URLs), u.Scheme))
		}
		userinfo = userinfo || u.User != nil
		u.User = nil
		shown = append(shown, u.String())
	}
	if len(c.URLs) == 0 {
		faults = append(faults, errors.New("no broker URL"))
	}
	ways := 0
	for _, used := range []bool{c.CredentialsFile != "", c.NKeySeedFile != "", c.User != "" || c.Password != "", c.Token != "", userinfo} {
		if used {
			ways++
		}
	}
	if ways > 1 {
		faults = append(faults, errors.New("several ways to log in to the broker: choose one of credentials file, nkey seed file, user and password, token, userinfo in the URL"))
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		faults = append(faults, errors.New("broker client certificate and key: give both or none"))
	}
	return strings.Join(shown, ","), errors.Join(faults...)
}

func (c Config) options() ([]nats.Option, error) {
	log := c.Logger
	if log == nil {
		log = slog.Default()
	}
	opts := []nats.Option{
		nats.Name(cmp.Or(c.Name, "pgcourier")),
		nats.Timeout(connectTimeout),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(pingsOutstanding),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectJitter, reconnectJitter),
		nats.ReconnectBufSize(-1),
		// Without this option the second refusal in a row closes the connection, and a credential
		// that is revoked by mistake and restored needs a restart.
		nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if nc.IsClosed() { // closed by this process
				return
			}
			log.WarnContext(context.Background(), "broker connection lost", "error", errText(err))
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.InfoContext(context.Background(), "broker connection restored", "url", nc.ConnectedUrlRedacted())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.WarnContext(context.Background(), "broker reported an error", "error", errText(err))
		}),
	}
	auth, err := c.auth()
	if err != nil {
		return nil, err
	}
	opts = append(opts, auth...)
	if c.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(c.InboxPrefix))
	}
	if c.Server != nil {
		return append(opts, nats.InProcessServer(c.Server)), nil
	}
	if c.TLSFirst {
		opts = append(opts, nats.TLSHandshakeFirst())
	}
	if c.CAFile != "" || c.CertFile != "" {
		t, err := c.tls()
		if err != nil {
			return nil, err
		}
		opts = append(opts, nats.Secure(t))
	}
	return opts, nil
}

func (c Config) auth() ([]nats.Option, error) {
	switch {
	case c.CredentialsFile != "":
		if _, err := os.Stat(c.CredentialsFile); err != nil {
			return nil, fmt.Errorf("broker credentials file: %w", err)
		}
		return []nats.Option{nats.UserCredentials(c.CredentialsFile)}, nil
	case c.NKey != nil:
		public, err := c.NKey.PublicKey()
		if err != nil {
			return nil, fmt.Errorf("broker user's key: %w", err)
		}
		return []nats.Option{nats.Nkey(public, c.NKey.Sign)}, nil
	case c.NKeySeedFile != "":
		opt, err := nats.NkeyOptionFromSeed(c.NKeySeedFile)
		if err != nil {
			return nil, fmt.Errorf("broker nkey seed file %q: %w", c.NKeySeedFile, err)
		}
		return []nats.Option{opt}, nil
	case c.User != "":
		return []nats.Option{nats.UserInfo(c.User, c.Password.Reveal())}, nil
	case c.Token != "":
		return []nats.Option{nats.Token(c.Token.Reveal())}, nil
	}
	return nil, nil
}

// tls loads the files once, so that a missing file is an error at start. An explicit CA or
// certificate also requires TLS for a nats:// URL: there is no fallback to plain text.
func (c Config) tls() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("broker CA file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("broker CA file %q holds no PEM certificate", c.CAFile)
		}
	}
	if c.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("broker client certificate: %w", err)
		}
		t.Certificates = []tls.Certificate{cert}
	}
	return t, nil
}

func errText(err error) string {
	if err == nil {
		return "closed by the other side"
	}
	return err.Error()
}
