package console_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/api/console"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/retention"
)

const aDay = 24 * time.Hour

// planFrom returns a plan: on the first day four exports are kept that go after a week by their age, on the day after
// the newest one is kept and two others go.
func planFrom(first time.Time) func(context.Context, string) (retention.Report, error) {
	return func(_ context.Context, project string) (retention.Report, error) {
		policy := retention.Policy{Last: 5, MaxAge: 7 * aDay}
		r := retention.Report{Rules: map[string]retention.Rules{project: {Policy: policy, From: retention.FromRule, Projects: "ac*"}}}
		add := func(name string, at time.Time, step retention.Step, deleteAt time.Time, why string) {
			r.Verdicts = append(r.Verdicts, retention.Verdict{
				Decision: retention.Decision{
					Export: retention.Export{ID: export.ID{Project: project, Request: name}, FinishedAt: at},
					Keep:   step == retention.Kept, Why: []string{why}, Guarded: name == "newest",
				},
				Step: step, DeleteAt: deleteAt, Record: retention.Record{StoredBytes: 5000},
			})
		}
		add("newest", first.Add(aDay), retention.Kept, time.Time{}, "newest good export")
		for i := range 4 {
			add(fmt.Sprint("kept-", i), first.Add(-time.Duration(i)*time.Minute), retention.Kept, time.Time{}, fmt.Sprintf("last %d of 5", i+2))
		}
		add("goes-1", first.Add(-30*aDay), retention.Warning, first.Add(aDay), "no rule keeps it")
		add("goes-2", first.Add(-31*aDay), retention.Notified, first.Add(aDay), "older than max-age=7d")
		return r, nil
	}
}

var tags = regexp.MustCompile(`<[^>]*>`)

// onDay returns the text of one day of the calendar, without the day itself.
func onDay(page, date string) string {
	_, rest, found := strings.Cut(page, `<time datetime="`+date+`">`)
	if !found {
		return "(no such day)"
	}
	rest, _, _ = strings.Cut(rest, `<p class="date">`)
	rest, _, _ = strings.Cut(rest, "</ol>")
	_, rest, _ = strings.Cut(rest, "</p>")
	return strings.Join(strings.Fields(tags.ReplaceAllString(rest, " ")), " ")
}

// leave notes that retention has deleted exports at a time, or has announced that at a time.
func (b *bench) leave(at time.Time, deleted bool, projectAndRequests ...string) {
	b.t.Helper()
	for _, id := range projectAndRequests {
		project, request, _ := strings.Cut(id, "/")
		if b.count("SELECT count(*) FROM pgcourier.requests WHERE (project_id, request_id) = ('"+project+"', '"+request+"')") == 0 {
			b.completed(project, request)
		}
		b.exec("INSERT INTO pgcourier.expiries (project_id, request_id, reason, warned_at) VALUES ($1, $2, 'no rule keeps it', $3)", project, request, at)
		if deleted {
			b.exec("UPDATE pgcourier.expiries SET deleting_at = $3, deleted_at = $3 WHERE (project_id, request_id) = ($1, $2)", project, request, at)
			b.exec("UPDATE pgcourier.requests SET removed_at = $3 WHERE (project_id, request_id) = ($1, $2)", project, request, at)
		}
	}
}

