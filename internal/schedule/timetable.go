// Package schedule says when a recurring export is due: it reads what people write
// ("0 3 * * *" in Europe/Berlin), turns it into the pattern that the broker takes, and
// tells the times at which the broker will fire it. It runs nothing: the broker does.
package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// shortest is the broker's own limit for an interval.
const shortest = time.Second

// descriptors are the broker's names for common patterns, and what they stand for.
var descriptors = map[string]string{
	"@yearly": "0 0 0 1 1 *", "@annually": "0 0 0 1 1 *", "@monthly": "0 0 0 1 * *", "@weekly": "0 0 0 * * 0",
	"@daily": "0 0 0 * * *", "@midnight": "0 0 0 * * *", "@hourly": "0 0 * * * *",
}

// Timetable is when a schedule is due. The zero value is never due.
type Timetable struct {
	pattern string
	zone    string
	every   time.Duration // of an interval, else 0
	cron    *cron.SpecSchedule
	loc     *time.Location
}

// Parse reads a cron line of five fields (minute hour day month weekday) or six (second
// first), a name such as "@daily", or an interval such as "@every 6h" of at least a
// second. zone is an IANA name; "" is UTC. The error says which part is wrong.
//
// It refuses what the broker would take and then not keep: a line that never comes true,
// and one for certain days in a zone that changes its clocks at midnight (see skipsMidnight).
func Parse(line, zone string, now time.Time) (Timetable, error) {
	line = strings.TrimSpace(line)
	if rest, ok := strings.CutPrefix(line, "@every "); ok {
		return interval(strings.TrimSpace(rest), zone)
	}
	fields := strings.Fields(line)
	if len(fields) == 1 {
		named, ok := descriptors[fields[0]]
		if !ok {
			return Timetable{}, fmt.Errorf("schedule %q: not a cron line, nor @every DURATION, @hourly, @daily, @weekly, @monthly or @yearly", line)
		}
		fields = strings.Fields(named)
	}
	switch len(fields) {
	case 5:
		fields = append([]string{"0"}, fields...)
	case 6:
	default:
		return Timetable{}, fmt.Errorf("schedule %q has %d fields: needed are 5 (minute hour day month weekday) or 6 (second first)", line, len(fields))
	}
	t := Timetable{pattern: strings.Join(fields, " "), zone: zone, loc: time.UTC}
	if err := t.readFields(line, fields); err != nil {
		return Timetable{}, err
	}
	if err := t.readZone(); err != nil {
		return Timetable{}, err
	}
	if len(t.Next(now, 1)) == 0 {
		return Timetable{}, fmt.Errorf("schedule %q never comes true", line)
	}
	if t.picksDays() {
		if day, ok := skipsMidnight(t.loc, now); ok {
			return Timetable{}, fmt.Errorf("schedule %q: the clocks of %s skip midnight on %s, and around such a day the broker can leave out a run that is for certain days only: write it in another zone, such as UTC", line, zone, day.Format(time.DateOnly))
		}
	}
	return t, nil
}

// fieldNames are those of a line of six.
var fieldNames = [6]string{"second", "minute", "hour", "day of month", "month", "weekday"}

// readFields parses each field by itself first, so that a fault names its field.
func (t *Timetable) readFields(line string, fields []string) error {
	options := []cron.ParseOption{cron.Second, cron.Minute, cron.Hour, cron.Dom, cron.Month, cron.Dow}
	var all cron.ParseOption
	for i, o := range options {
		all |= o
		if err := readField(fields[i], o); err != nil {
			return fmt.Errorf("schedule %q: %s %q: %w", line, fieldNames[i], fields[i], err)
		}
	}
	s, err := cron.NewParser(all).Parse(t.pattern)
	if err != nil {
		return fmt.Errorf("schedule %q: %w", line, err)
	}
	spec, ok := s.(*cron.SpecSchedule)
	if !ok {
		return fmt.Errorf("schedule %q is no cron line", line)
	}
	t.cron = spec
	return nil
}

// readField tries one field. The library panics on its own prefix for a zone (TZ=) when no
// field follows, and takes a field of nothing but commas for one that never comes true.
func readField(field string, o cron.ParseOption) error {
	if strings.Contains(field, "=") {
		return errors.New("the zone is given beside the line, not in it")
	}
	if strings.Trim(field, ",") == "" {
		return errors.New("empty")
	}
	_, err := cron.NewParser(o).Parse(field)
	return err
}

func (t *Timetable) readZone() error {
	if t.zone == "" {
		return nil
	}
	loc, err := time.LoadLocation(t.zone)
	// "Local" would mean one thing here and another to the broker.
	if err != nil || t.zone == "Local" {
		return fmt.Errorf("time zone %q is not in the time zone database: write it as Europe/Berlin", t.zone)
	}
	t.loc = loc
	return nil
}

func interval(text, zone string) (Timetable, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return Timetable{}, fmt.Errorf("interval %q is not a duration such as 6h or 90m", text)
	}
	if d < shortest {
		return Timetable{}, fmt.Errorf("interval %q is shorter than %s", text, shortest)
	}
	if zone != "" {
		return Timetable{}, errors.New("an interval has no time zone")
	}
	return Timetable{pattern: "@every " + d.String(), every: d, loc: time.UTC}, nil
}

// Pattern is what the broker takes: six fields, or "@every 6h0m0s".
func (t Timetable) Pattern() string { return t.pattern }

// Zone is the IANA name, "" for UTC.
func (t Timetable) Zone() string { return t.zone }

// Location is the zone that times are to be shown in.
func (t Timetable) Location() *time.Location { return t.loc }

// Every is the pause of an interval, which runs from the last time it fired and not by
// the clock; 0 for a cron line.
func (t Timetable) Every() time.Duration { return t.every }

// Next returns the n times after now at which it is due, fewer when there are none within
// five years. Those of an interval count from now.
func (t Timetable) Next(now time.Time, n int) []time.Time {
	var out []time.Time
	for at := now.In(t.loc); len(out) < n; out = append(out, at) {
		switch {
		case t.every > 0:
			at = at.Round(time.Second).Add(t.every)
		case t.cron != nil:
			at = t.cron.Next(at)
		default:
			return out
		}
		if at.IsZero() {
			break
		}
	}
	return out
}

// starBit is set by the library in a field that was written as a star.
const starBit = 1 << 63

// picksDays reports whether some days are excluded.
func (t Timetable) picksDays() bool {
	const everyMonth = 1<<13 - 1<<1
	return t.cron.Dom&starBit == 0 || t.cron.Dow&starBit == 0 || t.cron.Month&everyMonth != everyMonth
}

// horizon is how far ahead a zone's clock changes are looked at: what governments have
// announced is known for less.
const horizon = 2

// skipsMidnight finds a day, within the next years, that begins at another time than 0:00
// in loc. The broker steps from day to day at midnight; where there is none it can step
// over the day.
func skipsMidnight(loc *time.Location, now time.Time) (time.Time, bool) {
	y, m, d := now.In(loc).Date()
	for i := range horizon * 366 {
		if day := time.Date(y, m, d+i, 0, 0, 0, 0, loc); day.Hour() != 0 || day.Minute() != 0 {
			// It is shown by its noon: its midnight reads as another day.
			return time.Date(y, m, d+i, 12, 0, 0, 0, loc), true
		}
	}
	return time.Time{}, false
}
