package retention_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/retention"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestParse(t *testing.T) {
	t.Parallel()
	full := "last=7,daily=14,weekly=8,monthly=12,yearly=5,max-age=400d"
	for text, want := range map[string]string{
		"": "", " ": "", "all": "", " all ": "", full: full, " yearly=1 , last=2 ": "last=2,yearly=1", "max-age=36h": "max-age=36h0m0s", "last=1,daily=0": "last=1",
	} {
		p, err := retention.Parse(text)
		if err != nil || p.String() != want || p.KeepsAll() != (want == "") {
			t.Errorf("%q reads as %q (%v)", text, p, err)
		}
	}
	for text, want := range map[string]string{
		"last=0": "keep nothing", "daily=0,yearly=0": "keep nothing", "last": `last: ""`, "last=-1": `"-1"`, "last=x": `"x"`, "last=1,last=2": "twice",
		"hourly=3": `"hourly"`, "max-age=0": "less than a day", "max-age=2h": "would delete everything", "max-age=-3d": "max-age", "max-age=week": `"week"`,
		"last=1;daily=2": "last", ",": "none of", "all,last=1": "none of",
	} {
		if _, err := retention.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", text, err, want)
		}
	}
	if _, err := retention.Parse("last=x,hourly=1"); err == nil || !strings.Contains(err.Error(), "hourly") || !strings.Contains(err.Error(), `"x"`) {
		t.Errorf("not all faults are reported: %v", err)
	}
}

// history makes exports from lines such as "2026-11-20T03 v": v means verified, d damaged.
func history(t *testing.T, lines ...string) []retention.Export {
	t.Helper()
	var out []retention.Export
	for _, line := range lines {
		at, mark, _ := strings.Cut(line, " ")
		finished, err := time.Parse("2006-01-02T15", at)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, retention.Export{
			ID: export.ID{Project: "acme", Request: at}, FinishedAt: finished, Verified: mark == "v", Damaged: mark == "d",
		})
	}
	return out
}

func TestDecide(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, policy string
		all          []string
		kept         []string // "id: why"
	}{
		{"nothing is stored", "last=1", nil, nil},
		{"no policy", "", []string{"2020-01-01T03", "2026-11-20T03"}, []string{"2026-11-20T03: everything is kept, newest good export", "2020-01-01T03: everything is kept"}},
		{"the last two", "last=2", []string{"2026-11-20T03", "2026-11-21T03", "2026-11-22T03"},
			[]string{"2026-11-22T03: last 1 of 2, newest good export", "2026-11-21T03: last 2 of 2"}},
		{"the newest of each day, gaps do not count", "daily=2", []string{"2026-11-01T03", "2026-11-20T01", "2026-11-20T23", "2026-11-22T03"},
			[]string{"2026-11-22T03: daily 2026-11-22, newest good export", "2026-11-20T23: daily 2026-11-20"}},
		{"a verified one of the day goes before a newer one that is not", "daily=2", []string{"2026-11-20T01 v", "2026-11-20T23", "2026-11-22T03"},
			[]string{"2026-11-22T03: daily 2026-11-22, newest good export", "2026-11-20T01: daily 2026-11-20, newest verified export"}},
		{"the newest verified one stays beside a newer one that is not", "last=1", []string{"2026-11-19T03 v", "2026-11-20T03 v", "2026-11-21T03", "2026-11-22T03"},
			[]string{"2026-11-22T03: last 1 of 1, newest good export", "2026-11-20T03: newest verified export"}},
		{"weeks begin on Monday and belong to the ISO year", "weekly=2", []string{"2025-12-28T03", "2025-12-29T03", "2026-01-04T03", "2026-01-05T03"},
			[]string{"2026-01-05T03: weekly 2026-W02, newest good export", "2026-01-04T03: weekly 2026-W01"}},
		{"one export may be kept by several rules", "monthly=1,yearly=2", []string{"2025-06-01T03", "2026-10-01T03", "2026-11-01T03"},
			[]string{"2026-11-01T03: monthly 2026-11, yearly 2026, newest good export", "2025-06-01T03: yearly 2025"}},
		{"a maximum age is above the counts, and below the last good one", "last=9,max-age=30d", []string{"2026-01-01T03", "2026-02-01T03"},
			[]string{"2026-02-01T03: newest good export"}},
		{"a maximum age alone keeps younger exports", "max-age=30d", []string{"2026-10-01T03", "2026-11-01T03", "2026-11-20T03"},
			[]string{"2026-11-20T03: within max-age=30d, newest good export", "2026-11-01T03: within max-age=30d"}},
		{"a damaged one counts for nothing", "last=1", []string{"2026-11-20T03", "2026-11-21T03", "2026-11-22T03 d"},
			[]string{"2026-11-22T03: damaged, but no good export is newer", "2026-11-21T03: last 1 of 1, newest good export"}},
		{"a damaged one is deleted once a newer one is undamaged", "last=5", []string{"2026-11-20T03 d", "2026-11-21T03"}, []string{"2026-11-21T03: last 1 of 5, newest good export"}},
		{"damaged ones stay if there is no undamaged one", "last=1", []string{"2026-11-20T03 d", "2026-11-21T03 d"},
			[]string{"2026-11-21T03: damaged, but no good export is newer", "2026-11-20T03: damaged, but no good export is newer"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := retention.Parse(tt.policy)
			if err != nil {
				t.Fatal(err)
			}
			var kept []string
			for _, d := range p.Decide(history(t, tt.all...), now) {
				if len(d.Why) == 0 {
					t.Errorf("%s: no reason", d.Request)
				}
				if d.Keep {
					kept = append(kept, d.Request+": "+strings.Join(d.Why, ", "))
				}
			}
			if !slices.Equal(kept, tt.kept) {
				t.Errorf("kept\n%q, want\n%q", kept, tt.kept)
			}
		})
	}
}

