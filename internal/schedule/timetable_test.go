package schedule_test

import (
	"strings"
	"testing"
	"time"
	_ "unsafe" // for go:linkname

	_ "github.com/nats-io/nats-server/v2/server" // its cron is the reference

	"github.com/pgcourier/pgcourier/internal/schedule"
)

// brokerNext is the broker's own computation. It is not exported: this name makes the test fail for
// a release of the broker that computes differently.
//
//go:linkname brokerNext github.com/nats-io/nats-server/v2/server.parseCron
func brokerNext(pattern string, loc *time.Location, ts int64) (time.Time, error)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func parse(t *testing.T, line, zone string) schedule.Timetable {
	t.Helper()
	table, err := schedule.Parse(line, zone, now)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestDaylightSaving(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, line, zone, from string
		want                   []string
	}{
		{"2:30 that does not exist is left out", "30 2 * * *", "Europe/Berlin", "2027-03-27T00:00:00+01:00",
			[]string{"2027-03-27T02:30:00+01:00", "2027-03-29T02:30:00+02:00"}},
		{"2:30 that comes twice is due twice", "30 2 * * *", "Europe/Berlin", "2027-10-30T12:00:00+02:00",
			[]string{"2027-10-31T02:30:00+02:00", "2027-10-31T02:30:00+01:00", "2027-11-01T02:30:00+01:00"}},
		{"3:00 exists once on both days, in spring", "0 3 * * *", "Europe/Berlin", "2027-03-27T12:00:00+01:00",
			[]string{"2027-03-28T03:00:00+02:00", "2027-03-29T03:00:00+02:00"}},
		{"3:00 exists once on both days, in autumn", "0 3 * * *", "Europe/Berlin", "2027-10-30T12:00:00+02:00",
			[]string{"2027-10-31T03:00:00+01:00", "2027-11-01T03:00:00+01:00"}},
		{"each hour stays an hour apart", "0 * * * *", "America/New_York", "2027-03-14T00:30:00-05:00",
			[]string{"2027-03-14T01:00:00-05:00", "2027-03-14T03:00:00-04:00"}},
		{"a change of half an hour", "15 2 * * *", "Australia/Lord_Howe", "2027-10-02T12:00:00+10:30",
			[]string{"2027-10-04T02:15:00+11:00"}},
		{"the day without a midnight is run an hour later or not at all, the next as ever", "0 12 * * *", "America/Santiago", "2027-09-04T13:00:00-04:00",
			[]string{"2027-09-05T12:00:00-03:00", "2027-09-06T12:00:00-03:00"}},
		{"UTC has no such days", "30 2 * * *", "", "2027-03-27T12:00:00Z",
			[]string{"2027-03-28T02:30:00Z", "2027-03-29T02:30:00Z"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			table := parse(t, tt.line, tt.zone)
			from, err := time.Parse(time.RFC3339, tt.from)
			if err != nil {
				t.Fatal(err)
			}
			for i, at := range table.Next(from, len(tt.want)) {
				if got := at.Format(time.RFC3339); got != tt.want[i] {
					t.Errorf("run %d is at %s, want %s", i+1, got, tt.want[i])
				}
				broker, err := brokerNext(table.Pattern(), table.Location(), from.UnixNano())
				if err != nil || !broker.Equal(at) {
					t.Errorf("the broker fires at %s (%v), not at %s", broker, err, at)
				}
				from = at
			}
		})
	}
}

