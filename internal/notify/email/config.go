package email

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	stdmail "net/mail"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/notify"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// Config describes a mail server and the sender.
type Config struct {
	Host     string
	Port     int
	User     string // empty: no authentication
	Password secret.String
	// From is the sender's address, with or without a name.
	From stdmail.Address
	// Implicit selects TLS from the first byte. Otherwise STARTTLS is required.
	Implicit bool
	// Plain disables TLS. It is allowed for a loopback host, or for any host without a login if
	// Trusted.
	Plain bool
	// Trusted permits Plain for another host, over a network that the operator trusts.
	Trusted bool
	// RootCAs are the authorities for the server's certificate. Default: the system's.
	RootCAs *x509.CertPool
	// Hello is the host name in EHLO. Default: the machine's.
	Hello string
	// Timeout bounds the session up to the authentication, and the delivery separately. Default:
	// DefaultTimeout.
	Timeout time.Duration
}

// DefaultTimeout is the default of Config.Timeout.
const DefaultTimeout = 30 * time.Second

const (
	portSubmission  = 587
	portSubmissions = 465
)

// ParseURL reads
//
//	smtp://user:password@host:587?from=Backups%20%3Cbackups@example.org%3E
//	smtps://user:password@host:465?from=...
//
// smtp requires STARTTLS, smtps is TLS from the first byte. In the query: from, the sender
// (required); ca, a file of certificates to trust instead of the system's; hello, the name
// given to the server; tls=none, no TLS at all, which is taken for a loopback host only;
// network=trusted, beside tls=none, which takes it for every host, without a login. Internationalised
// domains become A-labels. The error holds nothing of the URL but the names of its parts.
func ParseURL(raw secret.String) (Config, error) {
	u, err := url.Parse(raw.Reveal())
	if err != nil || u.Host == "" || u.Scheme != "smtp" && u.Scheme != "smtps" {
		return Config{}, errors.New("it is not of the form smtp://user:password@host:587?from=address")
	}
	if u.Path != "" && u.Path != "/" || u.Fragment != "" {
		return Config{}, errors.New("it has a path or a fragment")
	}
	c := Config{Host: u.Hostname(), Port: portSubmission, Implicit: u.Scheme == "smtps"}
	if c.Implicit {
		c.Port = portSubmissions
	}
	if net.ParseIP(c.Host) == nil {
		if c.Host, err = notify.ASCIIDomain(c.Host); err != nil {
			return Config{}, errors.New("its host is not valid")
		}
	}
	if p := u.Port(); p != "" {
		if c.Port, err = strconv.Atoi(p); err != nil || c.Port < 1 || c.Port > 65535 {
			return Config{}, errors.New("its port is out of range")
		}
	}
	if u.User != nil {
		c.User = u.User.Username()
		password, _ := u.User.Password()
		c.Password = secret.String(password)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Config{}, errors.New("its query cannot be read")
	}
	for name, values := range query {
		if len(values) != 1 {
			return Config{}, fmt.Errorf("%s is there several times", shownName(name))
		}
		if err := c.option(name, values[0]); err != nil {
			return Config{}, err
		}
	}
	return c, c.validate()
}

func (c *Config) option(name, value string) error {
	switch name {
	case "from":
		from, err := stdmail.ParseAddress(value)
		if err != nil {
			return errors.New("from is not an address")
		}
		if c.From, err = notify.ASCIIAddress(*from); err != nil {
			return errors.New("from has characters that are not ASCII before the @, or a domain that is not valid")
		}
	case "ca":
		pem, err := os.ReadFile(value) //nolint:gosec // the operator names the file
		if err != nil {
			return fmt.Errorf("ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return errors.New("ca: the file holds no certificate")
		}
	case "hello":
		c.Hello = value
	case "tls":
		if value != "none" {
			return errors.New("tls can only be none; smtp:// requires STARTTLS and smtps:// is TLS by itself")
		}
		c.Plain = true
	case "network":
		if value != "trusted" {
			return errors.New("network can only be trusted")
		}
		c.Trusted = true
	default:
		return fmt.Errorf("%s is no option; the options are from, ca, hello, tls and network", shownName(name))
	}
	return nil
}

// shownName returns the name of an option if it looks like one. Other text may be part of a
// password.
func shownName(s string) string {
	if s == "" || len(s) > 20 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") != "" {
		return "an option"
	}
	return s
}

func (c Config) validate() error {
	switch {
	case c.From.Address == "":
		return errors.New("from is missing: the sender's address")
	case strings.ContainsAny(c.From.Name+c.From.Address+c.Hello, "\r\n\x00"):
		return errors.New("from or hello holds a line break")
	case c.Plain && c.Implicit:
		return errors.New("tls=none contradicts smtps")
	case c.Trusted && !c.Plain:
		return errors.New("network=trusted is only for tls=none")
	case c.Plain && !loopback(c.Host) && !c.Trusted:
		return errors.New("tls=none is for a loopback host only; network=trusted beside it permits a relay on a network that you trust")
	case c.Plain && !loopback(c.Host) && c.User != "":
		return errors.New("tls=none with a login is for a loopback host only: the password would be readable on the way")
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// dialHost returns the host without brackets, because the library joins host and port itself.
func (c Config) dialHost() string {
	if strings.Contains(c.Host, ":") {
		return "[" + c.Host + "]"
	}
	return c.Host
}

// tlsConfig returns a configuration that checks the server's certificate against the host name.
func (c Config) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: c.Host, RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12}
}
