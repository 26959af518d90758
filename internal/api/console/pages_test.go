package console_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/api/console"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/retention"
)

// everyPage are the pages without parameters.
var everyPage = []string{"", "exports", "request", "restores", "schedules", "notifications", "retention", "health", "tokens", "audit", "login"}

func plan(_ context.Context, project string) (retention.Report, error) {
	return retention.Report{Verdicts: []retention.Verdict{{
		Decision: retention.Decision{Export: retention.Export{ID: export.ID{Project: project, Request: "old"}, FinishedAt: time.Now().Add(-time.Hour)}, Why: []string{"last"}},
		Step:     retention.Kept,
	}}, Rules: map[string]retention.Rules{project: {Policy: retention.Policy{Last: 7}, From: retention.FromRule, Projects: "ac*"}}}, nil
}

func findings(context.Context) []console.Finding {
	return []console.Finding{{Check: "broker", State: "ok", Found: "answers"}, {Check: "database/rights", State: "fault", Found: "lacks a right", Fix: "grant it"}}
}

// noticesOf returns notifications of two projects with a text in one of them.
func noticesOf(text string) *box {
	return &box{all: []api.Notice{
		{Key: "email-k2", State: "sent", Channel: "email", Recipient: "bob@example.org", Project: "globex", Request: "r", UpdatedAt: time.Now()},
		{Key: "email-k1", State: "parked", Channel: "email", Recipient: "ann@example.org", Project: "acme", Request: "good", Tries: 3, Cause: text, UpdatedAt: time.Now()},
	}}
}

func TestNotificationsAreThoseOfTheOwnProjects(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *settings) { c.Notices = noticesOf("refused") })
	if got := b.visit("globex", access.Read, access.Operate).get("notifications"); got.status != http.StatusOK || strings.Contains(got.body, "acme") || !strings.Contains(got.body, "none parked") {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := b.visit("acme", access.Read).get("notifications"); got.status != http.StatusForbidden {
		t.Errorf("without the scope operate: %d", got.status)
	}
}

// A page that has not read all must not say that all is well.
func TestThePageOfNotificationsSaysWhatItHasNotRead(t *testing.T) {
	t.Parallel()
	box := noticesOf("refused")
	b := setup(t, func(c *settings) { c.Notices = box })
	v := b.visit("globex", access.Read, access.Operate)
	const good, reading = `<span class="state good">none parked`, "are still being read"
	if got := v.get("notifications"); !strings.Contains(got.body, good) || strings.Contains(got.body, reading) {
		t.Errorf("all were read: %s", got.body)
	}
	box.since = time.Now().Add(-time.Hour)
	if got := v.get("notifications"); strings.Contains(got.body, good) || !strings.Contains(got.body, reading) {
		t.Errorf("not all were read: %s", got.body)
	}
}

