package console

import (
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/retention"
)

const (
	calendarWeeks = 5
	calendarDays  = 7 * calendarWeeks
	// calendarEach bounds the names of a group, and calendarNames those of all days: the page stays below 60 KB.
	calendarEach  = 3
	calendarNames = 35
)

// calendar shows on which day retention deletes what, and what it keeps.
type calendar struct {
	Project       string // empty: of all projects of the caller
	Title         string
	Zone          string
	Days          []*calendarDay
	Before, After int // exports that go before the first day, and after the last one
	Earlier       string
	Later         string
	Now           string // path of the weeks around today; empty: these are they

	Gone, Going, Aging, Kept int // on all days

	first  time.Time   // the first day, in UTC
	bounds []time.Time // the beginnings of the days in Zone, and the end of the last one
}

// calendarDay is one day of a calendar.
type calendarDay struct {
	Date   string // 2026-12-01
	Short  string // 1 Dec
	Long   string // 1 December 2026
	Name   string // of the day of the week
	Today  bool
	Past   bool
	Chosen bool   // the tables are about it
	Path   string // shows the tables about it; empty: nothing is on it
	Groups []*calendarGroup

	begin, end time.Time
}

// calendarGroup is what becomes of some exports on a day.
type calendarGroup struct {
	Kind  calendarKind
	Count int
	Items []calendarItem // the first of them
}

// More is the number of exports beside Items; 0 also if there are no items.
func (g *calendarGroup) More() int {
	if len(g.Items) == 0 {
		return 0
	}
	more := g.Count
	for _, item := range g.Items {
		more -= item.Count
	}
	return more
}

// Words says what becomes of the exports.
func (g *calendarGroup) Words() string {
	one := map[calendarKind]string{calendarGone: "deleted", calendarGoing: "goes", calendarAging: "goes by age", calendarKept: "kept"}
	many := map[calendarKind]string{calendarGone: "deleted", calendarGoing: "go", calendarAging: "go by age", calendarKept: "kept"}
	if g.Count == 1 {
		return one[g.Kind]
	}
	return many[g.Kind]
}

// calendarItem names an export, or some exports of one project.
type calendarItem struct {
	Name, Path, Why string // Name is empty if the calendar is of one project
	Count           int
}

// calendarKind is what becomes of exports. Its text is their class in the style sheet.
type calendarKind string

const (
	calendarGone  calendarKind = "none" // deleted
	calendarGoing calendarKind = "bad"  // no rule keeps it
	calendarAging calendarKind = "mild" // kept until then by its maximum age
	calendarKept  calendarKind = "good" // completed on this day, and kept
)

// newCalendar returns the empty calendar of the weeks from a date (in UTC) on, from the Monday before it.
func newCalendar(project string, first, now time.Time, zone *time.Location) *calendar {
	first = first.AddDate(0, 0, -(int(first.Weekday())+6)%7)
	c := &calendar{Project: project, Zone: zone.String(), first: first}
	today := now.In(zone).Format(time.DateOnly)
	begin := func(i int) time.Time { // in UTC every day has a beginning; in other zones a few have none
		date := first.AddDate(0, 0, i)
		return time.Date(date.Year(), date.Month(), date.Day(), 0, 0, 0, 0, zone)
	}
	for i := range calendarDays {
		date := first.AddDate(0, 0, i)
		day := date.Format(time.DateOnly)
		c.bounds = append(c.bounds, begin(i))
		c.Days = append(c.Days, &calendarDay{
			Date: day, Short: date.Format("2 Jan"), Long: date.Format("2 January 2006"), Name: date.Weekday().String(),
			Today: day == today, Past: day < today, begin: begin(i), end: begin(i + 1),
		})
	}
	c.bounds = append(c.bounds, begin(calendarDays))
	last := first.AddDate(0, 0, calendarDays-1)
	c.Title = first.Format("2 January 2006") + " to " + last.Format("2 January 2006")
	if first.Year() == last.Year() {
		c.Title = first.Format("2 January") + " to " + last.Format("2 January 2006")
	}
	const step = 7 * (calendarWeeks - 1) // one week is on both pages
	c.Earlier = retentionPath(project, first.AddDate(0, 0, -step), "", 0)
	c.Later = retentionPath(project, first.AddDate(0, 0, step), "", 0)
	if !slices.ContainsFunc(c.Days, func(d *calendarDay) bool { return d.Today }) {
		c.Now = retentionPath(project, time.Time{}, "", 0)
	}
	return c
}

// day returns the day of a time; nil: it is not in the calendar.
func (c *calendar) day(at time.Time) *calendarDay {
	i, begins := slices.BinarySearchFunc(c.bounds, at, time.Time.Compare)
	if !begins {
		i--
	}
	if i < 0 || i >= len(c.Days) {
		return nil
	}
	return c.Days[i]
}

// choose marks a day and returns it; nil: it is not in the calendar.
func (c *calendar) choose(date string) *calendarDay {
	i := slices.IndexFunc(c.Days, func(d *calendarDay) bool { return d.Date == date })
	if i < 0 {
		return nil
	}
	c.Days[i].Chosen = true
	return c.Days[i]
}

// Gone reports whether exports were deleted on the day.
func (d *calendarDay) Gone() bool {
	return slices.ContainsFunc(d.Groups, func(g *calendarGroup) bool { return g.Kind == calendarGone })
}

