package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/pgcourier/pgcourier/internal/secret"
)

// Login gets access tokens of an issuer for the users of a browser: the authorization code flow with PKCE
// (RFC 7636, S256). It is safe for concurrent use.
type Login struct {
	issuer   *Issuer
	id       string
	secret   secret.String
	redirect string
}

// NewLogin returns a Login of the client id at the issuer. The secret of a public client is empty.
// redirect is the address to which the issuer sends the browser back.
func NewLogin(i *Issuer, id string, clientSecret secret.String, redirect string) *Login {
	return &Login{i, id, clientSecret, redirect}
}

// config returns the configuration with the issuer's addresses. ErrUnavailable.
func (l *Login) config() (oauth2.Config, error) {
	if _, err := l.issuer.look(); err != nil {
		return oauth2.Config{}, err
	}
	l.issuer.mu.Lock()
	defer l.issuer.mu.Unlock()
	return oauth2.Config{
		ClientID: l.id, ClientSecret: l.secret.Reveal(), RedirectURL: l.redirect, Endpoint: l.issuer.endpoint, Scopes: []string{oidc.ScopeOpenID},
	}, nil
}

// Address returns the issuer's address for one login. state comes back with the code; verifier is a secret
// of this login, of which the address holds the hash. ErrUnavailable.
func (l *Login) Address(state, verifier string) (string, error) {
	c, err := l.config()
	if err != nil {
		return "", err
	}
	return c.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier)), nil
}

// Redeem returns the access token for a code. ErrRefused, ErrUnavailable.
func (l *Login) Redeem(ctx context.Context, code, verifier string) (string, error) {
	c, err := l.config()
	if err != nil {
		return "", err
	}
	token, err := c.Exchange(oidc.ClientContext(ctx, l.issuer.client), code, oauth2.VerifierOption(verifier))
	if _, unreached := errors.AsType[*url.Error](err); unreached {
		return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return token.AccessToken, nil
}