func TestPagesShowWhatThereIs(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *settings) {
		c.Plan, c.Examine, c.Notices = plan, findings, noticesOf("550 no such mailbox")
	})
	b.completed("acme", "good")
	b.failed(events.Requested{ProjectID: "acme", RequestID: "broken", RequestedBy: "ann"}, export.Fault{Code: codes.LockTimeout, Message: "waited too long"})
	b.claim("globex", "now")
	b.must(b.schedules().Add(t.Context(), broker.Schedule{Project: "acme", Name: "nightly", Pattern: "0 0 3 * * *", Zone: "Europe/Berlin", Body: []byte(`{"project_id":"acme"}`)}, true))
	b.exec(`INSERT INTO pgcourier.expiries (project_id, request_id, reason, warned_at) VALUES ('acme', 'good', 'older than 1d', now())`)
	b.exec(`INSERT INTO pgcourier.retention_rules (projects, policy, set_by) VALUES ('glo*', 'last=9', 'apply: ann')`)
	// The rules are those of other projects too.
	if got := b.visit("acme", access.Read).get("retention?project=acme"); got.status != http.StatusOK || strings.Contains(got.body, "glo*") || !strings.Contains(got.body, "ac*") {
		t.Errorf("a token of one project is shown the rules: %d %s", got.status, got.body)
	}
	v := b.visit("*", access.Admin)
	v.post("exports/acme/broken/replay", url.Values{})
	v.post("health", url.Values{})
	for path, want := range map[string][]string{
		"":                          {"Running now", "globex", "now", "lock timeout", "never", "1 export</a> will be deleted", "<svg", "As a table"},
		"exports":                   {"good", "broken", "now", "4.9 KiB", "lock timeout", "ann"},
		"exports?state=completed":   {"good"},
		"exports?text=GOO":          {"good"},
		"exports?project=globex":    {"now"},
		"exports?code=lock_timeout": {"broken", "Replay all that match"},
		"exports?format=tar":        {"No export matches"},
		"exports?from=2090-01-01":   {"No export matches"},
		"exports?from=yesterday":    {"From is not a date", "good"},
		"exports?after=x":           {"unreadable", "good"},
		"exports/acme/good":         {"Evidence", "in the stream", "in the snapshot", "equal, table by table", strings.Repeat("ab", 32), "pgcourier restore acme/good", "psql --no-psqlrc", "Attempt 1 began", "Retention announced the deletion", "file:x", "Delete…", "Issue a download link…"},
		"exports/acme/broken":       {"waited too long", "lock_timeout", "Replay…", "ann"},
		"exports/globex/now":        {"Cancel…", `data-of="globex/now"`},
		"request":                   {"backup.requested", `name="project"`},
		"replay?of=acme/broken":     {"acme/broken", "Replaying twice gives one request"},
		"schedules":                 {"nightly", "Europe/Berlin", "03:00 CE", "Pause…"},
		"notifications":             {"1 parked", "550 no such mailbox", "ann@example.org", "email-k1"},
		"notifications?state=sent":  {"globex", "1 parked"},
		"retention?project=acme":    {"old", "kept", "last=7", "the applied rule for ac*"},
		"retention":                 {"older than 1d", "glo*", "last=9", "every other project"},
		"health":                    {"1 to be fixed", "grant it", "answers"},
		"tokens":                    {"this session", "active", "admin"},
		"audit":                     {"replay-export", "broken", "127.0.0.1"},
	} {
		got := v.get(path)
		if got.status != http.StatusOK {
			t.Errorf("%q: %d %s", path, got.status, got.body)
		}
		for _, text := range want {
			if !strings.Contains(got.body, text) {
				t.Errorf("%q lacks %q", path, text)
			}
		}
	}
	// All that match are offered for replay only if a replay can be bounded as the list is.
	for _, path := range []string{"exports?state=failed&until=2090-01-01", "exports?code=lock_timeout&until=2090-01-01", "exports?state=failed&text=broken", "exports?state=failed&format=sql"} {
		if got := v.get(path); !strings.Contains(got.body, "Replay the selected") || strings.Contains(got.body, "match=1") {
			t.Errorf("%q offers a replay of what it does not show: %d %s", path, got.status, got.body)
		}
	}
	for _, path := range []string{"exports?state=failed", "exports?state=failed&from=2020-01-01", "exports?state=failed&until=tomorrow"} {
		if got := v.get(path); !strings.Contains(got.body, "match=1") {
			t.Errorf("%q offers no replay of all: %d %s", path, got.status, got.body)
		}
	}
	for _, path := range []string{"nowhere", "exports/acme/none", "exports/acme/good/explode", "exports/acme/good/cancel", "assets/x/none.css"} {
		if got := v.get(path); got.status != http.StatusNotFound {
			t.Errorf("%q: %d", path, got.status)
		}
	}
}

// schedules opens the schedules of the bench's broker.
func (b *bench) schedules() *broker.Schedules {
	b.t.Helper()
	s, err := broker.OpenSchedules(b.t.Context(), b.js)
	b.must(err)
	return s
}

func TestEmptyPagesSayWhatToDoNext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visit("*", access.Admin)
	for path, want := range map[string]string{
		"": "Ask for the first export", "exports": "Ask for the first one", "schedules": "pgcourier schedule add", "retention": "No deletion is announced",
		"health": "pgcourier doctor", "restores": "Restores by event are not set up", "audit": "Nothing was changed",
	} {
		if got := v.get(path); got.status != http.StatusOK || !strings.Contains(got.body, want) {
			t.Errorf("%q: %d, lacks %q", path, got.status, want)
		}
	}
}

func TestPagesAreReadInOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	// Ten requests at a time are first seen together.
	b.exec(`INSERT INTO pgcourier.requests (project_id, request_id, payload, digest, refused, origin, queue, queue_sequence, delivery, created_at)
		SELECT CASE WHEN n % 2 = 0 THEN 'acme' ELSE 'globex' END, 'r' || to_char(n, 'FM000'), '{}', sha256(''), false, '{}', 'q', n, 1,
			timestamptz '2026-01-02 03:04:05+00' + (n / 10) * interval '1 second' FROM generate_series(0, 119) n`)
	link := regexp.MustCompile(`href="(/console/exports/[a-z]+/(r\d+))"`)
	older := regexp.MustCompile(`href="([^"]+)" rel="next"`)
	for project, want := range map[string]int{"*": 120, "acme": 60} {
		v := b.visit(project, access.Read)
		seen := map[string]bool{}
		last := "r999"
		for path := "exports"; path != ""; {
			got := v.get(path)
			for _, m := range link.FindAllStringSubmatch(got.body, -1) {
				if seen[m[1]] {
					t.Errorf("%s: %s is on two pages", project, m[1])
				}
				if m[2][:3] > last[:3] {
					t.Errorf("%s: %s comes after %s", project, m[2], last)
				}
				seen[m[1]], last = true, m[2]
			}
			path = ""
			if m := older.FindStringSubmatch(got.body); m != nil {
				path = strings.ReplaceAll(m[1], "&amp;", "&")
			}
		}
		if len(seen) != want {
			t.Errorf("%s: %d of %d exports", project, len(seen), want)
		}
	}
}

// hostile are texts that are shown as text and do nothing.
var hostile = map[string]string{
	"html":    `<img src=x onerror=alert(1)><script>alert(2)</script>`,
	"quotes":  `"'><svg onload=alert(3)>`,
	"ansi":    "\x1b[31mred\x1b[0m\x07",
	"bidi":    "a\u202eb\u2066c\u200e",
	"c1":      "x\u009b2Jy\u0085",
	"long":    strings.Repeat("ä", 100_000),
	"spoof":   "{{.Token}} {{template \"layout\"}}",
	"scheme":  "javascript:alert(4)",
	"newline": "a\nb\r\nc\u2028d",
}

func TestHostileTextIsShownAsText(t *testing.T) {
	t.Parallel()
	raw := regexp.MustCompile(`[\x00-\x08\x0b-\x1f\x7f]|\x{202e}|\x{2066}|\x{200e}|\x{009b}|\x{0085}|\x{2028}`)
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, func(c *settings) {
				c.Notices = noticesOf(text)
				c.Examine = func(context.Context) []console.Finding {
					return []console.Finding{{Check: text, State: text, Found: text, Fix: text}}
				}
				c.Plan = func(_ context.Context, project string) (retention.Report, error) {
					r, err := plan(t.Context(), project)
					r.Verdicts[0].Why, r.Spared = []string{text}, map[string]string{project: text}
					return r, err
				}
			})
			b.completed("acme", "good", func(a *export.Artifact) {
				a.Schemas, a.Warnings = []string{text[:min(len(text), 62)]}, []string{text}
				a.Copies = append(a.Copies, export.Copy{Destination: "s3", Status: "failed", Code: codes.StorageFull, Message: text})
			})
			b.failed(events.Requested{ProjectID: "acme", RequestID: "broken"}, export.Fault{Code: codes.LockTimeout, Message: text})
			of := events.RestoreFrom{RequestID: "good"}
			b.endedRestore(events.RestoreRequested{ProjectID: "acme", RestoreID: "undo", From: of}, restoredJSON(text), export.Fault{})
			b.endedRestore(events.RestoreRequested{ProjectID: "acme", RestoreID: "refused", From: of}, nil, export.Fault{Code: codes.RestoreRejected, Message: text})
			clean := strings.ReplaceAll(text, "\x00", "")
			origin, err := jsonOf(map[string]any{"requested_by": clean, "metadata": map[string]string{clean: clean}})
			b.must(err)
			b.exec("UPDATE pgcourier.requests SET origin = $1::json", origin)
			b.exec("UPDATE pgcourier.restores SET origin = $1::json", origin)
			b.exec("UPDATE pgcourier.attempts SET worker = $1, message = $1", clean)
			b.exec("INSERT INTO pgcourier.expiries (project_id, request_id, reason, warned_at, fault) VALUES ('acme', 'good', $1, now(), $1)", clean)
			b.exec("INSERT INTO pgcourier.retention_rules (projects, policy, set_by) VALUES ($1, $1, $1)", clean)
			b.exec("INSERT INTO pgcourier.api_calls (subject, address, action, project_id, object) VALUES ($1, $1, $1, $1, $1)", clean)
			b.exec(`INSERT INTO pgcourier.downloads (download_id, project_id, request_id, client, downloaded_by, address, user_agent, redirected)
				VALUES ('d', 'acme', 'good', '', $1, $1, $1, false)`, clean)
			v := b.visit("*", access.Admin)
			b.exec("UPDATE pgcourier.api_tokens SET label = $1, created_by = $1", clean)
			v.post("health", url.Values{})
			var own string
			b.must(b.pool.QueryRow(t.Context(), "SELECT token_id FROM pgcourier.api_tokens").Scan(&own))
			q := url.QueryEscape(text[:min(len(text), 500)])
			for _, path := range append(everyPage, "exports/acme/good", "exports/acme/broken", "retention?project=acme", "exports?text="+q, "exports?project="+q+"&code="+q+"&from="+q+"&format="+q+"&state="+q,
				"replay?of="+q, "request?project="+q, "exports/acme/"+url.PathEscape(text[:min(len(text), 500)]), "schedules?project="+q, "notifications/acme/email-k1/replay", "tokens/new?project="+q,
				"exports/acme/good/restore", "restores/acme/undo", "restores/acme/refused", "restores?project="+q, "restores?after="+q, "restores/acme/"+url.PathEscape(text[:min(len(text), 500)]), "tokens/"+own+"/revoke", "login?why="+q+"&next="+q) {
				got := v.get(path)
				if got.status >= 500 || got.status == 0 {
					t.Errorf("%.40q: %d %.300s", path, got.status, got.body)
				}
				if m := raw.FindString(got.body); m != "" {
					t.Errorf("%.40q has the character %q", path, m)
				}
				for _, bad := range []string{"<img", "<script>", "onerror=alert(1)>", "<svg onload", `href="javascript:`, `action="javascript:`} {
					if strings.Contains(got.body, bad) {
						t.Errorf("%.40q has %q", path, bad)
					}
				}
				if len(got.body) > 200_000 {
					t.Errorf("%.40q has %d bytes", path, len(got.body))
				}
			}
		})
	}
}

