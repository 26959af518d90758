package console_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/api/console"
	"github.com/pgcourier/pgcourier/internal/api/issuer"
	"github.com/pgcourier/pgcourier/internal/dev/chromium"
	"github.com/pgcourier/pgcourier/internal/dev/oidctest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// The tests of this file run with -browser only.

var picture = flag.Bool("picture", false, "with -browser: rewrite docs/console.png")

// root is the root of the module. In its folder build are the pictures, and the rules of accessibility that
// `make browser` fetches.
var root = filepath.Join("..", "..", "..")

// Every page in a real browser: no violation of axe-core's rules, its structure as it was, the same in the
// dark, nothing wider than the window also from right to left, no error of the script or the policy, little
// to transfer; and a picture of each.
func TestEveryPageInABrowser(t *testing.T) {
	all(t)
	b := furnished(t)
	pictures := filepath.Join(root, "build", "console")
	rules, err := os.ReadFile(filepath.Join(root, "build", "axe", "node_modules", "axe-core", "axe.min.js"))
	b.must(err)
	b.must(os.MkdirAll(pictures, 0o750))
	p := startBrowser(t).Open(wide)
	most, shift := 0, 0.0
	look := func(name string, compared bool) {
		t.Helper()
		var bytes int
		p.Run(`performance.getEntriesByType("navigation").concat(performance.getEntriesByType("resource")).reduce((sum, e) => sum + e.transferSize, 0)`, &bytes)
		if most = max(most, bytes); bytes > 60_000 {
			t.Errorf("%s transfers %d bytes", name, bytes)
		}
		var moved float64
		p.Run(`new Promise(done => new PerformanceObserver(l => done(l.getEntries().reduce((sum, e) => sum + e.value, 0))).observe({ type: "layout-shift", buffered: true }) || setTimeout(() => done(0), 100))`, &moved)
		shift = max(shift, moved)
		if compared {
			compare(p, name)
		}
		p.Run(string(rules)+"; 0", nil)
		for _, v := range []chromium.View{wide, {Width: wide.Width, Height: wide.Height, Dark: true}, narrow, {Width: narrow.Width, Height: narrow.Height, Dark: true}} {
			scheme := "light"
			if v.Dark {
				scheme = "dark"
				bright := v
				bright.Dark = false
				if structure(p, name, v) != structure(p, name, bright) {
					t.Errorf("%s at %d has another structure in the dark", name, v.Width)
				}
			}
			p.See(v)
			var violations []string
			p.Run(`axe.run().then(r => r.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + " " + n.failureSummary).join(" | ")))`, &violations)
			for _, one := range violations {
				t.Errorf("%s in %+v: %s", name, v, one)
			}
			shot := p.Picture()
			b.must(os.WriteFile(filepath.Join(pictures, fmt.Sprintf("%s-%d-%s.png", name, v.Width, scheme)), shot, 0o600))
			if *picture && name == "overview" && v == wide {
				b.must(os.WriteFile(filepath.Join(root, "docs", "console.png"), shot, 0o600))
			}
		}
		p.See(narrow)
		p.Run(`document.documentElement.dir = "rtl"`, nil)
		var width int
		p.Run("document.documentElement.scrollWidth", &width)
		if width > narrow.Width {
			t.Errorf("%s from right to left is %d wide", name, width)
		}
		p.Run(`document.documentElement.dir = ""`, nil)
		p.See(wide)
	}
	p.Go(b.url + "/console/login")
	look("login", true)
	b.logIn(p, b.token("*", access.Admin))
	for _, s := range shown {
		b.show(p, s.path, s.whole)
		look(s.name, true)
	}
	b.furnishRestores()
	for _, s := range shownRestores {
		b.show(p, s.path, s.whole)
		look(s.name, true)
	}
	b.furnishLater()
	for _, s := range shownLater {
		b.show(p, s.path, s.whole)
		look(s.name, !strings.HasSuffix(s.name, "-now")) // what is on it has another place each day
	}
	for _, fault := range p.Faults() {
		t.Errorf("the browser reports: %s", fault)
	}
	if strings.Contains(b.log.String(), "level=ERROR") {
		t.Error(b.log.String())
	}
	t.Logf("%d pages: the largest transfers %d bytes with its assets; the largest layout shift while one loads is %.4f", len(shown)+len(shownRestores)+len(shownLater)+1, most, shift)
}

