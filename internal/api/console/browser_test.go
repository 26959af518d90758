package console_test

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/dev/chromium"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/retention"
)

// Of the tests in a browser, a selection runs wherever chromium is; -browser runs all of them.
var (
	inBrowser   = flag.Bool("browser", false, "look at every page and do every action in chromium, and write pictures to build/console")
	updatePages = flag.Bool("update", false, "rewrite testdata/pages")
)

// startBrowser starts chromium. Without it the test is skipped, unless all tests in a browser are to run.
func startBrowser(t *testing.T) *chromium.Browser {
	t.Helper()
	if chromium.Find() == "" && !*inBrowser {
		t.Skip("chromium is missing: run `make chromium`")
	}
	return chromium.Start(t)
}

// all skips a test that is not in the selection.
func all(t *testing.T) {
	t.Helper()
	if !*inBrowser {
		t.Skip("it runs with -browser: `make browser`")
	}
}

var (
	wide   = chromium.View{Width: 1600, Height: 900}
	narrow = chromium.View{Width: 360, Height: 780}
)

// shown are the pages that are looked at, with what is true on each as soon as it is whole.
var shown = []struct{ name, path, whole string }{
	{"overview", "", `document.querySelector("progress[value='62']")`},
	{"exports", "exports", `document.querySelector("progress[value='62']")`},
	{"exports-failed", "exports?state=failed", ""},
	{"exports-empty", "exports?text=nothing", ""},
	{"export-completed", "exports/acme/nightly-2026-11-01", ""},
	{"export-damaged", "exports/initech/nightly-2026-11-03", ""},
	{"export-failed", "exports/acme/before-the-migration", ""},
	{"export-running", "exports/globex/nightly-2026-11-30", `document.querySelector("progress[value='62']")`},
	{"request", "request", ""},
	{"confirm-cancel", "exports/globex/nightly-2026-11-30/cancel", ""},
	{"confirm-verify", "exports/acme/nightly-2026-11-05/verify", ""},
	{"confirm-link", "exports/acme/nightly-2026-11-01/link", ""},
	{"confirm-replays", "replay?match=1&code=storage_full", ""},
	{"confirm-notification", "notifications/acme/email-k1/replay", ""},
	{"schedules", "schedules", ""},
	{"notifications", "notifications", ""},
	{"health", "health", `document.querySelector("table")`},
	{"tokens", "tokens", ""},
	{"token-new", "tokens/new", ""},
	{"audit", "audit", ""},
	{"not-found", "nowhere", ""},
}

// shownRestores are the pages of restores, as shown.
var shownRestores = []struct{ name, path, whole string }{
	{"confirm-restore", "exports/acme/nightly-2026-11-01/restore", ""},
	{"restores", "restores", ""},
	{"restore-completed", "restores/acme/undo-7", ""},
	{"restore-failed", "restores/acme-staging/refresh", ""},
}

// shownLater are further pages, as shown. The first one learns of the progress by a live event.
var shownLater = []struct{ name, path, whole string }{
	{"restore-running", "restores/umbrella/clone", placing},
	{"export-restored", "exports/acme/nightly-2026-11-01", placing},
	{"retention", "retention?from=2094-03-01", ""},
	{"retention-day", "retention?from=2094-03-01&day=2094-03-04", ""},
	{"retention-project", "retention?project=acme&from=2094-03-01", ""},
	{"retention-now", "retention", ""},
	{"retention-project-now", "retention?project=acme", ""},
}

const placing = `document.querySelector("progress[value='40']") && document.querySelector("[data-stage]").textContent === "restoring into the target"`

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
	b.exec(`UPDATE pgcourier.attempts a SET started_at = r.started_at, ended_at = r.finished_at
		FROM pgcourier.requests r WHERE r.project_id = a.project_id AND r.request_id = a.request_id`)
	b.failed(events.Requested{ProjectID: "acme", RequestID: "before-the-migration", RequestedBy: "ann@example.org", Metadata: map[string]string{"ticket": "OPS-1234", "reason": "قبل الترحيل"}},
		export.Fault{Code: codes.LockTimeout, Message: "table tenant_acme.orders: another session holds a lock for 31 s: idle in transaction"})
	b.failed(events.Requested{ProjectID: "initech", RequestID: "weekly-" + strings.Repeat("very-long-", 8) + "name", RequestedBy: "schedule:weekly"}, export.Fault{Code: codes.StorageFull, Message: "no space left on device"})
	b.claim("globex", "nightly-2026-11-30")
	b.claim("umbrella", "one-of-umbrella")
	b.must(b.schedules().Add(b.t.Context(), broker.Schedule{Project: "acme", Name: "nightly", Pattern: "0 0 3 * * *", Zone: "Europe/Berlin", Body: []byte(`{"project_id":"acme"}`)}, true))
	b.must(b.schedules().Add(b.t.Context(), broker.Schedule{Project: "globex", Name: "weekly", Pattern: "0 30 2 * * 0", Paused: true, Body: []byte(`{"project_id":"globex"}`)}, true))
	b.exec(`INSERT INTO pgcourier.expiries (project_id, request_id, reason, warned_at)
		SELECT project_id, request_id, 'older than 400d', now() - interval '60 minutes' FROM pgcourier.requests WHERE state = 'completed' ORDER BY request_id LIMIT 3`)
	b.exec(`INSERT INTO pgcourier.verifications (project_id, request_id, damaged, verified_at)
		SELECT project_id, request_id, request_id = 'nightly-2026-11-03', now() - interval '90 minutes' FROM pgcourier.requests WHERE state = 'completed' ORDER BY request_id LIMIT 6`)
	v := b.visit("*", access.Admin)
	v.post("exports/acme/before-the-migration/replay", nil)
	v.post("exports/acme/nightly-2026-11-01/link", nil)
	v.post("exports/initech/nightly-2026-11-03/verify", nil)
	v.post("health", nil)
}

