package access_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/api/access"
)

func ExampleGrant_Allows() {
	g := access.Grant{Projects: []string{"acme"}, Scopes: []access.Scope{access.Read}}
	fmt.Println(g.Allows("acme", access.Read), g.Allows("acme", access.Export), g.Allows("globex", access.Read))
	// Output: true false false
}

func TestAnAdminOfOneProjectIsNoneOfAnother(t *testing.T) {
	t.Parallel()
	g := access.Grant{Projects: []string{"acme"}, Scopes: []access.Scope{access.Admin}}
	for _, s := range access.Scopes() {
		if !g.Allows("acme", s) || g.Allows("acme2", s) || g.Allows(access.AllProjects, s) || g.Allows("", s) {
			t.Errorf("%s: the grant is wider or narrower than its project", s)
		}
	}
	all := access.Grant{Projects: []string{access.AllProjects}, Scopes: []access.Scope{access.Read}}
	if !all.Allows("anything", access.Read) || all.Allows("anything", access.Operate) {
		t.Error("a grant for all projects has other scopes than its own")
	}
	if (access.Grant{}).Allows("", access.Read) {
		t.Error("the zero grant allows something")
	}
}

func TestASecretIsRecognisedByItsForm(t *testing.T) {
	t.Parallel()
	token, hash := access.NewSecret()
	again, _ := access.NewSecret()
	if token == again {
		t.Error("two tokens are the same")
	}
	got, ok := access.HashSecret(token.Reveal())
	if !ok || got != hash {
		t.Error("the token is not recognised")
	}
	plain := token.Reveal()
	for i := range plain {
		other := "x"
		if plain[i] == 'x' {
			other = "y"
		}
		if _, ok := access.HashSecret(plain[:i] + other + plain[i+1:]); ok {
			t.Errorf("a token with another character at %d is accepted", i)
		}
	}
	for _, bad := range []string{"", "pgc_", plain + " ", strings.ToUpper(plain), plain[4:], "Bearer " + plain} {
		if _, ok := access.HashSecret(bad); ok {
			t.Errorf("%q is accepted as a token", bad)
		}
	}
	if s := fmt.Sprintf("%v %s %d", token, token, token); s != "*** *** ***" {
		t.Errorf("a token prints as %q", s)
	}
}

func TestExpiriesAreDaysOrDurations(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"90d": 90 * 24 * time.Hour, "12h": 12 * time.Hour, "never": 0} {
		if got, err := access.ParseExpiry(text); err != nil || got != want {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0d", "-1d", "d", "1", "0s", "-5m", "99999d", "1e9h", "Never"} {
		if got, err := access.ParseExpiry(text); err == nil {
			t.Errorf("%q is accepted as %v", text, got)
		}
	}
}

func TestScopesAreKnown(t *testing.T) {
	t.Parallel()
	got, err := access.ParseScopes([]string{"read", " export", "read"})
	if err != nil || len(got) != 2 || got[0] != access.Export || got[1] != access.Read {
		t.Errorf("scopes are %v, %v", got, err)
	}
	if _, err := access.ParseScopes([]string{"root"}); err == nil {
		t.Error("an unknown scope is accepted")
	}
}