// press presses Tab until an expression about the focused element is true.
func press(p *chromium.Page, what, focused string) {
	p.T().Helper()
	for range 100 {
		p.Press("Tab")
		var there bool
		p.Run(`((e) => Boolean(`+focused+`))(document.activeElement)`, &there)
		if there {
			return
		}
	}
	p.T().Fatalf("Tab does not come to %s", what)
}

// The keyboard alone: Tab reaches everything that can be used, in the order of the page, and each is seen to
// have the focus; the first stop skips to the content; an action is confirmed and done.
func TestTheKeyboardIsEnoughInABrowser(t *testing.T) {
	all(t)
	b := furnished(t)
	p := startBrowser(t).Open(wide)
	p.Go(b.url + "/console/login")
	// The browser gives a field the focus when it renders the page, which can be after the page is loaded.
	p.Await("the field has the focus", `document.activeElement.id === "token"`)
	p.Run(fmt.Sprintf(`document.activeElement.value = %q`, b.token("*", access.Admin)), nil)
	p.Do(func() { p.Press("Enter") })
	p.Await("the overview", `document.querySelector("h1").textContent === "Overview"`)
	p.Press("Tab")
	p.Await("the link that skips is shown", `document.activeElement.matches(".skip") && document.activeElement.getBoundingClientRect().top >= 0`)
	p.Press("Enter")
	p.Await("the content has the focus", `document.activeElement.id === "main"`)
	for _, v := range []chromium.View{wide, narrow} {
		for _, path := range []string{"", "exports", "exports/acme/nightly-2026-11-01", "schedules", "tokens", "tokens/new", "request", "retention?project=acme"} {
			p.See(v)
			p.Go(b.url + "/console/" + path)
			p.Await("the tab of the page is in the window", `(r => r.left >= -1 && r.right <= innerWidth + 1)(document.querySelector(".tabs [aria-current]").getBoundingClientRect())`)
			var stops int
			// It is asked again at each stop: a part of the page without the focus is renewed when its text is old.
			p.Run(`window.stops = () => [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")].filter(e => e.checkVisibility() && !e.disabled); stops().length`, &stops)
			for i := range stops {
				p.Press("Tab")
				var seen struct {
					At     int
					Shown  bool
					Inside bool
					What   string
				}
				p.Run(`(() => { const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
					return { at: stops().indexOf(e), shown: e.matches(":focus-visible") && s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 1,
						inside: r.bottom > 0 && r.top < innerHeight && r.right > 0 && r.left < innerWidth, what: e.outerHTML.slice(0, 120) } })()`, &seen)
				if seen.At != i || !seen.Shown || !seen.Inside {
					t.Fatalf("%q at %d: stop %d of %d is number %d, seen to have the focus %v, in the window %v: %s", path, v.Width, i, stops, seen.At, seen.Shown, seen.Inside, seen.What)
				}
				if !strings.Contains(seen.What, `type="date"`) {
					continue
				}
				for range 20 { // the parts of a date
					var inDate bool
					if p.Press("Tab"); true {
						p.Run(fmt.Sprintf(`document.activeElement === stops()[%d]`, i), &inDate)
					}
					if !inDate {
						p.Press("Shift+Tab")
						break
					}
				}
			}
		}
	}
	p.See(wide)
	p.Go(b.url + "/console/exports/globex/nightly-2026-11-30")
	press(p, "the action", `e.matches("a.danger")`)
	p.Do(func() { p.Press("Enter") })
	p.Await("the confirmation", `document.querySelector("h1").textContent === "Cancel"`)
	press(p, "the button", `e.matches("button.danger")`)
	p.Do(func() { p.Press("Enter") })
	p.Await("it is done", `document.querySelector(".done").textContent.includes("is being cancelled")`)
}

