// Package retention decides which stored exports are deleted, and deletes them: warn, wait, delete,
// announce. The decision (Policy) is pure; the Pruner carries it out over the ledger's records, the
// storage and the broker.
//
// Two rules stand above every policy: the newest good export of a project stays, and so
// does its newest verified one. All times are the ledger's and read in UTC.
package retention

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	day = 24 * time.Hour // the unit "d" of a maximum age

	// everything is the text of a policy that keeps all exports.
	everything = "all"
)

// Policy says which exports of a project are kept. The zero value keeps all. An export is
// kept when any of the counts selects it (all of them do when no count is given), and it
// is not older than MaxAge.
type Policy struct {
	Last int // the newest so many
	// The newest of each day, ISO week, month or year, for the newest so many of them that
	// have one; a verified export of the period goes before one that is not.
	Daily, Weekly, Monthly, Yearly int
	MaxAge                         time.Duration // 0: none
}

// Export is what a policy judges: a completed export that was not deleted.
type Export struct {
	export.ID
	FinishedAt time.Time
	Verified   bool // read back and restored
	Damaged    bool // found to be not what was promised: it counts for nothing
}

// Decision is what becomes of one export.
type Decision struct {
	Export
	Keep bool
	// Why are the rules that keep it, or the one reason why it goes.
	Why []string
	// Guarded is set for the newest good export and the newest verified one: no policy lets them go.
	Guarded bool
}

// Parse reads a policy such as "last=7,daily=14,weekly=8,monthly=12,yearly=5,max-age=400d".
// The empty text and "all" keep all. A max-age takes d beside Go's units. All faults are reported
// together; a policy that would keep nothing, or nothing older than a day, is one.
func Parse(text string) (Policy, error) {
	var p Policy
	var faults []error
	counts := map[string]*int{"last": &p.Last, "daily": &p.Daily, "weekly": &p.Weekly, "monthly": &p.Monthly, "yearly": &p.Yearly}
	seen := map[string]bool{}
	if trimmed := strings.TrimSpace(text); trimmed == "" || trimmed == everything {
		return p, nil
	}
	for rule := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(rule), "=")
		count, counted := counts[name]
		switch {
		case seen[name]:
			faults = append(faults, fmt.Errorf("%s is given twice", name))
		case counted:
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 || n > 1_000_000 {
				faults = append(faults, fmt.Errorf("%s: %q is not a number of exports", name, value))
			}
			*count = n
		case name == "max-age":
			age, err := parseAge(value)
			if err != nil {
				faults = append(faults, err)
			}
			p.MaxAge = age
		default:
			faults = append(faults, fmt.Errorf("%q is none of last, daily, weekly, monthly, yearly, max-age", name))
		}
		seen[name] = true
	}
	if len(faults) == 0 && p == (Policy{}) {
		faults = append(faults, errors.New("it would keep nothing; say all to keep everything"))
	}
	if len(faults) > 0 {
		return Policy{}, fmt.Errorf("retention %q: %w", text, errors.Join(faults...))
	}
	return p, nil
}

// parseAge reads a duration of at least a day: with less, what was made yesterday goes
// before today's is there.
func parseAge(text string) (time.Duration, error) {
	var age time.Duration
	var err error
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		if n, err = strconv.Atoi(days); err == nil && (n < 0 || n > 100_000) {
			err = errors.New("out of range")
		}
		age = time.Duration(n) * day
	} else {
		age, err = time.ParseDuration(text)
	}
	if err != nil {
		return 0, fmt.Errorf("max-age: %q is not a duration such as 90d or 2160h", text)
	}
	if age < day {
		return 0, fmt.Errorf("max-age: %q is less than a day, and would delete everything", text)
	}
	return age, nil
}

// String is the policy as Parse reads it; "" keeps all.
func (p Policy) String() string {
	var rules []string
	for _, r := range p.periods() {
		if r.keep > 0 {
			rules = append(rules, r.name+"="+strconv.Itoa(r.keep))
		}
	}
	if p.MaxAge > 0 {
		age := p.MaxAge.String()
		if p.MaxAge%day == 0 {
			age = strconv.FormatInt(int64(p.MaxAge/day), 10) + "d"
		}
		rules = append(rules, "max-age="+age)
	}
	return strings.Join(rules, ",")
}

// KeepsAll reports whether the policy deletes nothing.
func (p Policy) KeepsAll() bool { return p == Policy{} }

