// Package oidctest runs an OpenID Connect issuer for tests.
package oidctest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// Provider is a real OpenID provider with the service user "sid1". Its access tokens are JWTs.
type Provider struct {
	*storage.Storage
	provider *op.Provider
	URL      string
	Audience string         // of the next token. Default: pgcourier
	Claims   map[string]any // of the next token
	Subject  string         // of the next token. Default: the client's id
}

// The client of the authorization code flow. Its user is "test-user2".
const (
	ClientID     = "pgcourier"
	ClientSecret = "secret"
	RedirectURL  = "https://backups.example.org/console/login/issuer/back"
)

var register sync.Once

// GetClientByClientID implements op.Storage.
func (p *Provider) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := p.Storage.GetClientByClientID(ctx, id)
	return jwtClient{c}, err
}

// Login does what the provider and the user's browser do after the browser was sent to address. It returns
// the address to which the provider sends the browser back.
func (p *Provider) Login(t testing.TB, address string) string {
	t.Helper()
	location := func(address string) *url.URL {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		to, err := res.Location()
		if err != nil {
			b, _ := io.ReadAll(res.Body)
			t.Fatalf("%s: %d %s", address, res.StatusCode, b)
		}
		return to
	}
	return location(p.Enter(t, location(address).Query().Get("authRequestID"))).String()
}

// Enter is the user's entry of name and password. It returns the address to which the provider's page of the
// login then sends the browser.
func (p *Provider) Enter(t testing.TB, id string) string {
	t.Helper()
	if err := p.CheckUsernamePassword("test-user2", "verysecure", id); err != nil {
		t.Fatal(err)
	}
	return op.AuthCallbackURL(p.provider)(op.ContextWithIssuer(t.Context(), p.URL), id)
}

// Register registers a further client with its redirect address, for all providers: no other test may run
// meanwhile.
func Register(client, redirect string) {
	storage.RegisterClients(storage.WebClient(client, ClientSecret, redirect))
}

// ClientCredentials implements op.Storage.
func (p *Provider) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	c, err := p.Storage.ClientCredentials(ctx, id, secret)
	return jwtClient{c}, err
}

// ClientCredentialsTokenRequest implements op.Storage.
func (p *Provider) ClientCredentialsTokenRequest(_ context.Context, id string, scopes []string) (op.TokenRequest, error) {
	return &oidc.JWTTokenRequest{Subject: cmp.Or(p.Subject, id), Audience: []string{p.Audience}, Scopes: scopes}, nil
}

// GetPrivateClaimsFromScopes implements op.Storage.
func (p *Provider) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return p.Claims, nil
}

type jwtClient struct{ op.Client }

func (jwtClient) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

// Start starts a provider that runs until the test ends.
func Start(t testing.TB) *Provider {
	t.Helper()
	var handler http.Handler
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(srv.Close)
	register.Do(func() { storage.RegisterClients(storage.WebClient(ClientID, ClientSecret, RedirectURL)) })
	p := &Provider{Storage: storage.NewStorage(storage.NewUserStore(srv.URL)), URL: srv.URL, Audience: "pgcourier"}
	made, err := op.NewProvider(&op.Config{CryptoKey: sha256.Sum256([]byte("test")), CodeMethodS256: true}, p, op.StaticIssuer(srv.URL), op.WithAllowInsecure())
	if err != nil {
		t.Fatal(err)
	}
	handler, p.provider = made, made
	return p
}

// Token requests a token as a service does.
func (p *Provider) Token(t testing.TB) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"openid"}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL+"/oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("sid1", "verysecret")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(b, &answer); err != nil || strings.Count(answer.Token, ".") != 2 {
		t.Fatalf("%d %s: %v", res.StatusCode, b, err)
	}
	return answer.Token
}