// furnishLater makes what shownLater show.
func (b *bench) furnishLater() {
	b.t.Helper()
	b.cloneRuns()
	const ends = "UPDATE pgcourier.requests SET state = 'failed', code = 'cancelled', lease_until = NULL, finished_at = now(), outcome = '{}' WHERE state = 'running'"
	b.exec(ends) // a project has one running export
	b.leave(time.Date(2094, 3, 4, 3, 0, 0, 0, time.UTC), true, "acme/gone-1", "globex/gone-1", "globex/gone-2", "initech/gone-1", "umbrella/gone-1")
	b.leave(time.Now().Add(-3*aDay), true, "acme/gone-3", "globex/gone-3", "globex/gone-4", "initech/gone-3", "umbrella/gone-3")
	b.exec("UPDATE pgcourier.requests SET finished_at = '2020-01-01' WHERE request_id LIKE 'gone-%'")
}

// runningRestore makes a restore that runs, with its export resolved, as a restorer does.
func (b *bench) runningRestore(r events.RestoreRequested, from string) {
	b.t.Helper()
	b.askedToRestore(r)
	queued, err := broker.NewRestoreQueue(b.js, handlers.DecodeStoredRestore).OfProject(b.t.Context(), r.ProjectID)
	b.must(err)
	q := queued[len(queued)-1]
	c, err := b.ledger.Restores().Claim(b.t.Context(), export.ClaimRequest{Request: q.Request, Delivery: q.Delivery, Worker: "restorer", Nonce: rand.Text()})
	b.must(err)
	_, err = b.ledger.Restores().Resolve(b.t.Context(), c.Token, export.ID{Project: r.From.ProjectID, Request: from})
	b.must(err)
}

// placed publishes the progress of a restore as a restorer does.
func (b *bench) placed(project, id, stage string, percent int64) {
	b.t.Helper()
	m, err := events.RestoreProgress{ProjectID: project, RestoreID: id, Attempt: 1, Stage: stage, ReadBytes: percent, StoredBytes: 100, At: time.Now()}.Encode("test")
	b.must(err)
	b.publish(m)
	b.must(b.nc.Flush())
}

// cloneRuns makes a restore that runs, of the latest export of acme into another project.
func (b *bench) cloneRuns() {
	b.t.Helper()
	b.runningRestore(events.RestoreRequested{ProjectID: "umbrella", RestoreID: "clone", From: events.RestoreFrom{ProjectID: "acme", RequestID: events.LatestExport}, RequestedBy: "bob@example.org"}, "nightly-2026-11-01")
}

// twoPlans is a plan of days that never come, and of those around today.
func twoPlans(ctx context.Context, project string) (retention.Report, error) {
	out, err := planFrom(time.Date(2094, 3, 1, 3, 0, 0, 0, time.UTC))(ctx, project)
	if err == nil {
		var around retention.Report
		around, err = planFrom(time.Now().Add(-2*aDay))(ctx, project)
		out.Verdicts = append(out.Verdicts, around.Verdicts...)
	}
	return out, err
}

// furnished returns a bench with what the pages show.
func furnished(t *testing.T) *bench {
	t.Helper()
	b := setup(t, func(c *settings) {
		c.Plan, c.Examine, c.Notices = twoPlans, findings, noticesOf("550 5.1.1 no such mailbox")
	})
	b.cancels()
	b.furnish()
	return b
}

// logIn logs a page in by the form.
func (b *bench) logIn(p *chromium.Page, token string) {
	b.t.Helper()
	p.Go(b.url + "/console/login")
	p.Do(func() {
		p.Run(fmt.Sprintf(`document.getElementById("token").value = %q; document.getElementById("token").form.requestSubmit()`, token), nil)
	})
	p.Await("the overview", `document.querySelector("h1").textContent === "Overview"`)
}

// show opens one of the pages of a furnished bench, and waits until it is whole.
func (b *bench) show(p *chromium.Page, path, whole string) {
	b.t.Helper()
	p.Go(b.url + "/console/" + path)
	if whole != "" {
		p.Await("the whole page", whole, func() {
			b.progress("globex", "nightly-2026-11-30", 62)
			b.placed("umbrella", "clone", "restoring", 40)
		})
	}
}