// Periods are in UTC, in whatever zone the times are.
func TestPeriodsAreUTC(t *testing.T) {
	t.Parallel()
	east := time.FixedZone("east", 10*3600)
	all := []retention.Export{
		{ID: export.ID{Request: "a"}, FinishedAt: time.Date(2026, 11, 21, 5, 0, 0, 0, east)}, // the 20th in UTC
		{ID: export.ID{Request: "b"}, FinishedAt: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)},
	}
	for _, d := range (retention.Policy{Daily: 9}).Decide(all, now) {
		if d.Keep != (d.Request == "a") {
			t.Errorf("%s: kept %t, %q", d.Request, d.Keep, d.Why)
		}
	}
}

func policies() *rapid.Generator[retention.Policy] {
	return rapid.Custom(func(t *rapid.T) retention.Policy {
		n := func(name string) int { return rapid.IntRange(0, 4).Draw(t, name) }
		p := retention.Policy{Last: n("last"), Daily: n("daily"), Weekly: n("weekly"), Monthly: n("monthly"), Yearly: n("yearly")}
		if rapid.Bool().Draw(t, "aged") {
			p.MaxAge = time.Duration(rapid.IntRange(24, 24*800).Draw(t, "age")) * time.Hour
		}
		return p
	})
}

func histories() *rapid.Generator[[]retention.Export] {
	return rapid.Custom(func(t *rapid.T) []retention.Export {
		// Few distinct times, so that several exports share one, and a few in the future.
		hours := rapid.SliceOfN(rapid.IntRange(-48, 24*900), 0, 40).Draw(t, "hours")
		var out []retention.Export
		for i, h := range hours {
			kind := rapid.IntRange(0, 4).Draw(t, "kind")
			out = append(out, retention.Export{
				ID: export.ID{Project: "acme", Request: strconv.Itoa(i)}, FinishedAt: now.Add(-time.Duration(h) * time.Hour), Verified: kind == 0, Damaged: kind == 1,
			})
		}
		return out
	})
}

func kept(p retention.Policy, all []retention.Export, at time.Time) (ids map[string]bool, left []retention.Export) {
	ids = map[string]bool{}
	for _, d := range p.Decide(all, at) {
		if d.Keep {
			ids[d.Request] = true
			left = append(left, d.Export)
		}
	}
	return ids, left
}

func newest(all []retention.Export, of func(retention.Export) bool) (at time.Time, found bool) {
	for _, e := range all {
		if of(e) && (!found || e.FinishedAt.After(at)) {
			at, found = e.FinishedAt, true
		}
	}
	return at, found
}

