package issuer_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/api/issuer"
)

// provider is a real OpenID provider with a service user; its access tokens are JWTs.
type provider struct {
	*storage.Storage
	url      string
	audience string
	claims   map[string]any
}

func (p *provider) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	c, err := p.Storage.ClientCredentials(ctx, id, secret)
	return jwtClient{c}, err
}

func (p *provider) ClientCredentialsTokenRequest(_ context.Context, id string, scopes []string) (op.TokenRequest, error) {
	return &oidc.JWTTokenRequest{Subject: id, Audience: []string{p.audience}, Scopes: scopes}, nil
}

func (p *provider) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return p.claims, nil
}

type jwtClient struct{ op.Client }

func (jwtClient) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

func startProvider(t *testing.T) *provider {
	t.Helper()
	var handler http.Handler
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(srv.Close)
	p := &provider{Storage: storage.NewStorage(storage.NewUserStore(srv.URL)), url: srv.URL, audience: "pgcourier"}
	made, err := op.NewProvider(&op.Config{CryptoKey: sha256.Sum256([]byte("test"))}, p, op.StaticIssuer(srv.URL), op.WithAllowInsecure())
	if err != nil {
		t.Fatal(err)
	}
	handler = made
	return p
}

// token requests a token as a service does.
func (p *provider) token(t *testing.T) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"openid"}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/oauth/token", strings.NewReader(form.Encode()))
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

func (p *provider) issuer() *issuer.Issuer {
	return issuer.New(issuer.Config{Issuer: p.url, Audience: "pgcourier", ProjectClaim: "projects", ScopeClaim: "scopes"})
}

func TestARealIssuersTokenIsAGrant(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	i := p.issuer()
	for _, claims := range []map[string]any{
		{"projects": []string{"acme"}, "scopes": "export read openid"},
		{"projects": "acme", "scopes": []string{"read", "export", "export:write"}},
	} {
		p.claims = claims
		g, err := i.Grant(t.Context(), p.token(t))
		if err != nil || g.Subject != "oidc:sid1" || !g.Allows("acme", access.Export) || !g.Allows("acme", access.Read) || g.Allows("acme", access.Operate) || g.Allows("globex", access.Read) || time.Until(g.ExpiresAt) <= 0 {
			t.Errorf("%v: %+v, %v", claims, g, err)
		}
	}
}

func TestAForgedOrForeignTokenIsRefused(t *testing.T) {
	t.Parallel()
	p, other := startProvider(t), startProvider(t)
	good := map[string]any{"projects": "acme", "scopes": "admin"}
	p.claims, other.claims = good, good
	i := p.issuer()
	token := p.token(t)
	parts := strings.Split(token, ".")
	encode := base64.RawURLEncoding.EncodeToString
	p.audience = "another"
	foreign := p.token(t)
	p.audience, p.claims = "pgcourier", map[string]any{"scopes": "admin"}
	projectless := p.token(t)
	p.claims = map[string]any{"projects": "acme", "scopes": "openid"}
	scopeless := p.token(t)
	for name, raw := range map[string]string{
		"another issuer's": other.token(t), "another audience": foreign, "no project": projectless, "no scope": scopeless,
		"no signature": parts[0] + "." + parts[1] + ".", "another signature": parts[0] + "." + parts[1] + "." + encode([]byte(strings.Repeat("x", 256))),
		"alg none":        encode([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".",
		"alg HS256":       encode([]byte(`{"alg":"HS256"}`)) + "." + parts[1] + "." + parts[2],
		"another payload": parts[0] + "." + encode([]byte(`{"iss":"`+p.url+`","aud":"pgcourier","sub":"x","exp":9999999999,"projects":"*","scopes":"admin"}`)) + "." + parts[2],
		"empty":           "", "rubbish": "a.b.c", "too long": strings.Repeat("a", 9000) + ".b.c",
	} {
		if g, err := i.Grant(t.Context(), raw); !errors.Is(err, issuer.ErrRefused) {
			t.Errorf("%s: %+v, %v", name, g, err)
		}
	}
}

func TestAnIssuerThatIsAwayIsNoRefusal(t *testing.T) {
	t.Parallel()
	i := issuer.New(issuer.Config{Issuer: "http://127.0.0.1:1", Audience: "x"})
	for range 2 {
		if _, err := i.Grant(t.Context(), "a.b.c"); !errors.Is(err, issuer.ErrUnavailable) {
			t.Error(err)
		}
	}
}
