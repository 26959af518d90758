package console_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/api/console"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
	"github.com/pgcourier/pgcourier/internal/export"
)

// askedToRestore publishes a request for a restore, and sets restores up before.
func (b *bench) askedToRestore(r events.RestoreRequested) {
	b.t.Helper()
	b.must(broker.Provision(b.t.Context(), b.js, broker.Topology{MaxWaitingPerProject: 10, Restores: true}))
	client, err := events.NewClient(b.nc)
	b.must(err)
	_, err = client.RequestRestore(b.t.Context(), r)
	b.must(err)
}

// endedRestore makes a restore that has ended, as a restorer does. result is what RestoreCompleted holds; nil:
// it has failed.
func (b *bench) endedRestore(r events.RestoreRequested, result []byte, fault export.Fault) {
	b.t.Helper()
	b.askedToRestore(r)
	queue := broker.NewRestoreQueue(b.js, handlers.DecodeStoredRestore)
	queued, err := queue.OfProject(b.t.Context(), r.ProjectID)
	b.must(err)
	q := queued[len(queued)-1]
	c, err := b.ledger.Restores().Claim(b.t.Context(), export.ClaimRequest{Request: q.Request, Delivery: q.Delivery, Worker: "restorer", Nonce: rand.Text()})
	b.must(err)
	out := export.Outcome{
		ID: c.Token.ID, State: export.Completed, Attempt: c.Token.Attempt, StartedAt: c.Started, FinishedAt: c.Started.Add(time.Second),
		Payload: q.Request.Payload, RequestedBy: r.RequestedBy, Restored: result,
	}
	if result == nil {
		out.State, out.Code, out.Message, out.Permanent = export.Failed, fault.Code, fault.Message, fault.Code.Permanent()
	}
	b.must(b.ledger.Restores().Finish(b.t.Context(), c.Token, export.Ending{Outcome: &out}))
	b.must(queue.Remove(b.t.Context(), q.Delivery))
	m, err := handlers.EncodeRestoreOutcome(out, "test")
	b.must(err)
	b.publish(m)
}

// restoredJSON is what a restore of acme's export leaves, with one remark.
func restoredJSON(remark string) []byte {
	return fmt.Appendf(nil, `{"from":{"project_id":"acme","request_id":"nightly-2026-11-01"},"mode":"replace","schemas":["tenant_acme"],"tables":1,"rows":98765,
		"sha256":%q,"server_version":"17.2","kept":["tenant_acme_old_7"],"kept_until":"2026-12-08T03:00:00Z","remarks":[%s]}`, strings.Repeat("ab", 32), quoted(remark))
}

// furnishRestores makes what the pages of restores show.
func (b *bench) furnishRestores() {
	b.t.Helper()
	from := events.RestoreFrom{ProjectID: "acme", RequestID: "nightly-2026-11-01"}
	b.endedRestore(events.RestoreRequested{ProjectID: "acme", RestoreID: "undo-7", From: from, Mode: events.RestoreReplace, Tables: []string{"tenant_acme.invoices"}, RequestedBy: "ann@example.org"},
		restoredJSON("the owner of tenant_acme.invoices is app, not acme_owner"), export.Fault{})
	b.endedRestore(events.RestoreRequested{ProjectID: "acme-staging", RestoreID: "refresh", From: events.RestoreFrom{ProjectID: "acme", RequestID: events.LatestVerified}, RequestedBy: "schedule:weekly"},
		nil, export.Fault{Code: codes.TargetOccupied, Message: "the schema tenant_acme holds 12 tables"})
	b.askedToRestore(events.RestoreRequested{ProjectID: "acme", RestoreID: "plan-8", From: from, Plan: true, RequestedBy: "ann@example.org"})
}

