//go:build browser

package console_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/api/console"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/dev/chromium"
	"github.com/pgcourier/pgcourier/internal/export"
)

// build is the folder of pictures, and of the rules of accessibility that `make browser` fetches.
var build = filepath.Join("..", "..", "..", "build")

// views are the sizes and colour schemes that each page is seen in.
var views = []chromium.View{{Width: 1600, Height: 900}, {Width: 1600, Height: 900, Dark: true}, {Width: 360, Height: 780}, {Width: 360, Height: 780, Dark: true}}

// furnish makes what the pages show.
func (b *bench) furnish() {
	b.t.Helper()
	for i := range 14 {
		b.completed([]string{"acme", "globex", "initech", "umbrella"}[i%4], fmt.Sprintf("nightly-2026-11-%02d", i+1), func(a *export.Artifact) {
			a.StoredBytes, a.SizeBytes, a.Rows, a.Tables = int64(i+1)*3_456_789, int64(i+1)*13_456_789, int64(i)*98_765, i+3
			a.Warnings = []string{"the schema refers to the extension citext, which the export does not contain"}
		})
	}
	b.exec(`UPDATE pgcourier.requests SET created_at = created_at - (2 + right(request_id, 2)::int * 1.5) * interval '1 hour',
		started_at = started_at - (2 + right(request_id, 2)::int * 1.5) * interval '1 hour',
		finished_at = finished_at - (2 + right(request_id, 2)::int * 1.5) * interval '1 hour' + right(request_id, 2)::int % 5 * interval '17 seconds'`)
	b.failed(events.Requested{ProjectID: "acme", RequestID: "before-the-migration", RequestedBy: "ann@example.org", Metadata: map[string]string{"ticket": "OPS-1234", "reason": "قبل الترحيل"}},
		export.Fault{Code: codes.LockTimeout, Message: "table tenant_acme.orders: another session holds a lock for 31 s: idle in transaction"})
	b.failed(events.Requested{ProjectID: "initech", RequestID: "weekly-" + strings.Repeat("very-long-", 8) + "name", RequestedBy: "schedule:weekly"}, export.Fault{Code: codes.StorageFull, Message: "no space left on device"})
	b.claim("globex", "nightly-2026-11-30")
	b.claim("umbrella", "one-of-umbrella")
	b.must(b.schedules().Add(b.t.Context(), broker.Schedule{Project: "acme", Name: "nightly", Pattern: "0 0 3 * * *", Zone: "Europe/Berlin", Body: []byte(`{"project_id":"acme"}`)}, true))
	b.must(b.schedules().Add(b.t.Context(), broker.Schedule{Project: "globex", Name: "weekly", Pattern: "0 30 2 * * 0", Paused: true, Body: []byte(`{"project_id":"globex"}`)}, true))
	b.exec(`INSERT INTO pgcourier.expiries (project_id, request_id, reason, warned_at)
		SELECT project_id, request_id, 'older than 400d', now() FROM pgcourier.requests WHERE state = 'completed' ORDER BY request_id LIMIT 3`)
	b.exec(`INSERT INTO pgcourier.verifications (project_id, request_id, damaged)
		SELECT project_id, request_id, false FROM pgcourier.requests WHERE state = 'completed' ORDER BY request_id LIMIT 6`)
	v := b.visit("*", access.Admin)
	v.post("exports/acme/before-the-migration/replay", nil)
	v.post("exports/acme/nightly-2026-11-01/link", nil)
	v.post("health", nil)
}

// logIn logs a page in by the form.
func (b *bench) logIn(p *chromium.Page, token string) {
	b.t.Helper()
	p.Go(b.url + "/console/login")
	p.Run(fmt.Sprintf(`document.getElementById("token").value = %q; document.getElementById("token").form.requestSubmit()`, token), nil)
	p.Await("the overview", `document.querySelector("h1").textContent === "Overview"`)
}