// holds reports whether a time is on the day.
func (d *calendarDay) holds(at time.Time) bool { return !at.Before(d.begin) && at.Before(d.end) }

// add counts exports on a day, and returns their group; nil: the day is not in the calendar.
func (c *calendar) add(d *calendarDay, kind calendarKind, count int) *calendarGroup {
	if d == nil || count == 0 {
		return nil
	}
	switch kind {
	case calendarGone:
		c.Gone += count
	case calendarGoing:
		c.Going += count
	case calendarAging:
		c.Aging += count
	case calendarKept:
		c.Kept += count
	}
	d.Path = retentionPath(c.Project, c.first, d.Date, 0)
	i := slices.IndexFunc(d.Groups, func(g *calendarGroup) bool { return g.Kind == kind })
	if i < 0 {
		i = len(d.Groups)
		d.Groups = append(d.Groups, &calendarGroup{Kind: kind})
	}
	d.Groups[i].Count += count
	return d.Groups[i]
}

// name adds a name to the group, unless it has enough. g may be nil.
func (g *calendarGroup) name(item calendarItem) {
	if g != nil && len(g.Items) < calendarEach {
		g.Items = append(g.Items, item)
	}
}

// show adds the name of an export to the group, unless it has enough. g may be nil.
func (g *calendarGroup) show(v verdictRow, why string) {
	if g != nil && len(g.Items) < calendarEach {
		g.name(calendarItem{Name: v.Request, Path: pathOf("exports", v.Project, v.Request), Why: why, Count: 1})
	}
}

// finish puts the groups of each day in order, and bounds the names.
func (c *calendar) finish() {
	for _, d := range c.Days {
		slices.SortStableFunc(d.Groups, func(a, b *calendarGroup) int { return a.order() - b.order() })
	}
	names := func(each int) (sum int) {
		for _, d := range c.Days {
			for _, g := range d.Groups {
				sum += min(len(g.Items), each)
			}
		}
		return sum
	}
	each := calendarEach
	for each > 1 && names(each) > calendarNames {
		each--
	}
	left := calendarNames
	for _, d := range c.Days {
		for _, g := range d.Groups {
			g.Items = g.Items[:min(len(g.Items), each, left)]
			left -= len(g.Items)
		}
	}
}

// fill adds what the ledger knows. planned: only what was deleted.
func (c *calendar) fill(of api.RetentionCalendar, planned bool) {
	type place struct {
		day  int
		gone bool
	}
	groups := map[place]*calendarGroup{}
	for _, r := range of.Days {
		if planned && !r.Gone {
			continue
		}
		at := place{r.Day, r.Gone}
		_, seen := groups[at]
		switch {
		case r.Day >= 0 && r.Day < len(c.Days):
			d, item := c.Days[r.Day], calendarItem{Why: r.Reason, Count: r.Count}
			if !seen { // its first row
				kind := calendarGoing
				if r.Gone {
					kind = calendarGone
				}
				groups[at] = c.add(d, kind, r.All)
			}
			if c.Project == "" {
				item.Name, item.Path = r.Project, retentionPath(r.Project, c.first, d.Date, 0)
			}
			groups[at].name(item)
			continue
		case seen || r.Gone:
		case r.Day < 0:
			c.Before += r.All
		default:
			c.After += r.All
		}
		groups[at] = nil
	}
	for i, n := range of.Kept {
		if !planned {
			c.add(c.Days[i], calendarKept, n)
		}
	}
}

// plan adds what becomes of the stored exports of the project.
func (c *calendar) plan(verdicts []verdictRow, now time.Time) {
	for _, v := range verdicts {
		if v.Step == retention.Kept {
			c.add(c.day(v.FinishedAt), calendarKept, 1).show(v, joined(v.Why))
			c.leaves(v.ByAge, calendarAging, v, "too old then")
			continue
		}
		at := v.DeleteAt
		if at.Before(now) {
			at = now
		}
		c.leaves(at, calendarGoing, v, joined(v.Why))
	}
}

func (g *calendarGroup) order() int {
	return slices.Index([]calendarKind{calendarGone, calendarGoing, calendarAging, calendarKept}, g.Kind)
}

// leaves adds an export that is deleted at a time; zero: never.
func (c *calendar) leaves(at time.Time, kind calendarKind, v verdictRow, why string) {
	switch {
	case at.IsZero():
	case at.Before(c.bounds[0]):
		c.Before++
	case !at.Before(c.bounds[len(c.Days)]):
		c.After++
	default:
		c.add(c.day(at), kind, 1).show(v, why)
	}
}

// retentionPath returns the path of a page of retention. first zero: the weeks around today.
func retentionPath(project string, first time.Time, day string, skip int) string {
	q := url.Values{}
	if project != "" {
		q.Set("project", project)
	}
	if !first.IsZero() {
		q.Set("from", first.Format(time.DateOnly))
	}
	if day != "" {
		q.Set("day", day)
	}
	if skip > 0 {
		q.Set("skip", strconv.Itoa(skip))
	}
	if len(q) == 0 {
		return pathOf("retention")
	}
	return pathOf("retention") + "?" + q.Encode()
}

// filter selects what a calendar shows.
func (c *calendar) filter(notice time.Duration) ledger.CalendarFilter {
	return ledger.CalendarFilter{Days: c.bounds, Notice: notice, Each: calendarEach}
}
