package api_test

import (
	"net/http"
	"testing"

	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/api/issuer"
	"github.com/pgcourier/pgcourier/internal/dev/oidctest"
)

// A JWT of a real issuer is a caller like a token: for its projects and scopes alone, and by its name in
// the request and in the audit.
func TestAnIssuersJWTIsACaller(t *testing.T) {
	t.Parallel()
	p := oidctest.Start(t)
	b := setup(t, func(c *api.Config) {
		c.Issuer = issuer.New(issuer.Config{Issuer: p.URL, Audience: "pgcourier", ProjectClaim: "projects", ScopeClaim: "scopes"})
	})
	p.Claims = map[string]any{"projects": []string{"acme"}, "scopes": "export read"}
	jwt := p.Token(t)
	if got := b.call("POST", acme, jwt, "{}", "Idempotency-Key", "one"); got.status != http.StatusAccepted || got.export(t).RequestedBy != "oidc:sid1" {
		t.Errorf("%d %s", got.status, got.body)
	}
	for path, want := range map[string]int{acme + "/one": 200, acme + "/one/file": 403, "/v1/projects/globex/exports": 403, "/v1/whoami": 200} {
		if got := b.call("GET", path, jwt, ""); got.status != want {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	p.Audience = "another"
	if got := b.call("GET", acme, p.Token(t), ""); got.status != http.StatusUnauthorized {
		t.Errorf("a JWT for another audience: %d %s", got.status, got.body)
	}
	if got := b.call("GET", acme, b.token("acme", access.Read), ""); got.status != http.StatusOK {
		t.Errorf("a token beside the issuer: %d %s", got.status, got.body)
	}
	var calls int
	b.must(b.pool.QueryRow(t.Context(), "SELECT count(*) FROM pgcourier.api_calls WHERE subject = 'oidc:sid1' AND action = 'create-export' AND object = 'one'").Scan(&calls))
	if calls != 1 {
		t.Errorf("the audit has %d calls", calls)
	}
}

// While the issuer is away its callers are asked to come again, and tokens go on.
func TestAnIssuerThatIsAwayIsUnavailable(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *api.Config) {
		c.Issuer = issuer.New(issuer.Config{Issuer: "http://127.0.0.1:1", Audience: "pgcourier"})
	})
	got := b.call("GET", acme, "a.b.c", "")
	if p := got.problem(t); got.status != http.StatusServiceUnavailable || p.Code != "unavailable" || got.header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
	if got := b.call("GET", acme, b.token("acme", access.Read), ""); got.status != http.StatusOK {
		t.Errorf("a token: %d %s", got.status, got.body)
	}
}