// Outgrown returns when a kept export becomes older than MaxAge; zero: it never does, or no policy lets it go.
func (p Policy) Outgrown(d Decision) time.Time {
	if p.MaxAge == 0 || !d.Keep || d.Guarded || d.Damaged {
		return time.Time{}
	}
	return d.FinishedAt.Add(p.MaxAge)
}

type period struct {
	name string
	keep int
	of   func(time.Time) string // names the period that a time lies in
}

// periods are the counts in their order. For "last" each export is a period of its own.
func (p Policy) periods() []period {
	return []period{
		{"last", p.Last, nil},
		{"daily", p.Daily, func(t time.Time) string { return t.Format(time.DateOnly) }},
		{"weekly", p.Weekly, func(t time.Time) string {
			y, w := t.ISOWeek()
			return fmt.Sprintf("%d-W%02d", y, w)
		}},
		{"monthly", p.Monthly, func(t time.Time) string { return t.Format("2006-01") }},
		{"yearly", p.Yearly, func(t time.Time) string { return t.Format("2006") }},
	}
}

// Decide says for each export of one project what becomes of it at the time now, newest
// first. It is deterministic, and deciding again over what was kept keeps all of it.
func (p Policy) Decide(all []Export, now time.Time) []Decision {
	out := make([]Decision, len(all))
	for i, e := range all {
		out[i] = Decision{Export: e}
	}
	slices.SortFunc(out, func(a, b Decision) int {
		return cmp.Or(b.FinishedAt.Compare(a.FinishedAt), cmp.Compare(b.String(), a.String()))
	})
	var good []*Decision
	for i := range out {
		if !out[i].Damaged {
			good = append(good, &out[i])
		}
	}
	counted := false
	for _, r := range p.periods() {
		counted = counted || r.keep > 0
		r.mark(good)
	}
	for i := range out {
		p.judge(&out[i], now, counted, len(good) == 0 || out[i].FinishedAt.After(good[0].FinishedAt))
	}
	guard(good)
	return out
}

// mark notes the rule on those that it selects.
func (r period) mark(good []*Decision) {
	if r.of == nil {
		for i, d := range good[:min(r.keep, len(good))] {
			d.Why = append(d.Why, fmt.Sprintf("last %d of %d", i+1, r.keep))
		}
		return
	}
	var order []string
	best := map[string]*Decision{}
	for _, d := range good {
		name := r.of(d.FinishedAt.UTC())
		have, seen := best[name]
		if !seen {
			if len(order) == r.keep {
				break // all that follow are older
			}
			order = append(order, name)
		}
		if !seen || d.Verified && !have.Verified {
			best[name] = d
		}
	}
	for _, name := range order {
		best[name].Why = append(best[name].Why, r.name+" "+name)
	}
}

// judge turns the rules that selected d into a decision. spared says that nothing good is
// newer, for one that is damaged.
func (p Policy) judge(d *Decision, now time.Time, counted, spared bool) {
	switch {
	case d.Damaged && (spared || p.KeepsAll()):
		d.Keep, d.Why = true, []string{"damaged, but no good export is newer"}
		if p.KeepsAll() {
			d.Why = []string{"everything is kept"}
		}
	case d.Damaged:
		d.Why = []string{"damaged, and a good export is newer"}
	case p.MaxAge > 0 && now.Sub(d.FinishedAt) > p.MaxAge:
		d.Why = []string{"older than " + Policy{MaxAge: p.MaxAge}.String()}
	case !counted:
		d.Keep = true
		d.Why = []string{"everything is kept"}
		if p.MaxAge > 0 {
			d.Why = []string{"within " + Policy{MaxAge: p.MaxAge}.String()}
		}
	case len(d.Why) > 0:
		d.Keep = true
	default:
		d.Why = []string{"no rule keeps it"}
	}
}

// guard keeps the newest good export and the newest verified one, whatever the policy says.
func guard(good []*Decision) {
	if len(good) == 0 {
		return
	}
	keep := func(d *Decision, why string) {
		if !d.Keep {
			d.Keep, d.Why = true, nil
		}
		d.Why = append(d.Why, why)
		d.Guarded = true
	}
	keep(good[0], "newest good export")
	if i := slices.IndexFunc(good, func(d *Decision) bool { return d.Verified }); i >= 0 {
		keep(good[i], "newest verified export")
	}
}
