package pgdump

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/export"
)

// source is a DSN made ready for both ways into the database: pgx's and libpq's.
type source struct {
	settings map[string]string // libpq's keywords, completed; hosts and ports are in endpoints
	// endpoints are the hosts in the DSN's order.
	endpoints []endpoint
}

// endpoint is one server of a DSN.
type endpoint struct {
	host string // a name, an address or a socket's folder
	port string
}

// defaults are the settings that a DSN may leave out. Each one that pgx or libpq would
// otherwise take from the environment or the home directory is here, if only empty.
var defaults = map[string]string{
	"host": "", "port": "5432", "password": "", "passfile": "",
	"sslmode": "prefer", "sslrootcert": "", "sslcert": "", "sslkey": "", "sslpassword": "",
	"sslcertmode": "allow", "sslnegotiation": "postgres", "sslsni": "1",
	"channel_binding": "prefer", "require_auth": "",
	"min_protocol_version": "", "max_protocol_version": "",
	"target_session_attrs": "any",
	"connect_timeout":      "10", // seconds; libpq's own default is to wait for ever
}

// refused are prefixes of parameters that would be honoured by one of pgx and libpq only.
// Leaving such a one out in silence could weaken the connection.
var refused = []string{"ssl", "gss", "krb", "host", "service", "require", "channel", "pass"}

