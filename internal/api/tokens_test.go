package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/api/access"
)

func TestAnAdministratorMakesAndRevokesTokens(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const at = "/v1/projects/acme/tokens"
	admin := b.token("acme", access.Admin)
	var made, again api.Token
	got := b.call("POST", at, admin, `{"scopes":["read","download"],"expires":"12h","label":"a job"}`)
	got.into(t, &made)
	if got.status != http.StatusCreated || !strings.HasPrefix(made.Secret, access.TokenPrefix) || made.Project != "acme" || len(made.Scopes) != 2 ||
		made.ExpiresAt == nil || made.Label != "a job" || !strings.HasPrefix(made.CreatedBy, "token:") || made.State != "active" {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := b.call("GET", acme, made.Secret, ""); got.status != http.StatusOK {
		t.Errorf("the token is refused: %d %s", got.status, got.body)
	}
	if got := b.call("GET", at, admin, ""); got.status != http.StatusOK || !strings.Contains(string(got.body), made.ID) || strings.Contains(string(got.body), made.Secret) {
		t.Errorf("listed: %d %s", got.status, got.body)
	}
	for range 2 {
		got = b.call("DELETE", at+"/"+made.ID, admin, "")
		got.into(t, &again)
		if got.status != http.StatusOK || again.State != "revoked" || again.Secret != "" {
			t.Errorf("revoked: %d %s", got.status, got.body)
		}
	}
	if got := b.call("GET", acme, made.Secret, ""); got.status != http.StatusUnauthorized {
		t.Errorf("a revoked token: %d", got.status)
	}
	for body, field := range map[string]string{
		`{}`: "", `{"scopes":[]}`: "scopes", `{"scopes":["root"]}`: "", `{"scopes":["read"],"expires":"never"}`: "expires",
		`{"scopes":["read"],"expires":"367d"}`: "expires", `{"scopes":["read"],"expires":"x"}`: "expires", `{"scopes":["read"],"label":"` + strings.Repeat("x", 201) + `"}`: "label",
		`{"scopes":["read"],"project_id":"globex"}`: "", `{"scopes":"read"}`: "scopes", `[]`: "",
	} {
		got := b.call("POST", at, admin, body)
		if p := got.problem(t); got.status != http.StatusUnprocessableEntity || !strings.Contains(p.Field, field) {
			t.Errorf("%.60s: %d %s", body, got.status, got.body)
		}
	}
	for _, body := range []string{"", "{"} {
		if got := b.call("POST", at, admin, body); got.status < 400 || got.status > 422 {
			t.Errorf("%q: %d %s", body, got.status, got.body)
		}
	}
	// A token of another project, of all projects, and none at all look the same.
	other := b.token("globex", access.Read)
	var id string
	b.must(b.pool.QueryRow(t.Context(), "SELECT token_id FROM pgcourier.api_tokens WHERE project_id = 'globex'").Scan(&id))
	for _, id := range []string{id, "k3j9x7q2m4", "'", "%00"} {
		if got := b.call("DELETE", at+"/"+id, admin, ""); got.status != http.StatusNotFound {
			t.Errorf("%q: %d %s", id, got.status, got.body)
		}
	}
	if got := b.call("GET", "/v1/projects/globex/exports", other, ""); got.status != http.StatusOK {
		t.Errorf("the other project's token: %d", got.status)
	}
	var calls int
	b.must(b.pool.QueryRow(t.Context(), "SELECT count(*) FROM pgcourier.api_calls WHERE action IN ('create-token', 'revoke-token') AND project_id = 'acme' AND object = $1", made.ID).Scan(&calls))
	if calls != 3 {
		t.Errorf("%d calls in the audit", calls)
	}
}

func TestTokensOfAllProjectsAreMadeByCallersForAll(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const at = "/v1/projects/*/tokens"
	if got := b.call("POST", at, b.token("acme", access.Admin), `{"scopes":["read"]}`); got.status != http.StatusForbidden {
		t.Errorf("by an administrator of one project: %d %s", got.status, got.body)
	}
	all := b.token(access.AllProjects, access.Admin)
	var made api.Token
	b.call("POST", at, all, `{"scopes":["admin"]}`).into(t, &made)
	if got := b.call("GET", "/v1/projects/globex/tokens", made.Secret, ""); got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := b.call("DELETE", at+"/"+made.ID, made.Secret, ""); got.status != http.StatusOK { // itself
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := b.call("GET", at, made.Secret, ""); got.status != http.StatusUnauthorized {
		t.Errorf("after it revoked itself: %d", got.status)
	}
	for _, project := range []string{"_", "a.b", strings.Repeat("x", 101)} {
		if got := b.call("POST", "/v1/projects/"+project+"/tokens", all, `{"scopes":["read"]}`); got.status != http.StatusUnprocessableEntity {
			t.Errorf("%q: %d %s", project, got.status, got.body)
		}
	}
}