// Numbers and times are written as the viewer writes them, times in the viewer's zone with UTC beside.
func TestNumbersAndTimesInABrowserAreTheViewers(t *testing.T) {
	all(t)
	b := setup(t)
	b.completed("acme", "one", func(a *export.Artifact) { a.Rows, a.SizeBytes = 1_234_567, 1_500_000 })
	p := startBrowser(t).Open(wide)
	p.Locate("de-DE", "Asia/Tokyo")
	b.logIn(p, b.token("acme", access.Read))
	p.Go(b.url + "/console/exports/acme/one")
	for what, expression := range map[string]string{
		"a number": `document.querySelector("main").textContent.includes("1.234.567")`,
		"a size":   `document.querySelector("main").textContent.includes("1,4 MiB")`,
		"a time":   `document.querySelector("time[data-local]").textContent === new Intl.DateTimeFormat("de-DE", { dateStyle: "medium", timeStyle: "medium", timeZone: "Asia/Tokyo" }).format(new Date(document.querySelector("time[data-local]").dateTime))`,
		"its UTC":  `/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$/.test(document.querySelector("time[data-local]").title)`,
		"the zone": `document.getElementById("zone").textContent.includes("Asia/Tokyo")`,
	} {
		p.Await(what, expression)
	}
	p.Go(b.url + "/console/retention")
	days := `document.querySelector("main").textContent.includes("Days are those of Asia/Tokyo")`
	p.Await("days in the zone", days)
	p.Run(`document.cookie = "pgcourier-zone=; path=/console; max-age=0"`, nil)
	p.Go("about:blank")                                               // a visit of the same address again would be a reload
	p.Run(`location.href = `+quoted(b.url+"/console/retention"), nil) // Go would wait for the page that reloads itself
	p.Await("days in the zone, also of a browser that had not told it", days)
}

// Each role and each action in a browser: the pages offer what the token may do and nothing else, and a form that
// is sent all the same is refused.
func TestRolesAndActionsInABrowser(t *testing.T) {
	all(t)
	b := setup(t, func(c *settings) { c.Examine, c.Notices = findings, parked("acme") })
	b.cancels()
	b.stage("acme")
	v := b.visit("acme", access.Read, access.Download)
	v.post("exports/acme/good/link", nil)
	var link string
	b.must(b.pool.QueryRow(t.Context(), "SELECT link_id FROM pgcourier.links").Scan(&link))
	token := b.spare("acme")
	chrome := startBrowser(t)
	var table strings.Builder
	offeredTo := map[string][]string{}
	names := []string{}
	for _, scope := range access.Scopes() {
		p := chrome.Open(wide)
		b.logIn(p, b.token("*", access.Read, scope))
		at := ""
		for _, d := range deeds("acme", link, token) {
			if !slices.Contains(names, d.name) {
				names = append(names, d.name)
			}
			if at != d.page {
				p.Go(b.url + "/console/" + d.page)
				at = d.page
			}
			allowed := scope == access.Admin || slices.Contains(d.scopes, scope)
			var offered bool
			p.Run(fmt.Sprintf(`document.querySelector("main").innerHTML.includes(%s)`, quoted(d.link)), &offered)
			if offered != allowed {
				t.Errorf("%s: %s: offered %v, allowed %v", scope, d.name, offered, allowed)
			}
			if offered {
				offeredTo[d.name] = append(offeredTo[d.name], string(scope))
				continue
			}
			before := b.changes()
			var status int
			p.Run(fmt.Sprintf(`fetch(%s, { method: "POST", body: new URLSearchParams(%s) }).then(r => r.status)`, quoted(console.Prefix+d.path), quoted(d.form.Encode())), &status)
			if status != 403 && status != 404 && d.name != "replay selected" {
				t.Errorf("%s: %s: done, %d", scope, d.name, status)
			}
			if after := b.changes(); after != before {
				t.Errorf("%s: %s changed %d rows", scope, d.name, after-before)
			}
		}
	}
	for _, name := range names {
		fmt.Fprintf(&table, "%-24s %s\n", name, strings.Join(offeredTo[name], ", "))
	}
	t.Log("action and the scopes beside read to which it is offered:\n" + table.String())
}

