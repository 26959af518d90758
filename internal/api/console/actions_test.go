package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/export"
)

// deed is an action of the console: where it is offered, where it is confirmed, and how it is done.
type deed struct {
	name           string
	page, link     string // the page that offers it, and what it then holds
	confirm, path  string // empty confirm: the page itself asks
	form           url.Values
	scopes         []access.Scope // beside admin
	all            bool           // only for all projects
	done           int
	audit, subject string // of its row in the audit
}

func deeds(project, link, token string) []deed {
	at := "exports/" + project
	notice := "notifications/" + project + "/email-" + project + "/replay"
	return []deed{
		{"request", "exports", `href="/console/request"`, "request", "request", url.Values{"project": {project}, "request_id": {"fresh"}}, []access.Scope{access.Export}, false, 303, "create-export", "fresh"},
		{"cancel", at + "/running", at + "/running/cancel", at + "/running/cancel", at + "/running/cancel", url.Values{}, []access.Scope{access.Export, access.Operate}, false, 303, "cancel-export", "running"},
		{"replay", at + "/broken", at + "/broken/replay", at + "/broken/replay", at + "/broken/replay", url.Values{}, []access.Scope{access.Operate}, false, 303, "replay-export", "broken"},
		{"replay selected", "exports", `name="of" value="` + project + `/broken2"`, "replay?of=" + project + "/broken2", "replay", url.Values{"of": {project + "/broken2"}}, []access.Scope{access.Operate}, false, 200, "replay-export", "broken2"},
		{"issue a link", at + "/good", at + "/good/link", at + "/good/link", at + "/good/link", url.Values{"ttl": {"1d"}}, []access.Scope{access.Download}, false, 200, "create-link", "good"},
		{"revoke a link", at + "/good", at + "/good/links/" + link, at + "/good/links/" + link + "/revoke", at + "/good/links/" + link + "/revoke", url.Values{}, []access.Scope{access.Download}, false, 303, "revoke-link", link},
		{"verify", at + "/good", at + "/good/verify", at + "/good/verify", at + "/good/verify", url.Values{}, []access.Scope{access.Operate}, false, 303, "verify-export", "good"},
		{"restore", at + "/good", at + "/good/restore", at + "/good/restore", at + "/good/restore", url.Values{"project": {project}, "restore_id": {"undo"}}, []access.Scope{access.Restore}, false, 303, "create-restore", "undo"},
		{"cancel a restore", "restores/" + project + "/waits", project + "/waits/cancel", "restores/" + project + "/waits/cancel", "restores/" + project + "/waits/cancel", url.Values{}, []access.Scope{access.Restore, access.Operate}, false, 303, "cancel-restore", "waits"},
		{"delete", at + "/good", at + "/good/delete", at + "/good/delete", at + "/good/delete", url.Values{}, []access.Scope{access.Operate}, false, 303, "delete-export", "good"},
		{"pause a schedule", "schedules", project + "/nightly/pause", "schedules/" + project + "/nightly/pause", "schedules/" + project + "/nightly/pause", url.Values{}, []access.Scope{access.Operate}, false, 303, "pause-schedule", "nightly"},
		{"delete a schedule", "schedules", project + "/nightly/delete", "schedules/" + project + "/nightly/delete", "schedules/" + project + "/nightly/delete", url.Values{}, []access.Scope{access.Operate}, false, 303, "delete-schedule", "nightly"},
		{"replay a notification", "notifications", notice, notice, notice, url.Values{}, []access.Scope{access.Operate}, false, 303, "replay-notification", "email-" + project},
		{"make a token", "tokens", `href="/console/tokens/new"`, "tokens/new", "tokens/new", url.Values{"project": {project}, "scope": {"read"}, "label": {"<b>"}}, nil, false, 200, "create-token", "%"},
		{"revoke a token", "tokens", "tokens/" + token + "/revoke", "tokens/" + token + "/revoke", "tokens/" + token + "/revoke", url.Values{}, nil, false, 303, "revoke-token", token},
		{"run the checks", "health", "Run the checks", "", "health", url.Values{}, []access.Scope{access.Operate}, true, 303, "", ""},
	}
}

// general reports whether a deed is offered without a project.
func (d deed) general() bool { return d.name == "request" || d.name == "make a token" }

// parked returns a parked notification of each project.
func parked(projects ...string) *box {
	b := &box{}
	for _, p := range projects {
		b.all = append(b.all, api.Notice{Key: "email-" + p, State: "parked", Channel: "email", Recipient: "ann@example.org", Project: p, Request: "good", Tries: 3, Cause: "550", UpdatedAt: time.Now()})
	}
	return b
}