// The page of an export lists the restores that were made from it, also those that name it and were refused before
// their export was looked for, and those that wait. It lists none into a project that the token may not see.
func TestThePageOfAnExportListsItsRestores(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.completed("acme", "nightly-2026-11-01")
	b.completed("acme", "other")
	b.furnishRestores()
	b.cloneRuns()
	b.endedRestore(events.RestoreRequested{ProjectID: "globex", RestoreID: "refused", From: events.RestoreFrom{ProjectID: "acme", RequestID: "nightly-2026-11-01"}}, nil, export.Fault{Code: codes.RestoreSourceNotAllowed, Message: "not from there"})
	b.endedRestore(events.RestoreRequested{ProjectID: "globex", RestoreID: "of-another", From: events.RestoreFrom{ProjectID: "acme", RequestID: "other"}}, restoredJSON("r"), export.Fault{})
	listed := func(page string) string {
		_, part, _ := strings.Cut(page, `id="part-restores"`)
		part, _, _ = strings.Cut(part, "</section>")
		return tags.ReplaceAllString(part, " ")
	}
	got := listed(b.visit("*", access.Read).get("exports/acme/nightly-2026-11-01").body)
	for _, want := range []string{"undo-7", "98,765 rows", "clone", "running", "plan-8", "waiting", "refused", "not from there", "ann@example.org", "globex"} {
		if !strings.Contains(got, want) {
			t.Errorf("the list lacks %q: %s", want, got)
		}
	}
	if strings.Contains(got, "of-another") || strings.Contains(got, "refresh") {
		t.Errorf("it has restores of other exports: %s", got)
	}
	if got := listed(b.visit("acme", access.Read).get("exports/acme/nightly-2026-11-01").body); !strings.Contains(got, "undo-7") || strings.Contains(got, "clone") || strings.Contains(got, "globex") {
		t.Errorf("a token of one project sees %s", got)
	}
	if got := b.visit("umbrella", access.Read).get("restores/umbrella/clone").body; !strings.Contains(got, `href="/console/exports/acme/nightly-2026-11-01"`) {
		t.Errorf("the latest export is not named once it is resolved: %s", got)
	}
	for i := range 25 {
		b.exec(`INSERT INTO pgcourier.restores SELECT (json_populate_record(r, json_build_object('request_id', 'more-' || $1::int, 'created_at', r.created_at - interval '1 hour', 'queue_sequence', 1000 + $1::int))).*
			FROM pgcourier.restores r WHERE r.request_id = 'undo-7'`, i)
	}
	v := b.visit("*", access.Read, access.Restore)
	if got := listed(v.get("exports/acme/nightly-2026-11-01").body); !strings.Contains(got, "These are the newest 20") {
		t.Errorf("many: %s", got)
	}
	b.completed("acme", "fresh")
	if got := listed(v.get("exports/acme/fresh").body); !strings.Contains(got, "None.") || !strings.Contains(got, "Restore it") {
		t.Errorf("none: %s", got)
	}
}

// The progress of a restore is on its page, on the list and on the page of its export, and arrives live.
func TestTheProgressOfARestoreIsShown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.completed("acme", "good")
	b.runningRestore(events.RestoreRequested{ProjectID: "acme", RestoreID: "undo", From: events.RestoreFrom{ProjectID: "acme", RequestID: "good"}}, "good")
	b.runningRestore(events.RestoreRequested{ProjectID: "globex", RestoreID: "theirs", From: events.RestoreFrom{ProjectID: "globex", RequestID: "x"}}, "x")
	v := b.visit("acme", access.Read)
	if got := v.get("restores/acme/undo").body; !strings.Contains(got, `data-of="restore:acme/undo"`) || strings.Contains(got, "<progress max=\"100\" value") {
		t.Errorf("before the first progress: %s", got)
	}
	lines := v.follow(console.Prefix + "live")
	next := func() string {
		for line := range lines {
			if line != "" {
				return line
			}
		}
		return "the stream ended"
	}
	b.placed("globex", "theirs", "checking", 11)
	for _, c := range []struct {
		stage, words string
		read         int64
		percent      string
	}{{"checking", "checking the export", 42, "42"}, {"restoring", "restoring into the target", 100, "99"}, {"cleaning", "cleaning", 7, "7"}} {
		b.placed("acme", "undo", c.stage, c.read)
		if got := next() + next(); got != `event: progressdata: {"of":"restore:acme/undo","percent":`+c.percent+`,"stage":"`+c.words+`"}` {
			t.Errorf("%s: %s", c.stage, got)
		}
		for _, path := range []string{"restores/acme/undo", "restores", "exports/acme/good"} {
			if got := v.get(path).body; !strings.Contains(got, `value="`+c.percent+`"`) || !strings.Contains(got, c.words) {
				t.Errorf("%s: %q does not show it", c.stage, path)
			}
		}
	}
}