// structure returns what a page shows at a size, without what changes from one run to the next. A page
// that is wider than its window, and a box that overlaps another or leaves the one that it is in, is an error.
func structure(p *chromium.Page, name string, v chromium.View) string {
	p.See(v)
	var got struct {
		Lines []string
		Wide  int
	}
	p.Run(structureScript, &got)
	if got.Wide > 0 {
		p.T().Errorf("%s is %d pixels wider than its window of %d", name, got.Wide, v.Width)
	}
	for _, line := range got.Lines {
		for _, word := range []string{" overlaps", " outside"} {
			if strings.Contains(strings.SplitN(line, ":", 2)[0], word) {
				p.T().Errorf("%s at %d: a box%s: %s", name, v.Width, word, strings.TrimSpace(line))
			}
		}
	}
	return strings.Join(got.Lines, "\n") + "\n"
}

var structureScript = func() string {
	b, err := os.ReadFile(filepath.Join("testdata", "structure.js"))
	if err != nil {
		panic(err) // it is beside this file
	}
	return string(b)
}()

// compare compares the structure of a page at both sizes with the file of it.
func compare(p *chromium.Page, name string) {
	p.T().Helper()
	large, small := structure(p, name, wide), structure(p, name, narrow)
	got := "at 1600 and at 360 pixels:\n" + large
	if large != small {
		got = "at 1600 pixels:\n" + large + "\nat 360 pixels:\n" + small
	}
	file := filepath.Join("testdata", "pages", name+".txt")
	if *updatePages {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			p.T().Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		p.T().Fatal(err)
	}
	if string(want) == got {
		return
	}
	was, is := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for i := range max(len(was), len(is)) {
		var a, b string
		if i < len(was) {
			a = was[i]
		}
		if i < len(is) {
			b = is[i]
		}
		if a != b {
			p.T().Errorf("%s differs from %s in line %d:\nwas %s\nis  %s\ngo test ./internal/api/console -run Browser -browser -update", name, file, i+1, a, b)
			return
		}
	}
}

// The pages that are used most, at both sizes: what they show and where is as it was, and a link that
// logs in does so.
func TestPagesInABrowserAreAsTheyWere(t *testing.T) {
	t.Parallel()
	chrome := startBrowser(t)
	b := furnished(t)
	p := chrome.Open(wide)
	p.Go(b.url + "/console/login")
	compare(p, "login")
	b.logIn(p, b.token("*", access.Admin))
	for _, s := range shown {
		switch s.name {
		case "overview", "exports", "export-completed", "confirm-cancel", "tokens":
			b.show(p, s.path, s.whole)
			compare(p, s.name)
		}
	}
	b.furnishRestores()
	for _, s := range shownRestores {
		b.show(p, s.path, s.whole)
		compare(p, s.name)
	}
	for _, fault := range p.Faults() {
		t.Errorf("the browser reports: %s", fault)
	}
}

// Two browsers look at one export: its bar moves without shifting the page, what one does the other
// sees, and a token that is revoked or has expired ends its page.
func TestTwoBrowsersSeeOneExport(t *testing.T) {
	t.Parallel()
	c := startBrowser(t)
	b := setup(t)
	b.cancels()
	attempt, r := b.claim("acme", "one")
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(b.log)
		}
	})
	first, second := c.Open(wide), c.Open(narrow)
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
	b.exec("UPDATE pgcourier.api_tokens SET revoked_at = clock_timestamp() WHERE 'operate' = ANY (scopes)")
	b.exec("UPDATE pgcourier.api_tokens SET expires_at = clock_timestamp() WHERE revoked_at IS NULL")
	b.completed("acme", "two")
	for _, p := range []*chromium.Page{first, second} {
		p.Await("the login page", `location.pathname === "/console/login"`)
		p.Await("why", `document.body.textContent.includes("The session has ended")`)
	}
}

// A verification that is asked for in the page: what the verifier finds arrives there by itself.
func (b *bench) verified(project, id string) {
	b.t.Helper()
	o, err := b.ledger.TakeVerification(b.t.Context(), time.Minute, 5)
	b.must(err)
	if o == nil {
		b.t.Fatal("no verification was ordered")
	}
	b.must(b.ledger.NoteVerification(context.WithoutCancel(b.t.Context()), export.ID{Project: project, Request: id}, false))
	b.must(b.ledger.VerificationDone(b.t.Context(), *o))
	now := time.Now()
	m, err := events.Verified{
		ProjectID: project, RequestID: id, Attempt: 1, Copies: []events.VerifiedCopy{{Destination: "file", URI: "file:x"}}, SHA256: strings.Repeat("ab", 32),
		DumpSHA256: strings.Repeat("cd", 32), StoredBytes: 5000, SizeBytes: 10_000, Tables: 1, Rows: 2, ServerVersion: "15.1", StartedAt: now, FinishedAt: now, OrderedAt: now,
	}.Encode("test")
	b.must(err)
	b.publish(m)
}
