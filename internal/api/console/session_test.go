package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/api/console"
	"github.com/pgcourier/pgcourier/internal/secret"
)

func TestASessionEndsWithItsToken(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]string{
		"revoked": "UPDATE pgcourier.api_tokens SET revoked_at = clock_timestamp()",
		"expired": "UPDATE pgcourier.api_tokens SET expires_at = clock_timestamp() - interval '1 second'",
		"deleted": "DELETE FROM pgcourier.api_tokens",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			v := b.visit("acme", access.Read)
			if got := v.get(""); got.status != http.StatusOK {
				t.Fatalf("before: %d", got.status)
			}
			b.exec(end)
			got := v.get("exports?state=failed")
			if got.status != http.StatusSeeOther || v.cookie != nil {
				t.Fatalf("after: %d, the cookie stays: %v", got.status, v.cookie != nil)
			}
			to, err := url.Parse(got.header.Get("Location"))
			b.must(err)
			if to.Path != "/console/login" || to.Query().Get("why") != "ended" || to.Query().Get("next") != "/console/exports?state=failed" {
				t.Errorf("sent to %s", to)
			}
			if got := v.get(to.String()); !strings.Contains(got.body, "The session has ended") {
				t.Errorf("the login page does not say why: %s", got.body)
			}
		})
	}
}

func TestACookieIsSealed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.token("acme", access.Read)
	v := &browser{b: b}
	v.post("login", url.Values{"token": {token}})
	c := v.cookie
	if c == nil || c.Name != "__Host-pgcourier" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
		t.Fatalf("cookie %+v", c)
	}
	if life := time.Until(c.Expires); life > 12*time.Hour || life < 11*time.Hour {
		t.Errorf("the cookie expires in %v", life)
	}
	if strings.Contains(c.Value, token) || strings.Contains(b.log.String(), token) {
		t.Error("the token can be read")
	}
	for i := 0; i < len(c.Value); i += 7 {
		swapped := "A"
		if c.Value[i] == 'A' {
			swapped = "B"
		}
		other := &browser{b: b, cookie: &http.Cookie{Name: c.Name, Value: c.Value[:i] + swapped + c.Value[i+1:]}}
		if got := other.get(""); got.status != http.StatusSeeOther {
			t.Errorf("a cookie changed at %d: %d", i, got.status)
		}
	}
	for _, value := range []string{token, "", "AAAA", strings.Repeat("A", 5000)} {
		other := &browser{b: b, cookie: &http.Cookie{Name: c.Name, Value: value}}
		if got := other.get(""); got.status != http.StatusSeeOther {
			t.Errorf("a cookie %.10q: %d", value, got.status)
		}
	}
}

func TestLoginRefusesWhatIsNoToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, token := range []string{"", "x", "pgc_forged", strings.Repeat("a", 3000), "eyJ.e30.x"} {
		v := &browser{b: b}
		if got := v.post("login", url.Values{"token": {token}}); got.status != http.StatusUnauthorized || v.cookie != nil || !strings.Contains(got.body, `role="alert"`) {
			t.Errorf("%.10q: %d, session %v", token, got.status, v.cookie != nil)
		}
	}
	// A token without the scope read has a session in which it sees nothing.
	v := b.visit("acme", access.Export)
	for _, path := range []string{"", "exports", "live"} {
		if got := v.get(path); got.status != http.StatusForbidden {
			t.Errorf("%q without the scope read: %d", path, got.status)
		}
	}
	if got := (&browser{b: b}).post("login", url.Values{"token": {b.token("acme", access.Read)}, "next": {"https://evil.example/console/"}}); got.header.Get("Location") != "/console/login/check?next=%2Fconsole%2F" {
		t.Errorf("sent to %s", got.header.Get("Location"))
	}
}

func TestLogoutForgetsTheSession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visit("acme", access.Read)
	if got := v.post("logout", nil); got.status != http.StatusSeeOther || v.cookie != nil {
		t.Errorf("%d, the cookie stays: %v", got.status, v.cookie != nil)
	}
	if got := v.get("login/check"); got.header.Get("Location") != "/console/login?why=cookie" {
		t.Errorf("without a cookie the check of the login sends to %s", got.header.Get("Location"))
	}
}

func TestFormsOfOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visit("acme", access.Read, access.Export)
	for name, header := range map[string][]string{
		"cross-site": {"Sec-Fetch-Site", "cross-site"},
		"same-site":  {"Sec-Fetch-Site", "same-site"},
		"origin":     {"Sec-Fetch-Site", "", "Origin", "https://evil.example"},
	} {
		got := v.post("request", url.Values{"project": {"acme"}}, header...)
		if got.status != http.StatusForbidden || !strings.Contains(got.body, "another site") {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if n := b.count("SELECT count(*) FROM pgcourier.api_requests"); n != 0 {
		t.Errorf("%d exports were asked for", n)
	}
}

func TestEveryAnswerHasTheHeadersOfASafePage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visit("*", access.Admin)
	page := v.get("")
	var asset string
	for _, part := range strings.Split(page.body, `"`) {
		if strings.HasSuffix(part, "/style.css") {
			asset = part
		}
	}
	for _, path := range []string{"", "exports", "nowhere", "login", asset} {
		got := v.get(path)
		for name, want := range map[string]string{
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp",
			"Referrer-Policy": "same-origin", "X-Content-Type-Options": "nosniff",
		} {
			if got.header.Get(name) != want {
				t.Errorf("%q: %s is %q", path, name, got.header.Get(name))
			}
		}
		csp := got.header.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Errorf("%q: policy %q", path, csp)
		}
		want := "no-store"
		if path == asset {
			want = "public, max-age=31536000, immutable"
		}
		if got.header.Get("Cache-Control") != want {
			t.Errorf("%q: Cache-Control %q", path, got.header.Get("Cache-Control"))
		}
		// The policy forbids these; a page with one would be broken.
		for _, inline := range []string{" style=", "<style", "onclick=", "<script>"} {
			if strings.Contains(got.body, inline) {
				t.Errorf("%q has inline %q", path, inline)
			}
		}
	}
}

func TestALinkLogsInOnce(t *testing.T) {
	t.Parallel()
	once := &console.OneTimeLogin{Code: "the-code", Ends: time.Now().Add(time.Hour)}
	b := setup(t, func(c *settings) { c.Once = once })
	once.Token = secret.String(b.token("*", access.Admin))
	path := strings.TrimPrefix(console.OneTimePath(once.Code), console.Prefix)
	if got := (&browser{b: b}).get(path + "x"); got.status != http.StatusForbidden {
		t.Errorf("another code: %d", got.status)
	}
	// While the database is away nothing is used up.
	b.toLedger.Cut()
	away := &browser{b: b}
	if got := away.get(path); got.status != http.StatusServiceUnavailable || away.cookie != nil || !strings.Contains(got.body, "The link stays valid") || !strings.Contains(got.body, `http-equiv="refresh"`) {
		t.Errorf("without the database: %d %s", got.status, got.body)
	}
	b.toLedger.Restore()
	first := &browser{b: b}
	if got := first.get(path); got.status != http.StatusSeeOther || first.cookie == nil {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := first.get("tokens"); got.status != http.StatusOK {
		t.Errorf("its session: %d", got.status)
	}
	second := &browser{b: b}
	if got := second.get(path); got.status != http.StatusForbidden || second.cookie != nil || !strings.Contains(got.body, "used already") || !strings.Contains(got.body, `id="token"`) {
		t.Errorf("a second time: %d %s", got.status, got.body)
	}
	if strings.Contains(b.log.String(), once.Code.Reveal()) {
		t.Error("the log holds the code")
	}
	b.exec("UPDATE pgcourier.api_tokens SET revoked_at = clock_timestamp()")
	over := setup(t, func(c *settings) {
		c.Once = &console.OneTimeLogin{Code: "the-code", Token: once.Token, Ends: time.Now().Add(time.Hour)}
	})
	if got := (&browser{b: over}).get(path); got.status != http.StatusUnauthorized || !strings.Contains(got.body, "unknown, revoked or expired") {
		t.Errorf("with a token that is none: %d %s", got.status, got.body)
	}
	late := setup(t, func(c *settings) {
		c.Once = &console.OneTimeLogin{Code: "the-code", Token: once.Token, Ends: time.Now().Add(-time.Second)}
	})
	if got := (&browser{b: late}).get(path); got.status != http.StatusForbidden {
		t.Errorf("after its time: %d", got.status)
	}
	if got := (&browser{b: setup(t)}).get(path); got.status != http.StatusForbidden {
		t.Errorf("where there is none: %d", got.status)
	}
}