// spare makes a token of a project and returns its id.
func (b *bench) spare(project string) (id string) {
	b.t.Helper()
	b.token(project, access.Read)
	b.must(b.pool.QueryRow(b.t.Context(), "SELECT token_id FROM pgcourier.api_tokens WHERE project_id = $1 ORDER BY created_at DESC LIMIT 1", project).Scan(&id))
	return id
}

// stage makes what the deeds are about in a project.
func (b *bench) stage(project string) {
	b.t.Helper()
	b.failed(events.Requested{ProjectID: project, RequestID: "broken"}, export.Fault{Code: codes.LockTimeout, Message: "waited"})
	b.failed(events.Requested{ProjectID: project, RequestID: "broken2"}, export.Fault{Code: codes.LockTimeout, Message: "waited"})
	b.completed(project, "good")
	b.askedToRestore(events.RestoreRequested{ProjectID: project, RestoreID: "waits", From: events.RestoreFrom{RequestID: "good"}})
	b.claim(project, "running") // the last one: a project has one running export
	b.must(b.schedules().Add(b.t.Context(), broker.Schedule{Project: project, Name: "nightly", Pattern: "0 0 3 * * *", Body: []byte(`{"project_id":"` + project + `"}`)}, true))
}

// cancels answers cancels as a worker does.
func (b *bench) cancels() {
	b.t.Helper()
	sub, err := b.nc.Subscribe(events.CancelFilter, func(m *nats.Msg) {
		reply, err := events.CancelReply{RequestID: m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], Result: events.CancelAccepted, Message: "it ends"}.Encode()
		if err == nil {
			err = m.Respond(reply.Body)
		}
		if err != nil {
			b.t.Error(err)
		}
	})
	b.must(err)
	b.must(b.nc.Flush())
	b.t.Cleanup(func() { _ = sub.Unsubscribe() })
}

// changes counts every row and message that a deed can leave.
func (b *bench) changes() int {
	b.t.Helper()
	n := b.count(`SELECT (SELECT count(*) FROM pgcourier.api_calls) + (SELECT count(*) FROM pgcourier.api_requests) + (SELECT count(*) FROM pgcourier.removal_orders) + (SELECT count(*) FROM pgcourier.verification_orders)
		+ (SELECT count(*) FROM pgcourier.links) + (SELECT count(*) FROM pgcourier.links WHERE revoked_at IS NOT NULL) + (SELECT count(*) FROM pgcourier.api_tokens WHERE revoked_at IS NOT NULL) + (SELECT count(*) FROM pgcourier.api_tokens)
		+ (SELECT count(*) FROM pgcourier.restores)`)
	for _, name := range []string{events.StreamSchedules, events.StreamRestores} {
		s, err := b.js.Stream(b.t.Context(), name)
		b.must(err)
		n += int(s.CachedInfo().State.LastSeq)
	}
	return n
}

// Each role and each action: a caller without the scope is offered nothing, can confirm nothing and
// can do nothing, in its own project or another.
func TestRolesAndActions(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *settings) { c.Examine, c.Notices = findings, parked("acme", "globex") })
	b.cancels()
	for _, p := range []string{"acme", "globex"} {
		b.stage(p)
	}
	issued := func(project string) string {
		t.Helper()
		v := b.visit(project, access.Read, access.Download)
		v.post("exports/"+project+"/good/link", url.Values{})
		var id string
		b.must(b.pool.QueryRow(t.Context(), "SELECT link_id FROM pgcourier.links WHERE project_id = $1", project).Scan(&id))
		return id
	}
	links := map[string]string{"acme": issued("acme"), "globex": issued("globex")}
	tokens := map[string]string{"acme": b.spare("acme"), "globex": b.spare("globex")}
	refused := 0
	for _, of := range []string{"acme", access.AllProjects} {
		for _, scope := range access.Scopes() {
			v := b.visit(of, access.Read, scope)
			for _, project := range []string{"acme", "globex"} {
				for _, d := range deeds(project, links[project], tokens[project]) {
					who := fmt.Sprintf("%s of %s: %s in %s", scope, of, d.name, project)
					allowed := (scope == access.Admin || slices.Contains(d.scopes, scope)) && (of == access.AllProjects || of == project && !d.all)
					page := v.get(d.page)
					if offered := page.status == http.StatusOK && strings.Contains(page.body, d.link); offered != allowed && (!d.general() || of == project) {
						t.Errorf("%s: offered %v, allowed %v (%d)", who, offered, allowed, page.status)
					}
					if allowed {
						if got := v.get(d.confirm); d.confirm != "" && got.status != http.StatusOK {
							t.Errorf("%s: to be confirmed: %d", who, got.status)
						}
						continue // the next test does it
					}
					if got := v.get(d.confirm); d.confirm != "" && got.status == http.StatusOK && !d.general() && d.name != "replay selected" {
						t.Errorf("%s: can be confirmed", who)
					}
					before := b.changes()
					got := v.post(d.path, d.form)
					if d.name == "replay selected" && got.status == http.StatusOK {
						if !strings.Contains(got.body, "0 asked for again, 1 refused") {
							t.Errorf("%s: %s", who, got.body)
						}
					} else if got.status != http.StatusForbidden && got.status != http.StatusNotFound {
						t.Errorf("%s: done, %d", who, got.status)
					}
					if after := b.changes(); after != before {
						t.Errorf("%s: changed %d rows", who, after-before)
					}
					refused++
				}
			}
		}
	}
	t.Logf("%d refused actions", refused)
}

