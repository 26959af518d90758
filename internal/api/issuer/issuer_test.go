package issuer_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/api/issuer"
	"github.com/pgcourier/pgcourier/internal/dev/oidctest"
)

func issuerOf(p *oidctest.Provider) *issuer.Issuer {
	return issuer.New(issuer.Config{Issuer: p.URL, Audience: "pgcourier", ProjectClaim: "projects", ScopeClaim: "scopes"})
}

func TestARealIssuersTokenIsAGrant(t *testing.T) {
	t.Parallel()
	p := oidctest.Start(t)
	i := issuerOf(p)
	for _, claims := range []map[string]any{
		{"projects": []string{"acme"}, "scopes": "export read openid"},
		{"projects": "acme", "scopes": []string{"read", "export", "export:write"}},
	} {
		p.Claims = claims
		g, err := i.Grant(t.Context(), p.Token(t))
		if err != nil || g.Subject != "oidc:sid1" || !g.Allows("acme", access.Export) || !g.Allows("acme", access.Read) || g.Allows("acme", access.Operate) || g.Allows("globex", access.Read) || time.Until(g.ExpiresAt) <= 0 {
			t.Errorf("%v: %+v, %v", claims, g, err)
		}
	}
}

func TestAForgedOrForeignTokenIsRefused(t *testing.T) {
	t.Parallel()
	p, other := oidctest.Start(t), oidctest.Start(t)
	good := map[string]any{"projects": "acme", "scopes": "admin"}
	p.Claims, other.Claims = good, good
	i := issuerOf(p)
	token := p.Token(t)
	parts := strings.Split(token, ".")
	encode := base64.RawURLEncoding.EncodeToString
	p.Audience = "another"
	foreign := p.Token(t)
	p.Audience, p.Claims = "pgcourier", map[string]any{"scopes": "admin"}
	projectless := p.Token(t)
	p.Claims = map[string]any{"projects": "acme", "scopes": "openid"}
	scopeless := p.Token(t)
	for name, raw := range map[string]string{
		"another issuer's": other.Token(t), "another audience": foreign, "no project": projectless, "no scope": scopeless,
		"no signature": parts[0] + "." + parts[1] + ".", "another signature": parts[0] + "." + parts[1] + "." + encode([]byte(strings.Repeat("x", 256))),
		"alg none":        encode([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".",
		"alg HS256":       encode([]byte(`{"alg":"HS256"}`)) + "." + parts[1] + "." + parts[2],
		"another payload": parts[0] + "." + encode([]byte(`{"iss":"`+p.URL+`","aud":"pgcourier","sub":"x","exp":9999999999,"projects":"*","scopes":"admin"}`)) + "." + parts[2],
		"empty":           "", "rubbish": "a.b.c", "too long": strings.Repeat("a", 9000) + ".b.c",
	} {
		if g, err := i.Grant(t.Context(), raw); !errors.Is(err, issuer.ErrRefused) {
			t.Errorf("%s: %+v, %v", name, g, err)
		}
	}
}

// A caller that no event can name would download and revoke without a trace.
func TestASubjectThatNoEventCanHoldIsRefused(t *testing.T) {
	t.Parallel()
	p := oidctest.Start(t)
	p.Claims = map[string]any{"projects": "acme", "scopes": "download"}
	i := issuerOf(p)
	for _, subject := range []string{strings.Repeat("ü", 195), strings.Repeat("x", 196), "a\x7fb", "a\nb"} {
		p.Subject = subject
		g, err := i.Grant(t.Context(), p.Token(t))
		_, invalid := events.Requested{ProjectID: "acme", RequestedBy: "oidc:" + subject}.Normalize()
		if refused := errors.Is(err, issuer.ErrRefused); refused != (invalid != nil) || !refused && (err != nil || g.Subject != "oidc:"+subject) {
			t.Errorf("%q: %+v, %v; in an event: %v", subject, g, err, invalid)
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
