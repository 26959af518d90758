// Package issuer verifies JWTs of an OpenID Connect issuer by its published keys, and returns an
// access.Grant of their claims.
package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/pgcourier/pgcourier/internal/api/access"
)

var (
	// ErrRefused means that a JWT is not from the issuer, is not for this audience, has expired, names
	// no project or scope, or has a subject that no event can hold.
	ErrRefused = errors.New("the JWT is refused")
	// ErrUnavailable means that the issuer's keys could not be fetched.
	ErrUnavailable = errors.New("the issuer is unavailable")
)

// Config sets which JWTs are accepted.
type Config struct {
	Issuer   string // as in the claim iss; its discovery document is below it
	Audience string // must be in the claim aud
	// ProjectClaim and ScopeClaim name the claims with the projects and the scopes: a list, or text
	// with words. Words that are not scopes of package access are ignored.
	ProjectClaim, ScopeClaim string
}

// Issuer verifies JWTs. It is safe for concurrent use.
type Issuer struct {
	config Config
	client *http.Client

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
	endpoint oauth2.Endpoint
	err      error
	again    time.Time // no look-up before this time
}

const (
	lookUpTimeout = 10 * time.Second
	// lookUpPause is how long a failed look-up is cached, so that callers do not make one each.
	lookUpPause = 5 * time.Second
	// maxJWT is the longest accepted JWT.
	maxJWT = 8 << 10
)

// New returns an Issuer. It looks up the issuer at the first JWT, and again after a failure, so that the
// process can start while the issuer is unreachable.
func New(c Config) *Issuer {
	return &Issuer{config: c, client: &http.Client{Timeout: lookUpTimeout}}
}

// Grant verifies a JWT and returns its grant. ErrRefused, ErrUnavailable.
func (i *Issuer) Grant(ctx context.Context, raw string) (access.Grant, error) {
	if strings.Count(raw, ".") != 2 || len(raw) > maxJWT {
		return access.Grant{}, ErrRefused
	}
	verifier, err := i.look()
	if err != nil {
		return access.Grant{}, err
	}
	token, err := verifier.Verify(ctx, raw)
	if _, unreached := errors.AsType[*url.Error](err); unreached {
		return access.Grant{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err != nil {
		return access.Grant{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return access.Grant{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	g := access.Grant{Subject: "oidc:" + token.Subject, Projects: words(claims[i.config.ProjectClaim]), ExpiresAt: token.Expiry}
	for _, w := range words(claims[i.config.ScopeClaim]) {
		if s, err := access.ParseScopes([]string{w}); err == nil {
			g.Scopes = append(g.Scopes, s...)
		}
	}
	if !access.ValidSubject(g.Subject) {
		return access.Grant{}, fmt.Errorf("%w: its subject is longer than 195 characters or has control characters, and events could not name the caller", ErrRefused)
	}
	if token.Subject == "" || len(g.Projects) == 0 || len(g.Scopes) == 0 {
		return access.Grant{}, fmt.Errorf("%w: it lacks a subject, or the claims %s or %s", ErrRefused, i.config.ProjectClaim, i.config.ScopeClaim)
	}
	return g, nil
}

// look returns the verifier of the issuer's JWTs.
func (i *Issuer) look() (*oidc.IDTokenVerifier, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.verifier != nil || time.Now().Before(i.again) {
		return i.verifier, i.err
	}
	// Not the caller's context: the verifier fetches keys with it later.
	ctx := oidc.ClientContext(context.Background(), i.client)
	provider, err := oidc.NewProvider(ctx, i.config.Issuer)
	if err != nil {
		i.err, i.again = fmt.Errorf("%w: %w", ErrUnavailable, err), time.Now().Add(lookUpPause)
		return nil, i.err
	}
	i.endpoint = provider.Endpoint()
	i.verifier, i.err = provider.VerifierContext(ctx, &oidc.Config{
		ClientID:             i.config.Audience,
		SupportedSigningAlgs: []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA},
	}), nil
	return i.verifier, nil
}

// words reads a claim: a list of texts, or one text with words.
func words(claim any) []string {
	switch c := claim.(type) {
	case string:
		return strings.Fields(c)
	case []any:
		var out []string
		for _, v := range c {
			if s, ok := v.(string); ok && s != "" {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}
