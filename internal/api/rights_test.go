package api_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/api/access"
)

// route is a call of a project, and the scopes that allow it beside admin.
type route struct {
	method, path, body string
	scopes             []access.Scope
}

// routes are all calls of a project on one of its exports and schedules.
func routes(project, id string) []route {
	at := "/v1/projects/" + project
	return []route{
		{"POST", at + "/exports", "{}", []access.Scope{access.Export}},
		{"GET", at + "/exports", "", []access.Scope{access.Read}},
		{"GET", at + "/exports?state=completed&limit=5", "", []access.Scope{access.Read}},
		{"GET", at + "/exports/" + id, "", []access.Scope{access.Read}},
		{"GET", at + "/exports/" + id + "/events", "", []access.Scope{access.Read}},
		{"POST", at + "/exports/" + id + "/cancel", "", []access.Scope{access.Export, access.Operate}},
		{"POST", at + "/exports/" + id + "/replay", "", []access.Scope{access.Operate}},
		{"POST", at + "/exports/" + id + "/verify", "", []access.Scope{access.Operate}},
		{"DELETE", at + "/exports/" + id, "", []access.Scope{access.Operate}},
		{"POST", at + "/exports/" + id + "/links", "{}", []access.Scope{access.Download}},
		{"GET", at + "/exports/" + id + "/links", "", []access.Scope{access.Read, access.Download}},
		{"DELETE", at + "/exports/" + id + "/links/lnk_x", "", []access.Scope{access.Download}},
		{"GET", at + "/exports/" + id + "/file", "", []access.Scope{access.Download}},
		{"GET", at + "/exports/" + id + "/receipt", "", []access.Scope{access.Read}},
		{"POST", at + "/restores", `{"from":{"request_id":"latest"}}`, []access.Scope{access.Restore}},
		{"GET", at + "/restores", "", []access.Scope{access.Read, access.Restore}},
		{"GET", at + "/restores?limit=5", "", []access.Scope{access.Read, access.Restore}},
		{"GET", at + "/restores/" + id, "", []access.Scope{access.Read, access.Restore}},
		{"POST", at + "/restores/" + id + "/cancel", "", []access.Scope{access.Restore, access.Operate}},
		{"GET", at + "/notifications", "", []access.Scope{access.Operate}},
		{"POST", at + "/notifications/email-k1/replay", "", []access.Scope{access.Operate}},
		{"GET", at + "/tokens", "", nil},
		{"POST", at + "/tokens", `{"scopes":["read"]}`, nil},
		{"DELETE", at + "/tokens/k3j9x7q2m4", "", nil},
		{"GET", at + "/schedules", "", []access.Scope{access.Read}},
		{"GET", at + "/schedules/nightly", "", []access.Scope{access.Read}},
		{"PUT", at + "/schedules/nightly", `{"cron":"@daily"}`, []access.Scope{access.Operate}},
		{"DELETE", at + "/schedules/nightly", "", []access.Scope{access.Operate}},
	}
}

// Without a grant of the project and the scope every call gets the same answer and changes nothing,
// whether the project, the export and the schedule exist or not.
func TestACallerLearnsNothingOfAnotherProject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	projects := []string{"acme", "globex", "Acme", "acme-2"}
	for _, p := range projects {
		attempt, r := b.claim(p, "there")
		b.complete(attempt, r)
	}
	tokens := map[string]string{"": "none"}
	for _, p := range append(projects, access.AllProjects) {
		for _, s := range access.Scopes() {
			tokens[b.token(p, s)] = p + " " + string(s)
		}
	}
	revoked := b.token("acme", access.Admin)
	b.exec("UPDATE pgcourier.api_tokens SET revoked_at = clock_timestamp() WHERE token_id = (SELECT token_id FROM pgcourier.api_tokens ORDER BY created_at DESC LIMIT 1)")
	tokens[revoked], tokens["pgc_forged"], tokens[revoked[:len(revoked)-1]] = "none", "none", "none"
	calls, leaks := 0, 0
	refusals := map[int]string{}
	for token, of := range tokens {
		for _, project := range append(projects, "nobody", "a%2Fb", "..%2facme", "*", "_") {
			for _, id := range []string{"there", "missing"} {
				for _, r := range routes(project, id) {
					allowed := false
					for _, s := range append(r.scopes, access.Admin) {
						allowed = allowed || of == project+" "+string(s) || of == "* "+string(s)
					}
					if allowed {
						continue // other tests check what it may do
					}
					calls++
					got := b.call(r.method, r.path, token, r.body)
					want := http.StatusForbidden
					if of == "none" {
						want = http.StatusUnauthorized
					}
					text := fmt.Sprint(got.header["Content-Type"], got.header["Www-Authenticate"], string(got.body))
					if refusals[want] == "" {
						refusals[want] = text
					}
					if got.status != want || text != refusals[want] {
						leaks++
						t.Errorf("%s %s with a token of %q: %d %s", r.method, r.path, of, got.status, text)
					}
				}
			}
		}
	}
	var changed int
	b.must(b.pool.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM pgcourier.api_calls) + (SELECT count(*) FROM pgcourier.api_requests) + (SELECT count(*) FROM pgcourier.removal_orders) + (SELECT count(*) FROM pgcourier.verification_orders)").Scan(&changed))
	if changed != 0 || b.queued() != 0 {
		t.Errorf("refused calls changed %d rows and queued %d requests", changed, b.queued())
	}
	t.Logf("matrix: %d projects × %d calls × %d tokens: %d refused calls, %d leaks", len(projects)+5, len(routes("", "")), len(tokens), calls, leaks)
}

// A granted call is served, and shows nothing of other projects.
func TestACallerGetsItsOwnProjectOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, p := range []string{"acme", "globex"} {
		attempt, r := b.claim(p, "same-id")
		b.complete(attempt, r)
		attempt, r = b.claim(p, "only-"+p)
		b.complete(attempt, r)
	}
	tok := b.token("acme", access.Read)
	var page struct {
		Exports []struct {
			Project string `json:"project_id"`
			ID      string `json:"request_id"`
		}
	}
	b.call("GET", acme, tok, "").into(t, &page)
	if len(page.Exports) != 2 {
		t.Errorf("listed %+v", page.Exports)
	}
	for _, e := range page.Exports {
		if e.Project != "acme" {
			t.Errorf("another project's export %+v", e)
		}
	}
	if got := b.call("GET", acme+"/only-globex", tok, ""); got.status != http.StatusNotFound {
		t.Errorf("another project's export by its id: %d", got.status)
	}
}

func TestWhoamiSaysWhatATokenIsFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var w api.Whoami
	got := b.call("GET", "/v1/whoami", b.token("acme", access.Read, access.Download), "")
	got.into(t, &w)
	if got.status != http.StatusOK || w.Projects[0] != "acme" || len(w.Scopes) != 2 || w.ExpiresAt != nil {
		t.Errorf("%d %s", got.status, got.body)
	}
	var from string
	b.must(b.pool.QueryRow(t.Context(), "SELECT last_used_from FROM pgcourier.api_tokens").Scan(&from))
	if from != "127.0.0.1" {
		t.Errorf("last used from %q", from)
	}
	for name, header := range map[string]string{"no scheme": "x", "basic": "Basic eDp5", "empty": "Bearer ", "two": "Bearer a b"} {
		if got := b.call("GET", "/v1/whoami", "", "", "Authorization", header); got.status != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %v", name, got.status, got.header)
		}
	}
}