func TestTheCalendarShowsWhatGoesAndWhatIsKeptOnEachDay(t *testing.T) {
	t.Parallel()
	b := setup(t) // the notice is an hour
	// The times of what goes are in the future for the ledger too: what is overdue goes now.
	at := func(text string) time.Time {
		t, err := time.Parse(time.DateTime, text)
		b.must(err)
		return t
	}
	b.leave(at("2094-03-03 22:30:00"), false, "acme/a", "acme/b", "globex/c") // goes an hour later
	b.leave(at("2094-03-03 12:00:00"), true, "globex/d", "initech/e", "umbrella/f", "hooli/g", "piper/h")
	b.leave(at("2094-04-20 12:00:00"), false, "acme/after")
	b.leave(time.Now(), false, "acme/before")
	b.completed("acme", "stays")
	b.exec("UPDATE pgcourier.requests SET finished_at = '2094-03-05 01:00:00Z' WHERE request_id = 'stays'")
	v := b.visit("*", access.Read)
	const weeks = "retention?from=2094-03-03" // a Wednesday
	page := v.get(weeks)
	for date, want := range map[string]string{
		"2094-03-01": "",
		"2094-03-03": "5 deleted globex no rule keeps it hooli no rule keeps it initech no rule keeps it and 2 more 3 go acme 2 · no rule keeps it globex no rule keeps it",
		"2094-03-05": "1 kept",
		"2094-02-28": "(no such day)", "2094-04-05": "(no such day)", "2094-04-04": "",
	} {
		if got := onDay(page.body, date); got != want {
			t.Errorf("%s: %q, want %q", date, got, want)
		}
	}
	text := tags.ReplaceAllString(page.body, "")
	for _, want := range []string{"1 March to 4 April 2094", "Of all projects in these weeks: 3 go, 5 were deleted, and 1 that was completed in them is kept. 1 more goes later. 1 more goes earlier.", "Days are those of UTC"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q: %s", want, text)
		}
	}
	if got := v.do(http.MethodGet, console.Prefix+weeks, nil, "Cookie", "pgcourier-zone=Asia/Tokyo"); onDay(got.body, "2094-03-04") != "3 go acme 2 · no rule keeps it globex no rule keeps it" ||
		!strings.HasPrefix(onDay(got.body, "2094-03-03"), "5 deleted") || !strings.Contains(got.body, "Days are those of Asia/Tokyo") {
		t.Errorf("in Tokyo: %q, %q", onDay(got.body, "2094-03-03"), onDay(got.body, "2094-03-04"))
	}
	for _, zone := range []string{"Nowhere/None", "../../etc/passwd", "Local", strings.Repeat("x", 1000), "%3Cscript%3E"} {
		if got := v.do(http.MethodGet, console.Prefix+weeks, nil, "Cookie", "pgcourier-zone="+zone); got.status != http.StatusOK || !strings.Contains(got.body, "Days are those of UTC") {
			t.Errorf("the zone %.20q: %d", zone, got.status)
		}
	}
	day := v.get(weeks + "&day=2094-03-03").body
	for _, want := range []string{"on 3 March 2094", ">a<", ">c<", ">h<", "deleted", "notified"} {
		if !strings.Contains(day, want) {
			t.Errorf("the day lacks %q", want)
		}
	}
	if strings.Contains(day, ">after<") || strings.Contains(day, ">before<") {
		t.Error("the day shows others")
	}
	for path, want := range map[string]string{
		"retention?from=x": "From is not a date", "retention?from=2094-03-01&day=2094-05-01": "not one of the calendar", "retention?from=9999-12-31": "is ignored",
		"retention?skip=-1": "Announced", "retention?skip=99": "No deletion is announced",
	} {
		if got := v.get(path); got.status != http.StatusOK || !strings.Contains(got.body, want) {
			t.Errorf("%q: %d, lacks %q", path, got.status, want)
		}
	}
	of := b.visit("initech", access.Read)
	if got := onDay(of.get(weeks).body, "2094-03-03"); got != "1 deleted initech no rule keeps it" {
		t.Errorf("a token of one project sees %q", got)
	}
	if got := of.get(weeks + "&project=acme"); got.status != http.StatusForbidden {
		t.Errorf("another project: %d", got.status)
	}
	if got := onDay(v.get(weeks+"&project=acme").body, "2094-03-03"); got != "2 go 2 · no rule keeps it" {
		t.Errorf("one project without a plan: %q", got)
	}
}

