package libpq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Session is a connection, and where it leads: a tool can be pinned to the same server.
type Session struct {
	Conn    *pgx.Conn
	At      Endpoint
	Address string // the server's IP address; empty for a socket
	// Password is what a tool needs to log in as the session did; empty: none.
	Password string
}

// keepAlive is the interval of TCP keep-alives: a session may be silent for as long as a dump
// takes, and some routers drop a connection after four minutes of silence.
const keepAlive = time.Minute

// Connect opens a session with the first server that answers and is of the wanted kind.
// Like libpq it does not try further hosts after a refused login. params are the session's
// settings, application_name among them; nothing else of the DSN becomes one. The caller
// closes the session. The errors of all servers are joined. ErrNoTLS: sslmode demands TLS and
// a server does not speak it; there is no way back to plain text. secret.ErrCommand: no password.
func (s *Source) Connect(ctx context.Context, params map[string]string) (*Session, error) {
	kinds := []string{s.settings["target_session_attrs"]}
	if kinds[0] == "prefer-standby" {
		kinds = []string{"standby", "any"}
	}
	var errs []error
	for _, kind := range kinds {
		for _, e := range s.endpoints {
			ses, err := s.connectTo(ctx, e, kind, params)
			if err == nil {
				return ses, nil
			}
			errs = append(errs, err)
			if refusal, ok := errors.AsType[*pgconn.PgError](err); ok && strings.HasPrefix(refusal.Code, "28") {
				return nil, err
			}
			if ctx.Err() != nil {
				return nil, errors.Join(errs...)
			}
		}
	}
	return nil, errors.Join(errs...)
}

func (s *Source) connectTo(ctx context.Context, e Endpoint, kind string, params map[string]string) (*Session, error) {
	c, err := s.config(e, kind)
	if err != nil {
		return nil, err
	}
	c.RuntimeParams = params
	c.DialFunc = (&net.Dialer{KeepAlive: keepAlive}).DialContext
	if c.Password == "" {
		if c.Password, err = s.command.Password(ctx, c.Host, c.Port, c.User, c.Database); err != nil {
			return nil, err
		}
	}
	refused := observe(&c.Config)
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil && s.demandsTLS() && refused() {
		return nil, fmt.Errorf("connect: %w: %w", ErrNoTLS, err)
	}
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	ses := &Session{Conn: conn, At: e, Password: c.Password}
	if tcp, ok := conn.PgConn().Conn().RemoteAddr().(*net.TCPAddr); ok {
		ses.Address = tcp.IP.String()
		if tcp.Zone != "" {
			ses.Address += "%" + tcp.Zone
		}
	}
	return ses, nil
}

// Version is the server's, for instance "15.18".
func (s *Session) Version() string {
	v, _, _ := strings.Cut(s.Conn.PgConn().ParameterStatus("server_version"), " ")
	return v
}

// Major is the server's major version; 0 if it names none.
func (s *Session) Major() int { return LeadingNumber(s.Version()) }

// closeWait bounds the end of a session with a server that does not answer.
const closeWait = 5 * time.Second

// Close ends the session and waits until nothing of it runs here. The server ends its
// transaction in any case.
func (s *Session) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	_ = s.Conn.Close(ctx)
	// After a cancelled query pgx tells the server to stop it, in the background.
	<-s.Conn.PgConn().CleanupDone()
}

// LeadingNumber is the number that a version such as "15.18" or "18beta1" begins with, or 0.
func LeadingNumber(s string) int {
	end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(s)
	}
	n, err := strconv.Atoi(s[:end])
	if err != nil {
		return 0
	}
	return n
}