// Every page in a real browser: no violation of axe-core's rules, nothing wider than the window, no
// error of the script or the policy, little to transfer; and a picture of each.
func TestPagesInABrowser(t *testing.T) {
	b := setup(t, func(c *console.Config) {
		c.Plan, c.Examine, c.Notices = plan, findings, noticesOf("550 5.1.1 no such mailbox")
	})
	b.cancels()
	b.furnish()
	rules, err := os.ReadFile(filepath.Join(build, "axe", "node_modules", "axe-core", "axe.min.js"))
	b.must(err)
	b.must(os.MkdirAll(filepath.Join(build, "console"), 0o750))
	p := chromium.Start(t).Open(views[0])
	look := func(name string) {
		t.Helper()
		var bytes int
		p.Run(`performance.getEntriesByType("navigation").concat(performance.getEntriesByType("resource")).reduce((sum, e) => sum + e.transferSize, 0)`, &bytes)
		if bytes > 60_000 {
			t.Errorf("%s transfers %d bytes", name, bytes)
		}
		p.Run(string(rules)+"; 0", nil)
		for i, view := range views {
			p.See(view)
			var wide int
			p.Run("document.documentElement.scrollWidth", &wide)
			if wide > view.Width {
				t.Errorf("%s is %d wide in a window of %d", name, wide, view.Width)
			}
			var violations []string
			p.Run(`axe.run().then(r => r.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + " " + n.failureSummary).join(" | ")))`, &violations)
			for _, v := range violations {
				t.Errorf("%s in %+v: %s", name, view, v)
			}
			file := fmt.Sprintf("%s-%d-%s.png", name, view.Width, []string{"light", "dark"}[i%2])
			b.must(os.WriteFile(filepath.Join(build, "console", file), p.Picture(), 0o600))
		}
		p.See(views[2])
		p.Run(`document.documentElement.dir = "rtl"`, nil)
		var wide int
		p.Run("document.documentElement.scrollWidth", &wide)
		if wide > views[2].Width {
			t.Errorf("%s from right to left is %d wide", name, wide)
		}
		p.Run(`document.documentElement.dir = ""`, nil)
		p.See(views[0])
	}
	p.Go(b.url + "/console/login")
	look("login")
	b.logIn(p, b.token("*", access.Admin))
	b.progress("globex", "nightly-2026-11-30", 62)
	for _, page := range [][2]string{
		{"overview", ""},
		{"exports", "exports"},
		{"exports-failed", "exports?state=failed"},
		{"exports-empty", "exports?text=nothing"},
		{"export-completed", "exports/acme/nightly-2026-11-01"},
		{"export-failed", "exports/acme/before-the-migration"},
		{"export-running", "exports/globex/nightly-2026-11-30"},
		{"request", "request"},
		{"confirm-cancel", "exports/globex/nightly-2026-11-30/cancel"},
		{"confirm-link", "exports/acme/nightly-2026-11-01/link"},
		{"confirm-replays", "replay?match=1&code=storage_full"},
		{"schedules", "schedules"},
		{"notifications", "notifications"},
		{"retention", "retention?project=acme"},
		{"health", "health"},
		{"tokens", "tokens"},
		{"audit", "audit"},
		{"not-found", "nowhere"},
	} {
		p.Go(b.url + "/console/" + page[1])
		look(page[0])
	}
	for _, fault := range p.Faults() {
		t.Errorf("the browser reports: %s", fault)
	}
	if strings.Contains(b.log.String(), "level=ERROR") {
		t.Error(b.log.String())
	}
}

// Two browsers look at one export: its bar moves without shifting the page, what one does the other
// sees, and a token that is revoked ends its page.
func TestTwoBrowsersSeeOneExport(t *testing.T) {
	b := setup(t)
	b.cancels()
	attempt, r := b.claim("acme", "one")
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(b.log)
		}
	})
	c := chromium.Start(t)
	first, second := c.Open(views[0]), c.Open(views[2])
	b.logIn(first, b.token("acme", access.Read, access.Operate))
	b.logIn(second, b.token("acme", access.Read))
	first.Go(b.url + "/console/exports/acme/one")
	second.Go(b.url + "/console/")
	for _, p := range []*chromium.Page{first, second} {
		p.Run(`window.shift = 0; new PerformanceObserver(l => { for (const e of l.getEntries()) window.shift += e.value }).observe({ type: "layout-shift" })`, nil)
	}
	for _, percent := range []int64{10, 55, 90} {
		for _, p := range []*chromium.Page{first, second} {
			p.Await("the bar moves", fmt.Sprintf(`document.querySelector("progress").value === %d`, percent), func() { b.progress("acme", "one", percent) })
		}
	}
	for name, p := range map[string]*chromium.Page{"the export": first, "the overview": second} {
		var shift float64
		p.Run("window.shift", &shift)
		if shift != 0 {
			t.Errorf("%s shifts by %v while a bar moves", name, shift)
		}
	}
	first.Run(`document.querySelector(".button.danger").click()`, nil)
	first.Await("the confirmation", `document.querySelector("main").textContent.includes("This will happen")`)
	first.Run(`document.querySelector("button.danger").click()`, nil)
	first.Await("it is done", `document.querySelector(".done").textContent.includes("is being cancelled")`)
	now := time.Now()
	b.finish(attempt, export.Outcome{StartedAt: now, FinishedAt: now, ID: r.ID, State: export.Failed, Attempt: attempt.Attempt, Payload: r.Payload, Code: codes.Cancelled, Permanent: true, Message: "cancelled"})
	first.Await("the state of the export", `document.querySelector(".facts .state").textContent.trim() === "cancelled"`)
	second.Await("nothing runs on the overview", `document.querySelector("#part-running").textContent.includes("Nothing runs now")`)
	b.exec("UPDATE pgcourier.api_tokens SET revoked_at = clock_timestamp()")
	b.completed("acme", "two")
	second.Await("the login page", `location.pathname === "/console/login"`)
	second.Await("why", `document.body.textContent.includes("The session has ended")`)
}