func TestAnOutageOfTheBrokerIsSaidAndPasses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.completed("acme", "good")
	v := b.visit("*", access.Admin)
	b.toBroker.Cut()
	brokertest.Eventually(t, "the connection is seen as lost", func() bool { return !b.nc.IsConnected() })
	if got := v.get(""); got.status != http.StatusOK || !strings.Contains(got.body, "The broker does not answer") || !strings.Contains(got.body, "acme") {
		t.Errorf("the overview without a broker: %d %s", got.status, got.body)
	}
	if got := v.get("exports"); got.status != http.StatusOK || !strings.Contains(got.body, "good") {
		t.Errorf("the list without a broker: %d", got.status)
	}
	got := v.get("schedules")
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, `http-equiv="refresh"`) {
		t.Errorf("schedules without a broker: %d %s", got.status, got.body)
	}
	if got := v.post("request", url.Values{"project": {"acme"}}); got.status != http.StatusServiceUnavailable {
		t.Errorf("a request without a broker: %d", got.status)
	}
	b.toBroker.Restore()
	brokertest.Eventually(t, "the schedules are shown again", func() bool { return v.get("schedules").status == http.StatusOK })
}

func TestAnOutageOfTheLedgerIsSaidAndKeepsTheSession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.completed("acme", "good")
	v := b.visit("*", access.Admin)
	b.toLedger.Cut()
	for _, path := range []string{"", "exports", "audit"} {
		got := v.get(path)
		if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, `http-equiv="refresh"`) || v.cookie == nil {
			t.Errorf("%q without a ledger: %d, session %v", path, got.status, v.cookie != nil)
		}
	}
	if got := (&browser{b: b}).post("login", url.Values{"token": {"pgc_" + strings.Repeat("a", 33)}}); got.status != http.StatusUnauthorized && got.status != http.StatusServiceUnavailable {
		t.Errorf("a login without a ledger: %d", got.status)
	}
	b.toLedger.Restore()
	brokertest.Eventually(t, "the exports are shown again", func() bool {
		got := v.get("exports")
		return got.status == http.StatusOK && strings.Contains(got.body, "good")
	})
}

// jsonOf returns a value as JSON.
func jsonOf(of any) (string, error) {
	b, err := json.Marshal(of)
	return string(b), err
}