func TestPagesOfRestoresShowWhatThereIs(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"plain": "no role acme_owner", "hostile": `<script>alert(1)</script>` + "\u202e"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.completed("acme", "nightly-2026-11-01")
			v := b.visit("*", access.Admin)
			if got := v.get("exports/acme/nightly-2026-11-01"); strings.Contains(got.body, "Restore…") || strings.Contains(got.body, ">Restores<") {
				t.Errorf("offered where no restorer was ever set up: %s", got.body)
			}
			if got := v.get("exports/acme/nightly-2026-11-01/restore"); got.status != http.StatusNotFound {
				t.Errorf("to be confirmed there: %d", got.status)
			}
			b.furnishRestores()
			b.endedRestore(events.RestoreRequested{ProjectID: "acme", RestoreID: "remarked", From: events.RestoreFrom{RequestID: "latest"}}, restoredJSON(text), export.Fault{})
			b.endedRestore(events.RestoreRequested{ProjectID: "acme", RestoreID: "refused", From: events.RestoreFrom{RequestID: "latest"}}, nil, export.Fault{Code: codes.RestoreRejected, Message: text})
			for path, want := range map[string][]string{
				"exports/acme/nightly-2026-11-01":         {"Restore…", ">Restores<"},
				"exports/acme/nightly-2026-11-01/restore": {"This will happen", "is not done yet", "RESTORE_KEEP", "Plan only, change nothing", "acme/nightly-2026-11-01", `<option>replace`},
				"restores":                      {"undo-7", "refresh", "plan-8", "create, plan", "acme/latest_verified", "target occupied", "98,765 rows", "exports/acme/nightly-2026-11-01"},
				"restores?project=acme-staging": {"refresh"},
				"restores?project=nowhere":      {"No restore matches"},
				"restores/acme/undo-7":          {"has committed the whole of it", "98,765", "tenant_acme_old_7", "until", "17.2", "tenant_acme.invoices", "the owner of", "replace", "ann@example.org"},
				"restores/acme-staging/refresh": {"holds 12 tables", "target_occupied", "The target is as it was"},
				"restores/acme/plan-8":          {"waiting", "a plan: nothing is changed", "There is none yet", "Cancel…"},
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
			for _, path := range []string{"restores", "restores/acme/remarked", "restores/acme/refused"} {
				got := v.get(path)
				if strings.Contains(got.body, "<script>alert") || strings.Contains(got.body, "\u202e") || path != "restores" && !strings.Contains(got.body, "alert(1)") && name == "hostile" {
					t.Errorf("%s: the text is not shown as text: %s", path, got.body)
				}
			}
			for path, want := range map[string]int{"restores/acme/none": 404, "restores/a b/x": 404, "restores?after=x": 422, "restores/acme/undo-7/cancel": 200} {
				if got := v.get(path); got.status != want {
					t.Errorf("%q: %d", path, got.status)
				}
			}
			of := b.visit("globex", access.Read)
			if got := of.get("restores"); got.status != http.StatusOK || strings.Contains(got.body, "undo-7") {
				t.Errorf("another project's: %d", got.status)
			}
			if got := of.get("restores/acme/undo-7"); got.status != http.StatusForbidden {
				t.Errorf("another project's page: %d", got.status)
			}
		})
	}
}