func quoted(text string) string {
	b, _ := json.Marshal(text) // a string can be encoded
	return string(b)
}

// Every action in a browser: from its page by its link or button, over the page that says what will happen, to
// its result.
func TestEveryActionInABrowser(t *testing.T) {
	all(t)
	notices := parked("acme")
	b := setup(t, func(c *settings) { c.Examine, c.Notices = findings, notices })
	b.cancels()
	b.stage("acme")
	p := startBrowser(t).Open(wide)
	b.logIn(p, b.token("*", access.Admin))
	click := func(what, selector string) {
		t.Helper()
		p.Await(what, `document.querySelector(`+quoted(selector)+`)`)
		p.Do(func() { p.Run(`document.querySelector(`+quoted(selector)+`).click()`, nil) })
	}
	told := func(text string) {
		t.Helper()
		p.Await(text, `document.querySelector("main").textContent.includes(`+quoted(text)+`)`)
	}
	confirm := func(page, link, button, result string) {
		t.Helper()
		p.Go(b.url + "/console/" + page)
		click(link, `main a[href*="`+link+`"]`)
		told("This will happen")
		click(button, "main form[method=post] button.main")
		told(result)
	}
	confirm("exports/acme/running", "/running/cancel", "Cancel this export", "is being cancelled")
	confirm("exports/acme/broken", "/broken/replay", "Ask for it again", "was asked for again")
	p.Go(b.url + "/console/exports?state=failed")
	p.Run(`document.querySelector("input[value='acme/broken2']").click()`, nil)
	click("Replay the selected", "main form[action='/console/replay'] button")
	told("acme/broken2")
	click("the button", "main form[method=post] button.main")
	told("1 asked for again, 0 refused")
	confirm("exports/acme/good", "/good/link", "Issue the link", "shown here only")
	confirm("exports/acme/good", "/revoke", "Revoke the link", "was revoked")
	confirm("exports/acme/good", "/good/verify", "Verify this export", "was asked for")
	b.verified("acme", "good")
	p.Await("what the verifier found", `document.querySelector("#part-state .good + time, #part-state .state.good") && document.querySelector("#part-state").textContent.includes("verified")`)
	confirm("exports/acme/good", "/good/restore", "Restore", "The restore was asked for")
	confirm("restores/acme/waits", "/waits/cancel", "Cancel this restore", "is being cancelled")
	confirm("exports/acme/good", "/good/delete", "Delete this export", "will be deleted")
	confirm("schedules", "/nightly/pause", "Pause the schedule", "is paused")
	confirm("schedules", "/nightly/resume", "Resume the schedule", "is active again")
	confirm("schedules", "/nightly/delete", "Delete the schedule", "was deleted")
	confirm("notifications", "/email-acme/replay", "Deliver it again", "in the queue again")
	p.Await("it waits", `document.querySelector("#part-notices tbody .state").textContent === "waiting"`)
	notices.set("email-acme", "sent")
	p.Await("it was sent", `document.querySelector("#part-notices tbody .state").textContent === "sent"`)
	p.Go(b.url + "/console/tokens/new")
	p.Run(`document.getElementById("project").value = "acme"; document.getElementById("label").value = "from a browser"`, nil)
	click("Make the token", "main form button.main")
	told("shown here only")
	var made string
	p.Run(`document.getElementById("secret").value`, &made)
	if !strings.HasPrefix(made, access.TokenPrefix) {
		t.Errorf("the token is %q", made)
	}
	p.Go(b.url + "/console/tokens")
	p.Run(`[...document.querySelectorAll("tbody tr")].find(r => r.textContent.includes("from a browser")).querySelector("a[href*=revoke]").id = "it"`, nil)
	click("Revoke", "#it")
	told("This will happen")
	click("the button", "main form[method=post] button.main")
	told("The token was revoked")
	p.Go(b.url + "/console/request")
	p.Run(`document.getElementById("project").value = "acme"`, nil)
	click("Ask for the export", "main form[method=post] button.main")
	told("was asked for")
	p.Go(b.url + "/console/health")
	click("Run the checks", "main form[method=post] button.main")
	told("The checks have run")
	for _, fault := range p.Faults() {
		t.Errorf("the browser reports: %s", fault)
	}
}

