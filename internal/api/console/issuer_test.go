package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/api/console"
	"github.com/pgcourier/pgcourier/internal/api/issuer"
	"github.com/pgcourier/pgcourier/internal/dev/oidctest"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// withIssuer makes a bench with a login at a real issuer.
func withIssuer(t *testing.T) (*bench, *oidctest.Provider) {
	t.Helper()
	p := oidctest.Start(t)
	i := issuer.New(issuer.Config{Issuer: p.URL, Audience: oidctest.ClientID, ProjectClaim: "projects", ScopeClaim: "scopes"})
	b := setupWith(t, i, func(c *settings) {
		c.Login = issuer.NewLogin(i, oidctest.ClientID, secret.String(oidctest.ClientSecret), "https://backups.example.org"+console.LoginPath)
	})
	return b, p
}

// back returns the path with the query of an address that the issuer sends to.
func back(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil || u.Path != console.LoginPath {
		t.Fatalf("sent to %s: %v", address, err)
	}
	return u.RequestURI()
}

func TestUsersLogInAtTheIssuer(t *testing.T) {
	t.Parallel()
	b, p := withIssuer(t)
	p.Claims = map[string]any{"projects": []string{"acme"}, "scopes": "read operate"}
	b.completed("acme", "mine")
	b.completed("globex", "theirs")
	v := &browser{b: b}
	if got := v.get("login?next=/console/exports"); !strings.Contains(got.body, `href="/console/login/issuer?next=%2Fconsole%2Fexports"`) {
		t.Errorf("the login is not offered: %s", got.body)
	}
	got := v.get("login/issuer?next=/console/exports")
	to := got.header.Get("Location")
	if got.status != http.StatusSeeOther || !strings.HasPrefix(to, p.URL) || !strings.Contains(to, "code_challenge_method=S256") || v.login == nil {
		t.Fatalf("%d %s", got.status, to)
	}
	path := back(t, p.Login(t, to))
	got = v.get(path)
	if got.status != http.StatusSeeOther || got.header.Get("Location") != "/console/login/check?next=%2Fconsole%2Fexports" || v.cookie == nil || v.login != nil {
		t.Fatalf("%d %s %s", got.status, got.header.Get("Location"), got.body)
	}
	if got := v.get("exports"); got.status != http.StatusOK || !strings.Contains(got.body, "mine") || strings.Contains(got.body, "theirs") || !strings.Contains(got.body, "oidc:id2") {
		t.Errorf("%d %s", got.status, got.body)
	}
	if strings.Contains(b.log.String(), url.QueryEscape(v.cookie.Value)) || strings.Contains(b.log.String(), "code=") {
		t.Error("the log holds a secret of the login")
	}
	if got := (&browser{b: b}).get(path); got.status != http.StatusForbidden {
		t.Errorf("the same address in another browser: %d", got.status)
	}
}

func TestALoginAtTheIssuerIsRefused(t *testing.T) {
	t.Parallel()
	b, p := withIssuer(t)
	p.Claims = map[string]any{"projects": []string{"acme"}, "scopes": "read"}
	begin := func() (*browser, string) {
		t.Helper()
		v := &browser{b: b}
		return v, v.get("login/issuer").header.Get("Location")
	}
	v, to := begin()
	other, _ := begin()
	path := back(t, p.Login(t, to))
	if got := other.get(path); got.status != http.StatusForbidden || other.cookie != nil {
		t.Errorf("a code of another login: %d", got.status)
	}
	u, err := url.Parse(path)
	b.must(err)
	q := u.Query()
	q.Set("code", "forged")
	if got := v.get(u.Path + "?" + q.Encode()); got.status != http.StatusBadGateway || v.cookie != nil {
		t.Errorf("a forged code: %d", got.status)
	}
	if got := v.get(path); got.status != http.StatusForbidden || v.cookie != nil {
		t.Errorf("after one code: %d", got.status)
	}
	v, to = begin()
	u, err = url.Parse(to)
	b.must(err)
	if got := v.get(console.LoginPath + "?error=access_denied&error_description=%3Cscript%3E&state=" + u.Query().Get("state")); got.status != http.StatusForbidden || !strings.Contains(got.body, "access_denied") || strings.Contains(got.body, "<script>") {
		t.Errorf("a refusal: %d %s", got.status, got.body)
	}
	p.Claims = map[string]any{"projects": []string{"acme"}} // no scopes
	v, to = begin()
	if got := v.get(back(t, p.Login(t, to))); got.status != http.StatusUnauthorized || v.cookie != nil {
		t.Errorf("without scopes: %d", got.status)
	}
}

func TestWithoutAnIssuerThereIsNoLoginThere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := &browser{b: b}
	if got := v.get("login"); strings.Contains(got.body, "issuer") {
		t.Errorf("the login is offered: %s", got.body)
	}
	for _, path := range []string{"login/issuer", console.LoginPath} {
		if got := v.get(path); got.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	away := setup(t, func(c *settings) {
		c.Login = issuer.NewLogin(issuer.New(issuer.Config{Issuer: "http://127.0.0.1:1"}), "x", "", "https://backups.example.org")
	})
	if got := (&browser{b: away}).get("login/issuer"); got.status != http.StatusServiceUnavailable {
		t.Errorf("an issuer that is away: %d", got.status)
	}
}