func TestARestoreThatIsSentTwiceIsAskedForOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.completed("acme", "good")
	b.askedToRestore(events.RestoreRequested{ProjectID: "globex", RestoreID: "other", From: events.RestoreFrom{RequestID: "x"}})
	v := b.visit("acme", access.Read, access.Restore)
	form := url.Values{"project": {"acme"}, "restore_id": {"undo"}, "mode": {"replace"}, "tables": {" tenant_acme.invoices\r\n\r\ntenant_acme.\"b c\" "}}
	plan := url.Values{"plan": {"1"}}
	for k, values := range form {
		plan[k] = values
	}
	for range 2 {
		if got := v.post("exports/acme/good/restore", plan); got.status != http.StatusSeeOther || got.header.Get("Location") != "/console/restores/acme/undo-plan?did=planning" {
			t.Errorf("the plan: %d %s %s", got.status, got.header.Get("Location"), got.body)
		}
		if got := v.post("exports/acme/good/restore", form); got.status != http.StatusSeeOther || got.header.Get("Location") != "/console/restores/acme/undo?did=restoring" {
			t.Errorf("the restore: %d %s %s", got.status, got.header.Get("Location"), got.body)
		}
	}
	s, err := b.js.Stream(t.Context(), events.StreamRestores)
	b.must(err)
	if n := s.CachedInfo().State.Msgs; n != 3 {
		t.Errorf("%d requests", n)
	}
	queued, err := broker.NewRestoreQueue(b.js, handlers.DecodeStoredRestore).OfProject(t.Context(), "acme")
	b.must(err)
	if got := string(queued[1].Request.Payload); !strings.Contains(got, `"mode":"replace","tables":["tenant_acme.\"b c\"","tenant_acme.invoices"]`) || strings.Contains(got, "plan") || !strings.Contains(got, `"request_id":"good"`) {
		t.Errorf("asked for %s", got)
	}
	for name, bad := range map[string]url.Values{
		"mode": {"mode": {"drop"}}, "table": {"tables": {"invoices"}}, "id": {"restore_id": {"a b"}}, "a long id": {"restore_id": {strings.Repeat("x", 101)}},
	} {
		bad["project"] = []string{"acme"}
		if got := v.post("exports/acme/good/restore", bad); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, `role="alert"`) || !strings.Contains(got.body, `value="acme"`) {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	for project, want := range map[string]int{"globex": 403, "": 403, "*": 403, "a.b": 403} {
		if got := v.post("exports/acme/good/restore", url.Values{"project": {project}}); got.status != want {
			t.Errorf("into %q: %d", project, got.status)
		}
	}
	if got := v.post("exports/acme/none/restore", form); got.status != http.StatusNotFound {
		t.Errorf("of an export that does not exist: %d", got.status)
	}
	every := b.visit("*", access.Read, access.Restore)
	if got := every.post("exports/acme/good/restore", url.Values{"project": {"globex"}}); got.status != http.StatusForbidden {
		t.Errorf("into another project without the scope download: %d", got.status)
	}
	if got := every.post("exports/acme/good/restore", url.Values{"project": {""}}); got.status != http.StatusUnprocessableEntity {
		t.Errorf("into no project: %d", got.status)
	}
	every = b.visit("*", access.Read, access.Restore, access.Download)
	if got := every.post("exports/acme/good/restore", url.Values{"project": {"globex"}, "restore_id": {"clone"}}); got.header.Get("Location") != "/console/restores/globex/clone?did=restoring" {
		t.Errorf("into another project: %d %s", got.status, got.body)
	}
	// The queue has undo, and a restorer done: other contents are a conflict, and the form gets a new key.
	b.endedRestore(events.RestoreRequested{ProjectID: "acme", RestoreID: "done", From: events.RestoreFrom{RequestID: "good"}}, restoredJSON("r"), export.Fault{})
	for id, mode := range map[string]string{"undo": "create", "done": "replace"} {
		got := v.post("exports/acme/good/restore", url.Values{"project": {"acme"}, "restore_id": {id}, "mode": {mode}})
		if got.status != http.StatusConflict || !strings.Contains(got.body, `role="alert"`) || !regexp.MustCompile(`name="restore_id" value="console-`).MatchString(got.body) {
			t.Errorf("%s with other contents: %d %s", id, got.status, got.body)
		}
	}
}

func TestRestoresAreReadInOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 3 {
		b.askedToRestore(events.RestoreRequested{ProjectID: "acme", RestoreID: fmt.Sprint("w", i), From: events.RestoreFrom{RequestID: "x"}})
	}
	// Ten at a time are first seen together.
	b.exec(`INSERT INTO pgcourier.restores (project_id, request_id, payload, digest, refused, origin, queue, queue_sequence, delivery, created_at)
		SELECT CASE WHEN n % 2 = 0 THEN 'acme' ELSE 'globex' END, 'r' || to_char(n, 'FM000'), '{}', sha256(''), false, '{}', 'q', n, 1,
			timestamptz '2026-01-02 03:04:05+00' + (n / 10) * interval '1 second' FROM generate_series(0, 119) n`)
	link := regexp.MustCompile(`href="(/console/restores/[a-z]+/([rw]\d+))"`)
	older := regexp.MustCompile(`href="([^"]+)" rel="next"`)
	for project, want := range map[string]int{"*": 123, "acme": 63} {
		v := b.visit(project, access.Read)
		seen := map[string]bool{}
		last := "w999"
		for path := "restores"; path != ""; {
			got := v.get(path)
			for _, m := range link.FindAllStringSubmatch(got.body, -1) {
				if seen[m[1]] {
					t.Errorf("%s: %s is on two pages", project, m[1])
				}
				if m[2] != last && m[2][:min(3, len(m[2]))] > last[:3] {
					t.Errorf("%s: %s comes after %s", project, m[2], last)
				}
				seen[m[1]], last = true, m[2]+"  "
			}
			path = ""
			if m := older.FindStringSubmatch(got.body); m != nil {
				path = strings.ReplaceAll(m[1], "&amp;", "&")
			}
		}
		if len(seen) != want {
			t.Errorf("%s: %d of %d restores", project, len(seen), want)
		}
	}
}