// For every schedule that Parse accepts, the broker fires when Next says: over zones with every
// kind of clock change, including those at midnight, and three years.
func TestNextEqualsTheBrokersComputation(t *testing.T) {
	t.Parallel()
	zones := []string{
		"", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca", "Pacific/Apia", "Europe/Dublin",
		"America/Havana", "Asia/Beirut", "Africa/Cairo", "America/Santiago", "America/Asuncion", "Atlantic/Azores", "America/Nuuk",
	}
	lines := []string{
		"30 2 * * *", "0 0 * * *", "30 0 * * *", "@daily", "@hourly", "@weekly", "@monthly", "@yearly", "*/15 * * * *", "0 3 * * sun", "0 2 31 * *",
		"15 23 * * *", "0 12 29 2 *", "0 4 1-7 * MON", "10,40 */6 * * mon-fri", "*/7 30 1 * * *", "0 1 ? 3/2 ?",
	}
	accepted, refused := 0, 0
	for _, zone := range zones {
		for _, line := range lines {
			table, err := schedule.Parse(line, zone, time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC))
			if err != nil {
				refused++
				continue
			}
			accepted++
			for at := time.Date(2024, 1, 1, 0, 7, 13, 0, time.UTC); at.Year() < 2027; at = at.Add(29 * time.Hour) {
				ours := table.Next(at, 1)
				theirs, err := brokerNext(table.Pattern(), table.Location(), at.UnixNano())
				if err != nil || len(ours) != 1 || !ours[0].Equal(theirs) {
					t.Fatalf("%q in %q after %s: ours %v, the broker's %s (%v)", line, zone, at, ours, theirs, err)
				}
			}
		}
	}
	// Those with a clock change at midnight, and lines for certain days.
	if accepted < 150 || refused < 40 {
		t.Errorf("%d accepted, %d refused: the test does not cover both", accepted, refused)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, line, zone, want string }{
		{"no fields", "", "", "has 0 fields"},
		{"too few", "0 3 * *", "", "has 4 fields"},
		{"too many", "0 0 3 * * * *", "", "has 7 fields"},
		{"an hour of the 25th", "0 25 * * *", "", `hour "25"`},
		{"weekday 7", "0 3 * * 7", "", `weekday "7"`},
		{"a word", "0 noon * * *", "", `hour "noon"`},
		{"nothing in a field", "0 , * * *", "", `hour ","`},
		{"a step of 0", "*/0 3 * * *", "", `minute "*/0"`},
		{"a range backwards", "0 5-3 * * *", "", `hour "5-3"`},
		{"30 February", "0 3 30 2 *", "", "never comes true"},
		{"a zone in the line", "CRON_TZ=Europe/Berlin 0 3 * * *", "", `second "CRON_TZ=Europe/Berlin"`},
		{"an unknown name", "@fortnightly", "", "@fortnightly"},
		{"an unknown zone", "0 3 * * *", "Europe/Atlantis", `"Europe/Atlantis"`},
		{"the machine's own zone", "0 3 * * *", "Local", `"Local"`},
		{"a path", "0 3 * * *", "../etc/localtime", "is not in the time zone database"},
		{"an interval of words", "@every day", "", `interval "day"`},
		{"an interval of nothing", "@every 0s", "", "shorter than 1s"},
		{"an interval in a zone", "@every 6h", "Europe/Berlin", "no time zone"},
		{"a weekday where midnight is skipped", "0 3 * * sun", "America/Santiago", "skip midnight on 2027-09-05"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := schedule.Parse(tt.line, tt.zone, now)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestIntervals(t *testing.T) {
	t.Parallel()
	table := parse(t, " @every  6h ", "")
	if table.Pattern() != "@every 6h0m0s" || table.Every() != 6*time.Hour {
		t.Errorf("got %q", table.Pattern())
	}
	next := table.Next(now, 2)
	if !next[0].Equal(now.Add(6*time.Hour)) || !next[1].Equal(now.Add(12*time.Hour)) {
		t.Errorf("due at %v", next)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"0 3 * * *", "*/5 0 3 1-7 jan-mar mon", "@every 90m", "@daily", "0 3 30 2 *", "? ? ? ? ?", "1,,2 3 * * *"} {
		f.Add(s, "Europe/Berlin")
		f.Add(s, "")
	}
	f.Fuzz(func(t *testing.T, line, zone string) {
		table, err := schedule.Parse(line, zone, now)
		if err != nil {
			return
		}
		at := table.Next(now, 3)
		if len(at) == 0 || !at[0].After(now) {
			t.Fatalf("%q in %q is due at %v", line, zone, at)
		}
		if table.Every() > 0 {
			return
		}
		theirs, err := brokerNext(table.Pattern(), table.Location(), now.UnixNano())
		if err != nil || !theirs.Equal(at[0]) {
			t.Fatalf("%q in %q: ours %s, the broker's %s (%v)", line, zone, at[0], theirs, err)
		}
	})
}