func newSource(dsn export.Secret) (*source, error) {
	if dsn == "" {
		return nil, fmt.Errorf("%w: empty", errDSN)
	}
	given, err := parseDSN(dsn.Reveal())
	if err != nil {
		return nil, err
	}
	s := &source{settings: maps.Clone(defaults)}
	for key, value := range given {
		if _, known := defaults[key]; known || key == "user" || key == "dbname" {
			s.settings[key] = value
			continue
		}
		if key == "gssencmode" && value != "require" {
			continue // pgx never uses it, and pg_dump is told not to
		}
		if slices.ContainsFunc(refused, func(p string) bool { return strings.HasPrefix(key, p) }) {
			return nil, fmt.Errorf("%w: the parameter %q is not supported", errDSN, key)
		}
	}
	if err := s.complete(); err != nil {
		return nil, err
	}
	// Certificates are read and every value is checked now, not at the first connection.
	for _, e := range s.endpoints {
		if _, err := s.config(e, s.settings["target_session_attrs"]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// complete fills in what depends on other settings.
func (s *source) complete() error {
	if s.settings["user"] == "" {
		return fmt.Errorf("%w: no user", errDSN)
	}
	if s.settings["dbname"] == "" {
		s.settings["dbname"] = s.settings["user"] // libpq's rule
	}
	if s.settings["sslpassword"] != "" {
		return fmt.Errorf("%w: the parameter \"sslpassword\" is not supported", errDSN)
	}
	if strings.ContainsAny(s.settings["password"], "\r\n") {
		return fmt.Errorf("%w: a password with a line break cannot stand in a passfile", errDSN)
	}
	if err := s.completeRoots(); err != nil {
		return err
	}
	hosts, ports := strings.Split(s.settings["host"], ","), strings.Split(s.settings["port"], ",")
	if len(ports) > 1 && len(ports) != len(hosts) {
		return fmt.Errorf("%w: %d ports for %d hosts", errDSN, len(ports), len(hosts))
	}
	for i, host := range hosts {
		port := ports[0]
		if len(ports) > 1 {
			port = ports[i]
		}
		if port == "" {
			port = defaults["port"]
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("%w: a port is not a number from 1 to 65535", errDSN)
		}
		if host == "" {
			host = "/var/run/postgresql" // where Debian's libpq looks
		}
		s.endpoints = append(s.endpoints, endpoint{host, port})
	}
	return nil
}

// roots is where Linux distributions keep their certificates in one file, as crypto/x509
// looks for them: Debian and Alpine, Fedora, openSUSE, RHEL.
var roots = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
}

// completeRoots names a file of certificates wherever the server's is to be verified: libpq
// knows "system" from version 16 only, and without a file it would look in a home directory.
func (s *source) completeRoots() error {
	system := s.settings["sslrootcert"] == "system"
	if system {
		s.settings["sslmode"] = "verify-full" // the only one libpq allows with it
	}
	if mode := s.settings["sslmode"]; !system && (s.settings["sslrootcert"] != "" || !strings.HasPrefix(mode, "verify-")) {
		return nil
	}
	for _, file := range roots {
		if _, err := os.Stat(file); err == nil {
			s.settings["sslrootcert"] = file
			return nil
		}
	}
	return fmt.Errorf("%w: sslmode=%s needs sslrootcert, the system has no certificates", errDSN, s.settings["sslmode"])
}

// config is pgx's view of one endpoint. Every setting that pgx could take from elsewhere is
// given to it.
func (s *source) config(e endpoint, attrs string) (*pgx.ConnConfig, error) {
	settings := maps.Clone(s.settings)
	settings["host"], settings["port"], settings["target_session_attrs"] = e.host, e.port, attrs
	var b strings.Builder
	for key, value := range settings {
		fmt.Fprintf(&b, "%s='%s' ", key, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value))
	}
	c, err := pgx.ParseConfig(b.String())
	if err != nil {
		// pgx's own text quotes the string, with the password masked as well as it can.
		if cause := errors.Unwrap(err); cause != nil {
			return nil, fmt.Errorf("%w: %w", errDSN, cause)
		}
		return nil, fmt.Errorf("%w: a TLS, timeout or target_session_attrs setting is not valid", errDSN)
	}
	// One round trip for each query; nothing is asked twice, so nothing is worth preparing.
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	return c, nil
}

// options are the server settings of every session on the source. From about 2,000 tenants
// on, pg_dump's query for the dependencies of materialized views is planned as a merge join
// that takes minutes; without it the output is identical. pg_dump does not reset it.
const options = "-c enable_mergejoin=off"

// livenessOption makes a server notice within half a second that its client is gone, also
// while it waits for a lock or counts. PostgreSQL 14 and later; not on every platform.
const livenessOption = "client_connection_check_interval"

// session is a connection to the source, and where it leads.
type session struct {
	conn     *pgx.Conn
	at       endpoint
	address  string // the server's IP address; empty for a socket
	password string
	// liveness says that the server accepts livenessOption.
	liveness bool
}

// connect opens a session with the first server that answers and is of the wanted kind.
// Like libpq it does not try further hosts after a refused login. The caller closes it.
func (s *source) connect(ctx context.Context, application string) (*session, error) {
	kinds := []string{s.settings["target_session_attrs"]}
	if kinds[0] == "prefer-standby" {
		kinds = []string{"standby", "any"}
	}
	var errs []error
	for _, kind := range kinds {
		for _, e := range s.endpoints {
			ses, err := s.connectTo(ctx, e, kind, application)
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

func (s *source) connectTo(ctx context.Context, e endpoint, kind, application string) (*session, error) {
	c, err := s.config(e, kind)
	if err != nil {
		return nil, err
	}
	c.RuntimeParams = map[string]string{
		"application_name": application, "options": options, "client_encoding": "UTF8",
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("connect to the source: %w", err)
	}
	ses := &session{conn: conn, at: e, password: c.Password}
	if tcp, ok := conn.PgConn().Conn().RemoteAddr().(*net.TCPAddr); ok {
		ses.address = tcp.IP.String()
		if tcp.Zone != "" {
			ses.address += "%" + tcp.Zone
		}
	}
	if ses.major() >= 14 {
		_, err := conn.Exec(ctx, "SET "+livenessOption+" = 500")
		if _, unsupported := errors.AsType[*pgconn.PgError](err); err != nil && !unsupported {
			ses.close()
			return nil, fmt.Errorf("set up the session: %w", err)
		}
		ses.liveness = err == nil
	}
	return ses, nil
}

// version is the server's, for instance "15.18".
func (s *session) version() string {
	v, _, _ := strings.Cut(s.conn.PgConn().ParameterStatus("server_version"), " ")
	return v
}

func (s *session) major() int { return leadingNumber(s.version()) }

// close ends the session and waits until nothing of it runs here.
func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	_ = s.conn.Close(ctx) // the server ends the transaction in any case
	// After a cancelled query pgx tells the server to stop it, in the background.
	<-s.conn.PgConn().CleanupDone()
}

func leadingNumber(s string) int {
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