func TestTheCalendarOfAProjectShowsItsPlan(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *settings) { c.Plan = planFrom(time.Date(2094, 3, 1, 3, 0, 0, 0, time.UTC)) })
	b.leave(time.Date(2094, 3, 4, 0, 0, 0, 0, time.UTC), true, "acme/gone", "globex/other")
	v := b.visit("*", access.Read)
	page := v.get("retention?project=acme&from=2094-03-01").body
	for date, want := range map[string]string{
		"2094-03-01": "4 kept kept-0 last 2 of 5 kept-1 last 3 of 5 kept-2 last 4 of 5 and 1 more",
		"2094-03-02": "2 go goes-1 no rule keeps it goes-2 older than max-age=7d 1 kept newest newest good export",
		"2094-03-04": "1 deleted no rule keeps it",
		"2094-03-08": "4 go by age kept-0 too old then kept-1 too old then kept-2 too old then and 1 more",
		"2094-03-09": "",
	} {
		if got := onDay(page, date); got != want {
			t.Errorf("%s: %q, want %q", date, got, want)
		}
	}
	if strings.Contains(page, "globex") {
		t.Error("another project is shown")
	}
	day := v.get("retention?project=acme&from=2094-03-01&day=2094-03-08").body
	if _, table, _ := strings.Cut(day, "What is kept, and why: 8 March 2094"); !strings.Contains(table, "kept-3") || !strings.Contains(table, "by age") || strings.Contains(table, "goes-1") || strings.Contains(table, "newest") {
		t.Errorf("the day: %s", table)
	}
	if day = v.get("retention?project=acme&from=2094-03-01&day=2094-03-04").body; !strings.Contains(day, "Deleted on 4 March 2094") || !strings.Contains(day, ">gone<") || strings.Contains(day, ">other<") {
		t.Errorf("the day with a deletion: %s", day)
	}
	// What was due before goes now.
	b = setup(t, func(c *settings) { c.Plan = planFrom(time.Now().Add(-5 * aDay)) })
	if page := b.visit("*", access.Read).get("retention?project=acme").body; !strings.Contains(onDay(page, time.Now().UTC().Format(time.DateOnly)), "2 go") {
		t.Errorf("today: %s", page)
	}
}

// The page says what holds where no rule was applied.
func TestThePageOfRetentionSaysWhatHoldsWithoutRules(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if got := b.visit("*", access.Read).get("retention").body; !strings.Contains(got, "Every export is kept: no rule was applied") || strings.Contains(got, "every other project") {
		t.Errorf("nothing is set: %s", got)
	}
	b = setup(t, func(c *settings) { c.Retention = retention.Policy{Last: 9} })
	v := b.visit("*", access.Read)
	if got := v.get("retention").body; !strings.Contains(got, "Of each project this is kept: <code>last=9</code>") {
		t.Errorf("a default: %s", got)
	}
	b.exec(`INSERT INTO pgcourier.retention_rules (projects, policy, set_by) VALUES ('glo*', 'last=3', 'apply: ann')`)
	if got := v.get("retention").body; !strings.Contains(got, "every other project") || !strings.Contains(got, "glo*") {
		t.Errorf("a rule: %s", got)
	}
}

// The page is bounded also when every export of a large ledger goes.
func TestThePageOfRetentionIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 36)
	b := setup(t, func(c *settings) {
		c.Plan = func(ctx context.Context, project string) (retention.Report, error) {
			r, err := planFrom(time.Date(2094, 3, 1, 3, 0, 0, 0, time.UTC))(ctx, project)
			for i := range 2000 {
				v := r.Verdicts[1+i%4]
				v.Request, v.FinishedAt = long, v.FinishedAt.Add(time.Duration(i)*time.Hour)
				r.Verdicts = append(r.Verdicts, v)
			}
			return r, err
		}
	})
	b.completed("acme", "model")
	b.exec(`INSERT INTO pgcourier.requests SELECT (json_populate_record(r, json_build_object('project_id', rpad('p' || n % 500, 36, 'x'), 'request_id', rpad('r' || n, 36, 'x')))).*
		FROM pgcourier.requests r, generate_series(1, 1999) n`)
	b.exec(`INSERT INTO pgcourier.expiries (project_id, request_id, reason, warned_at)
		SELECT project_id, request_id, 'older than max-age=400d' || length(request_id), '2094-03-01Z'::timestamptz + row_number() OVER (ORDER BY request_id) * interval '9 minutes' FROM pgcourier.requests`)
	v := b.visit("*", access.Read)
	for _, path := range []string{"retention?from=2094-03-01", "retention?from=2094-03-01&day=2094-03-05", "retention?project=" + long + "&from=2094-03-01", "retention"} {
		got := v.get(path)
		if got.status != http.StatusOK || got.size > 60_000-17_500 {
			t.Errorf("%.30q: %d with %d bytes", path, got.status, got.size)
		}
	}
	seen, more := 0, regexp.MustCompile(`href="/console/([^"#]+)#table" rel="next"`)
	for path := "retention?from=2094-03-01&day=2094-03-05"; path != ""; {
		page := v.get(path).body
		seen += strings.Count(page, `<th scope="row"><a`)
		path = ""
		if m := more.FindStringSubmatch(page); m != nil {
			path = strings.ReplaceAll(m[1], "&amp;", "&")
		}
	}
	if seen != 160 {
		t.Errorf("the pages of a day show %d exports, want one every nine minutes", seen)
	}
}