// The invariants for every history and every policy.
func TestInvariants(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, all := policies().Draw(t, "policy"), histories().Draw(t, "history")
		ids, left := kept(p, all, now)
		if p.KeepsAll() && len(left) != len(all) {
			t.Fatalf("no policy keeps %d of %d", len(left), len(all))
		}
		for what, of := range map[string]func(retention.Export) bool{
			"good":     func(e retention.Export) bool { return !e.Damaged },
			"verified": func(e retention.Export) bool { return e.Verified },
			"stored":   func(retention.Export) bool { return true },
		} {
			before, had := newest(all, of)
			after, has := newest(left, of)
			if had != has || !before.Equal(after) {
				t.Fatalf("the newest %s export went: %s, now %s", what, before, after)
			}
		}
		// An unverified export never stays in place of a verified one of the same period.
		for _, d := range p.Decide(all, now) {
			for _, why := range d.Why {
				rule, name, _ := strings.Cut(why, " ")
				if !d.Keep || d.Verified || !slices.Contains([]string{"daily", "weekly", "monthly", "yearly"}, rule) {
					continue
				}
				for _, other := range all {
					y, w := other.FinishedAt.ISOWeek()
					of := map[string]string{
						"daily": other.FinishedAt.Format(time.DateOnly), "weekly": fmt.Sprintf("%d-W%02d", y, w),
						"monthly": other.FinishedAt.Format("2006-01"), "yearly": other.FinishedAt.Format("2006"),
					}[rule]
					if other.Verified && of == name {
						t.Fatalf("%s is kept as %s, and %s of the same period is verified", d.Request, why, other.Request)
					}
				}
			}
		}
		if again, _ := kept(p, left, now); len(again) != len(ids) {
			t.Fatalf("deciding again keeps %d of %d", len(again), len(ids))
		}
		// A deleted export never becomes kept again, with time or with a newer export.
		later, _ := kept(p, all, now.Add(time.Duration(rapid.IntRange(0, 24*400).Draw(t, "later"))*time.Hour))
		next := retention.Export{ID: export.ID{Project: "acme", Request: "next"}, FinishedAt: now.Add(72 * time.Hour), Verified: rapid.Bool().Draw(t, "verified")}
		grown, _ := kept(p, append(slices.Clone(all), next), now)
		for id := range later {
			if !ids[id] {
				t.Fatalf("%s came back with time", id)
			}
		}
		for id := range grown {
			if id != "next" && !ids[id] {
				t.Fatalf("%s came back with a newer export", id)
			}
		}
		// A policy that keeps more keeps everything that one with fewer rules does.
		if wider := p; !p.KeepsAll() && p.Last+p.Daily+p.Weekly+p.Monthly+p.Yearly > 0 {
			wider.Last, wider.Monthly = p.Last+1, p.Monthly+1
			more, _ := kept(wider, all, now)
			for id := range ids {
				if !more[id] {
					t.Fatalf("%s goes by the wider policy %s", id, wider)
				}
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "last=7,daily=14,weekly=8,monthly=12,yearly=5,max-age=400d", "max-age=36h", "last=0", "last=1,last=2", "max-age=99999999d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := retention.Parse(text)
		if err != nil {
			return
		}
		again, err := retention.Parse(p.String())
		if err != nil || again != p {
			t.Fatalf("%q reads as %+v, written as %q reads as %+v (%v)", text, p, p, again, err)
		}
	})
}

// An export that MaxAge alone will let go is kept until that time and not after it, if nothing else changes.
func TestAnExportGoesWhenItIsOutgrown(t *testing.T) {
	t.Parallel()
	p, err := retention.Parse("last=4,max-age=10d")
	if err != nil {
		t.Fatal(err)
	}
	all := history(t, "2026-11-19T03 v", "2026-11-20T03", "2026-11-21T03 d", "2026-11-22T03")
	outgrown := 0
	for _, d := range p.Decide(all, now) {
		at := p.Outgrown(d)
		if d.Guarded != (d.Request == "2026-11-22T03" || d.Request == "2026-11-19T03") || at.IsZero() != (d.Request != "2026-11-20T03") {
			t.Errorf("%s: guarded %v, outgrown %v", d.Request, d.Guarded, at)
		}
		if at.IsZero() {
			continue
		}
		outgrown++
		for after, want := range map[time.Duration]bool{0: true, time.Nanosecond: false} {
			for _, then := range p.Decide(all, at.Add(after)) {
				if then.ID == d.ID && then.Keep != want {
					t.Errorf("%s is kept %v after it is outgrown: %v", d.Request, after, then.Keep)
				}
			}
		}
	}
	if outgrown != 1 {
		t.Errorf("%d are outgrown", outgrown)
	}
	for _, d := range (retention.Policy{Last: 3}).Decide(all, now) {
		if at := (retention.Policy{Last: 3}).Outgrown(d); !at.IsZero() {
			t.Errorf("without a maximum age: %s at %v", d.Request, at)
		}
	}
}
