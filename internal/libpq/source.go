package libpq

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/secret"
)

// Source is a DSN made ready for both ways into the database: pgx's and libpq's. It is safe
// for concurrent use.
type Source struct {
	settings map[string]string // libpq's keywords, completed; hosts and ports are in endpoints
	// endpoints are the hosts in the DSN's order.
	endpoints []Endpoint
	command   secret.Command // gives the password where the DSN has none
}

// Endpoint is one server of a DSN.
type Endpoint struct {
	Host string // a name, an address or a socket's folder
	Port string
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

// Parse takes a DSN: a postgres:// URL or key=value pairs. Certificates are read and every
// value is checked now, without connecting. Errors wrap ErrDSN and never quote the DSN.
func Parse(dsn secret.String) (*Source, error) {
	if dsn == "" {
		return nil, fmt.Errorf("%w: empty", ErrDSN)
	}
	given, err := parse(dsn.Reveal())
	if err != nil {
		return nil, err
	}
	s := &Source{settings: maps.Clone(defaults)}
	for key, value := range given {
		if _, known := defaults[key]; known || key == "user" || key == "dbname" {
			s.settings[key] = value
			continue
		}
		if key == "gssencmode" && value != "require" {
			continue // pgx never uses it, and the tools are told not to
		}
		if slices.ContainsFunc(refused, func(p string) bool { return strings.HasPrefix(key, p) }) {
			return nil, fmt.Errorf("%w: the parameter %q is not supported", ErrDSN, key)
		}
	}
	if err := s.complete(); err != nil {
		return nil, err
	}
	for _, e := range s.endpoints {
		if _, err := s.config(e, s.settings["target_session_attrs"]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// complete fills in what depends on other settings.
func (s *Source) complete() error {
	if s.settings["user"] == "" {
		return fmt.Errorf("%w: no user", ErrDSN)
	}
	if s.settings["dbname"] == "" {
		s.settings["dbname"] = s.settings["user"] // libpq's rule
	}
	if s.settings["sslpassword"] != "" {
		return fmt.Errorf("%w: the parameter \"sslpassword\" is not supported", ErrDSN)
	}
	if strings.ContainsAny(s.settings["password"], "\r\n") {
		return fmt.Errorf("%w: a password with a line break cannot stand in a passfile", ErrDSN)
	}
	if err := s.completeRoots(); err != nil {
		return err
	}
	hosts, ports := strings.Split(s.settings["host"], ","), strings.Split(s.settings["port"], ",")
	if len(ports) > 1 && len(ports) != len(hosts) {
		return fmt.Errorf("%w: %d ports for %d hosts", ErrDSN, len(ports), len(hosts))
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
			return fmt.Errorf("%w: a port is not a number from 1 to 65535", ErrDSN)
		}
		if host == "" {
			host = "/var/run/postgresql" // where Debian's libpq looks
		}
		s.endpoints = append(s.endpoints, Endpoint{host, port})
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
func (s *Source) completeRoots() error {
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
	return fmt.Errorf("%w: sslmode=%s needs sslrootcert, the system has no certificates", ErrDSN, s.settings["sslmode"])
}

// config is pgx's view of one Endpoint. Every setting that pgx could take from elsewhere is
// given to it.
func (s *Source) config(e Endpoint, attrs string) (*pgx.ConnConfig, error) {
	settings := maps.Clone(s.settings)
	settings["host"], settings["port"], settings["target_session_attrs"] = e.Host, e.Port, attrs
	var b strings.Builder
	for key, value := range settings {
		fmt.Fprintf(&b, "%s='%s' ", key, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value))
	}
	c, err := pgx.ParseConfig(b.String())
	if err != nil {
		// pgx's own text quotes the string, with the password masked as well as it can.
		if cause := errors.Unwrap(err); cause != nil {
			return nil, fmt.Errorf("%w: %w", ErrDSN, cause)
		}
		return nil, fmt.Errorf("%w: a TLS, timeout or target_session_attrs setting is not valid", ErrDSN)
	}
	// One round trip for each query; nothing is asked twice, so nothing is worth preparing.
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	return c, nil
}

// Endpoints are the DSN's servers in its order.
func (s *Source) Endpoints() []Endpoint { return slices.Clone(s.endpoints) }

// Database is the name of the database that the DSN leads to.
func (s *Source) Database() string { return s.settings["dbname"] }

// User is the login's name.
func (s *Source) User() string { return s.settings["user"] }

// AnyServer says whether a server of any kind will do: a session need not end when the
// server's kind changes.
func (s *Source) AnyServer() bool { return s.settings["target_session_attrs"] == "any" }

// WithDatabase is the same login on the same servers, in another database.
func (s *Source) WithDatabase(name string) *Source {
	other := &Source{settings: maps.Clone(s.settings), endpoints: s.endpoints, command: s.command}
	other.settings["dbname"] = name
	return other
}

// WithPasswordCommand is the same login on the same servers. Where the DSN has no password, command
// gives one for each connection.
func (s *Source) WithPasswordCommand(command secret.Command) *Source {
	other := s.WithDatabase(s.settings["dbname"])
	other.command = command
	return other
}

// WithLogin is another login on the same servers.
func (s *Source) WithLogin(user, password string) *Source {
	other := s.WithDatabase(s.settings["dbname"])
	other.settings["user"], other.settings["password"], other.settings["passfile"] = user, password, ""
	return other
}