// The page of a restore learns of its end by a live event.
func TestTheEndOfARestoreIsALiveEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	live := regexp.MustCompile(`data-live="([^"]+)"`)
	v := b.visit("acme", access.Read)
	m := live.FindStringSubmatch(v.get("restores").body)
	if m == nil {
		t.Fatal("the page is not live")
	}
	lines := v.follow(m[1])
	<-lines // the end of the first event
	b.endedRestore(events.RestoreRequested{ProjectID: "acme", RestoreID: "undo", From: events.RestoreFrom{RequestID: "x"}}, restoredJSON("r"), export.Fault{})
	if got := <-lines; got != "event: changed" {
		t.Errorf("the end: %s", got)
	}
	if got := v.get("restores/acme/undo"); !strings.Contains(got.body, "has committed") {
		t.Errorf("the page: %s", got.body)
	}
}

// A page says that the target is as it was only for a restore that has failed.
func TestACompletedRestoreWithAnUnreadableOutcomeIsNotShownAsUndone(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *settings) { c.RestoreOutcome = `{"from":"of a later release"}` })
	b.furnishRestores()
	v := b.visit("*", access.Admin)
	const undone = "The target is as it was"
	if got := v.get("restores/acme/undo-7"); got.status != http.StatusOK || strings.Contains(got.body, undone) || !strings.Contains(got.body, "its outcome cannot be read") {
		t.Errorf("completed: %d %s", got.status, got.body)
	}
	if got := v.get("restores/acme-staging/refresh"); got.status != http.StatusOK || !strings.Contains(got.body, undone) {
		t.Errorf("failed: %d %s", got.status, got.body)
	}
}

// The list of all projects says that it looks at a part of a long queue.
func TestTheListOfRestoresSaysThatTheQueueIsLonger(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := events.RestoreRequested{ProjectID: "acme", RestoreID: "w", From: events.RestoreFrom{RequestID: "x"}}
	b.askedToRestore(first)
	client, err := events.NewClient(b.nc)
	b.must(err)
	const note = "More than 200 restores are in the queue"
	v := b.visit("*", access.Read)
	for i := 2; i <= api.MostQueuedRestores+1; i++ {
		r := first
		r.ProjectID = fmt.Sprint("p", i)
		if i == api.MostQueuedRestores+1 {
			if got := v.get("restores"); got.status != http.StatusOK || strings.Contains(got.body, note) {
				t.Errorf("with 200: %d %s", got.status, got.body)
			}
		}
		_, err := client.RequestRestore(t.Context(), r)
		b.must(err)
	}
	if got := v.get("restores"); got.status != http.StatusOK || !strings.Contains(got.body, note) {
		t.Errorf("with one more: %d %s", got.status, got.body)
	}
	if got := v.get("restores?project=acme"); got.status != http.StatusOK || strings.Contains(got.body, note) {
		t.Errorf("of one project: %d %s", got.status, got.body)
	}
}

// Without a broker the recorded restores are shown, and the page says what is missing.
func TestRestoresAreShownWithoutABroker(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.furnishRestores()
	v := b.visit("*", access.Admin)
	b.toBroker.Cut()
	brokertest.Eventually(t, "the connection is seen as lost", func() bool { return !b.nc.IsConnected() })
	if got := v.get("restores"); got.status != http.StatusOK || !strings.Contains(got.body, "undo-7") || !strings.Contains(got.body, "The broker does not answer") {
		t.Errorf("%d %s", got.status, got.body)
	}
}