// The broker goes and comes back: an open page says so and recovers by itself.
func TestTheBrokerGoesAndComesBackInABrowser(t *testing.T) {
	all(t)
	b := setup(t)
	b.completed("acme", "one")
	p := startBrowser(t).Open(wide)
	b.logIn(p, b.token("*", access.Admin))
	p.Await("the queue", `document.querySelector(".numbers").textContent.includes("Waiting")`)
	b.toBroker.Cut()
	p.Await("the page says that the broker is away", `document.querySelector("main").textContent.includes("The broker does not answer") && !document.querySelector(".numbers").textContent.includes("Waiting")`)
	b.toBroker.Restore()
	p.Await("the page has recovered", `!document.querySelector("main").textContent.includes("The broker does not answer") && document.querySelector(".numbers").textContent.includes("Waiting")`)
	b.toLedger.Cut()
	p.Go(b.url + "/console/exports")
	p.Await("the page says that the database is away", `document.querySelector("main").textContent.includes("does not answer")`)
	b.toLedger.Restore()
	p.Await("the page has loaded itself again", `document.querySelector("h1").textContent === "Exports" && document.querySelector("tbody").textContent.includes("one")`)
}

// A link logs one browser in, once.
func TestALinkLogsOneBrowserIn(t *testing.T) {
	all(t)
	once := &console.OneTimeLogin{Code: "the-code", Ends: time.Now().Add(time.Hour)}
	b := setup(t, func(c *settings) { c.Once = once })
	once.Token = secret.String(b.token("*", access.Admin))
	chrome := startBrowser(t)
	first, second := chrome.Open(wide), chrome.Open(wide)
	first.Go(b.url + console.OneTimePath(once.Code))
	first.Await("the overview", `document.querySelector("h1").textContent === "Overview"`)
	second.Go(b.url + console.OneTimePath(once.Code))
	second.Await("the login page says why", `document.body.textContent.includes("It was used already") && document.getElementById("token") !== null`)
}

// A user logs in at the issuer: the browser goes there and comes back, and the session is the user's.
func TestAUserLogsInAtTheIssuerInABrowser(t *testing.T) {
	all(t)
	const client = "browser"
	provider := oidctest.Start(t)
	provider.Claims = map[string]any{"projects": []string{"acme"}, "scopes": "read operate"}
	i := issuer.New(issuer.Config{Issuer: provider.URL, Audience: client, ProjectClaim: "projects", ScopeClaim: "scopes"})
	b := setupWith(t, i, func(c *settings) {
		oidctest.Register(client, c.URL+console.LoginPath)
		c.Login = issuer.NewLogin(i, client, secret.String(oidctest.ClientSecret), c.URL+console.LoginPath)
	})
	b.completed("acme", "mine")
	b.completed("globex", "theirs")
	p := startBrowser(t).Open(wide)
	p.Go(b.url + "/console/exports")
	p.Await("the login page", `document.querySelector("h1").textContent === "Log in"`)
	p.Do(func() { p.Run(`document.querySelector("a.button").click()`, nil) })
	p.Await("the issuer", `location.search.includes("authRequestID")`)
	var id string
	p.Run(`new URLSearchParams(location.search).get("authRequestID")`, &id)
	p.Go(provider.Enter(t, id))
	p.Await("the page that was asked for", `location.pathname === "/console/exports" && document.querySelector("tbody").textContent.includes("mine") && !document.querySelector("main").textContent.includes("theirs")`)
	var who string
	p.Run(`document.querySelector(".who").textContent`, &who)
	if !strings.Contains(who, "oidc:id2") {
		t.Errorf("logged in as %q", who)
	}
	p.Do(func() { p.Run(`document.querySelector(".who button").click()`, nil) })
	p.Await("logged out", `document.body.textContent.includes("You are logged out")`)
}