func TestActionsAreDoneAndNoted(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *settings) { c.Examine, c.Notices = findings, parked("acme") })
	b.cancels()
	b.stage("acme")
	v := b.visit("*", access.Admin)
	v.post("exports/acme/good/link", url.Values{})
	var link string
	b.must(b.pool.QueryRow(t.Context(), "SELECT link_id FROM pgcourier.links").Scan(&link))
	for _, d := range deeds("acme", link, b.spare("acme")) {
		got := v.post(d.path, d.form)
		if got.status != d.done {
			t.Errorf("%s: %d %s", d.name, got.status, got.body)
			continue
		}
		if to := got.header.Get("Location"); to != "" {
			if page := v.get(to); page.status != http.StatusOK || !strings.Contains(page.body, `role="status"`) {
				t.Errorf("%s: then %s: %d", d.name, to, page.status)
			}
		}
		if d.audit == "" {
			continue
		}
		var n int
		b.must(b.pool.QueryRow(t.Context(), "SELECT count(*) FROM pgcourier.api_calls WHERE action = $1 AND object LIKE $2 AND subject LIKE 'token:%' AND address = '127.0.0.1'", d.audit, d.subject).Scan(&n))
		if n == 0 {
			t.Errorf("%s: not in the audit", d.name)
		}
	}
	if got := v.post("exports/acme/good/link", url.Values{"max_downloads": {"3"}}); !strings.Contains(got.body, "https://backups.example.org/d/") {
		t.Errorf("the link is not shown: %d %s", got.status, got.body)
	}
	for _, bad := range []url.Values{{"ttl": {"1s"}}, {"max_downloads": {"x"}}, {"max_downloads": {"-1"}}, {"notify_email": {"nobody"}}} {
		if got := v.post("exports/acme/good/link", bad); got.status != http.StatusUnprocessableEntity {
			t.Errorf("a link with %v: %d", bad, got.status)
		}
	}
}

func TestARequestThatIsSentTwiceAsksOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visit("acme", access.Read, access.Export)
	form := url.Values{"project": {"acme"}, "request_id": {"once"}, "format": {"custom"}, "compression": {"zstd"}, "compression_level": {"best"}, "schemas": {"a\r\nb c"}, "notify_email": {"ann@example.org"}}
	for range 2 {
		if got := v.post("request", form); got.status != http.StatusSeeOther || got.header.Get("Location") != "/console/exports/acme/once?did=requested" {
			t.Errorf("%d %s", got.status, got.header.Get("Location"))
		}
	}
	if n := b.count("SELECT count(*) FROM pgcourier.api_requests"); n != 1 {
		t.Errorf("%d requests", n)
	}
	if got := v.get("exports/acme/once"); !strings.Contains(got.body, "waiting") || !strings.Contains(got.body, "b c") || !strings.Contains(got.body, "Cancel…") {
		t.Errorf("the waiting export: %d %s", got.status, got.body)
	}
	form.Set("format", "sql")
	if got := v.post("request", form); got.status != http.StatusConflict || !strings.Contains(got.body, `value="once"`) {
		t.Errorf("other contents: %d", got.status)
	}
	for name, bad := range map[string]url.Values{
		"format": {"project": {"acme"}, "format": {"doc"}}, "mail": {"project": {"acme"}, "notify_email": {"x"}}, "path": {"project": {"acme"}, "storage_path": {"../x"}},
		"level": {"project": {"acme"}, "compression": {"none"}, "compression_level": {"best"}},
	} {
		if got := v.post("request", bad); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, `role="alert"`) {
			t.Errorf("%s: %d", name, got.status)
		}
	}
}

