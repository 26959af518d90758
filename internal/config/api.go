package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"

	"github.com/pgcourier/pgcourier/internal/secret"
)

// API is what the role api reads.
type API struct {
	APIAddr        string        `env:"API_ADDR" envDefault:"127.0.0.1:8080" help:"address of the HTTP API, see docs/api.md; any but a loopback address needs API_TLS_CERT, or API_BEHIND_PROXY=true"`
	APICert        string        `env:"API_TLS_CERT" help:"certificate file of the HTTP API, which then accepts TLS connections only"`
	APIKey         string        `env:"API_TLS_KEY" help:"key file of the HTTP API"`
	APIBehindProxy bool          `env:"API_BEHIND_PROXY" envDefault:"false" help:"true: a proxy with TLS is in front of the HTTP API, and the caller's address is the last one in X-Forwarded-For"`
	APIRate        float64       `env:"API_RATE" envDefault:"50" help:"calls that one token may make in a second; twice as many in a burst"`
	OIDCIssuer     string        `env:"OIDC_ISSUER" help:"OpenID Connect issuer, as in the claim iss; the HTTP API accepts its JWTs beside tokens; empty: none"`
	OIDCAudience   string        `env:"OIDC_AUDIENCE" help:"audience that the claim aud of a JWT of OIDC_ISSUER must contain"`
	OIDCClientID   string        `env:"OIDC_CLIENT_ID" help:"client of the issuer with which users log in to the console, by the authorization code flow with PKCE; empty: no such login"`
	OIDCSecret     secret.String `env:"OIDC_CLIENT_SECRET" help:"secret of the client OIDC_CLIENT_ID; empty: it is a public client"`
	OIDCProjects   string        `env:"OIDC_PROJECT_CLAIM" envDefault:"pgcourier_projects" help:"claim of a JWT that has the projects of the caller: a list, or words; * for all"`
	OIDCScopes     string        `env:"OIDC_SCOPE_CLAIM" envDefault:"pgcourier_scopes" help:"claim of a JWT that has the scopes of the caller: export, read, download, operate, restore, admin; other words are ignored"`
	Console        bool          `env:"CONSOLE" envDefault:"true" help:"false: the HTTP API has no web pages under /console, see docs/console.md"`
	PublicURL      string        `env:"PUBLIC_URL" help:"address at which callers reach the HTTP API, such as https://backups.example.org; empty: addresses in answers are relative"`
}

// validate reports all that is out of range or contradicts itself.
func (a API) validate(serves bool) error {
	if !serves {
		return nil
	}
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(Prefix+format, args...))
		}
	}
	host, _, err := net.SplitHostPort(a.APIAddr)
	check(err == nil, "API_ADDR: %q is not an address such as 127.0.0.1:8080", a.APIAddr)
	check((a.APICert == "") == (a.APIKey == ""), "API_TLS_CERT and API_TLS_KEY go together: set both or neither")
	loopback := isLoopback(host)
	check(err != nil || loopback || a.APICert != "" || a.APIBehindProxy, "API_ADDR: %q is no loopback address, and tokens must not travel in plain text: set API_TLS_CERT, or API_BEHIND_PROXY=true where a proxy speaks TLS", a.APIAddr)
	check((a.OIDCIssuer == "") == (a.OIDCAudience == ""), "OIDC_ISSUER and OIDC_AUDIENCE go together: set both or neither")
	check(a.OIDCClientID == "" || a.OIDCIssuer != "" && a.PublicURL != "", "OIDC_CLIENT_ID needs OIDC_ISSUER and PUBLIC_URL, to which the issuer sends the browser back")
	if a.OIDCIssuer != "" {
		u, err := url.Parse(a.OIDCIssuer)
		check(err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname())), "OIDC_ISSUER: %q is not an https address", a.OIDCIssuer)
	}
	check(a.APIRate > 0 && a.APIRate <= 1e6, "API_RATE: %g is not positive", a.APIRate)
	if a.PublicURL != "" {
		u, err := url.Parse(a.PublicURL)
		check(err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "",
			"PUBLIC_URL: %q is not an address such as https://backups.example.org", a.PublicURL)
	}
	return errors.Join(faults...)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