func TestAllThatMatchAreReplayed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 5 {
		b.failed(events.Requested{ProjectID: "acme", RequestID: fmt.Sprintf("lock%d", i)}, export.Fault{Code: codes.LockTimeout, Message: "waited"})
	}
	b.failed(events.Requested{ProjectID: "acme", RequestID: "full"}, export.Fault{Code: codes.StorageFull, Message: "full"})
	b.failed(events.Requested{ProjectID: "globex", RequestID: "other"}, export.Fault{Code: codes.LockTimeout, Message: "waited"})
	v := b.visit("acme", access.Read, access.Operate)
	got := v.get("replay?match=1&code=lock_timeout")
	if got.status != http.StatusOK || strings.Count(got.body, `type="hidden" name="of"`) != 5 || strings.Contains(got.body, "full") || strings.Contains(got.body, "other") {
		t.Fatalf("%d %s", got.status, got.body)
	}
	form := url.Values{}
	for i := range 5 {
		form.Add("of", fmt.Sprintf("acme/lock%d", i))
	}
	if got := v.post("replay", form); !strings.Contains(got.body, "5 asked for again, 0 refused") {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := v.get("replay?match=1&code=lock_timeout"); !strings.Contains(got.body, "There is nothing to replay") {
		t.Errorf("again: %d %s", got.status, got.body)
	}
	if got := v.get("replay?match=1&project=globex"); got.status != http.StatusForbidden {
		t.Errorf("another project: %d", got.status)
	}
}

func TestATokenIsShownOnceAndHasNoMoreThanItsMaker(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visit("acme", access.Admin)
	if got := v.get("tokens/new"); !strings.Contains(got.body, `value="acme"`) || strings.Contains(got.body, "for all projects") {
		t.Errorf("the form of an administrator of one project: %s", got.body)
	}
	got := v.post("tokens/new", url.Values{"project": {"acme"}, "scope": {"read", "operate"}, "expires": {"12h"}, "label": {"a <job>"}})
	secret := regexp.MustCompile(`value="(pgc_[a-z0-9]+)"`).FindStringSubmatch(got.body)
	if got.status != http.StatusOK || secret == nil {
		t.Fatalf("%d %s", got.status, got.body)
	}
	other := &browser{b: b}
	if got := other.post("login", url.Values{"token": {secret[1]}}); got.status != http.StatusSeeOther {
		t.Errorf("a login with the new token: %d", got.status)
	}
	page := v.get("tokens")
	if strings.Contains(page.body, secret[1]) || !strings.Contains(page.body, "a &lt;job&gt;") || !strings.Contains(page.body, "read") {
		t.Errorf("the list: %s", page.body)
	}
	if strings.Contains(b.log.String(), secret[1]) {
		t.Error("the log holds the token")
	}
	for name, form := range map[string]url.Values{
		"no scope": {"project": {"acme"}}, "a scope that is none": {"project": {"acme"}, "scope": {"root"}}, "for ever": {"project": {"acme"}, "scope": {"read"}, "expires": {"never"}},
		"a long label": {"project": {"acme"}, "scope": {"read"}, "label": {strings.Repeat("x", 201)}},
	} {
		if got := v.post("tokens/new", form); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, `role="alert"`) || !strings.Contains(got.body, `value="acme"`) {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	for _, project := range []string{"globex", "*", ""} {
		if got := v.post("tokens/new", url.Values{"project": {project}, "scope": {"read"}}); got.status != http.StatusForbidden {
			t.Errorf("a token of project %q: %d", project, got.status)
		}
	}
	// The session's own token: the page says so, and the session ends.
	var own string
	b.must(b.pool.QueryRow(t.Context(), "SELECT token_id FROM pgcourier.api_tokens WHERE 'admin' = ANY (scopes)").Scan(&own))
	if got := v.get("tokens/" + own + "/revoke"); !strings.Contains(got.body, "your own session") {
		t.Errorf("the confirmation: %s", got.body)
	}
	v.post("tokens/"+own+"/revoke", url.Values{})
	if got := v.get("tokens"); got.status != http.StatusSeeOther || !strings.Contains(got.header.Get("Location"), "why=ended") {
		t.Errorf("after the own token was revoked: %d %s", got.status, got.header.Get("Location"))
	}
}
