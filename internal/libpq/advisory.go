package libpq

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Advisory is a published fault of PostgreSQL's client tools that a hostile source, archive
// or server can use against whoever runs them.
type Advisory struct {
	ID    string   // such as CVE-2025-8714
	Tools []string // pg_dump, psql, pg_restore
	What  string   // one line, without a full stop
	// Fixed is the first minor release without the fault, by major version. Majors above the
	// highest never had it; for those that are missing below it there is no such release.
	Fixed map[int]int
}

// Advisories lists what is known, the newest first. Where the versions come from is in
// docs/hostile-source.md: most are of the records that the PostgreSQL project published as
// the CVE's numbering authority. Faults of the server alone are not here, and neither are
// those of which no fixed version is known.
func Advisories() []Advisory {
	return []Advisory{
		{"CVE-2026-116314", []string{"pg_restore"}, "an archive can run code as the user of pg_restore",
			map[int]int{14: 25, 15: 20, 16: 16, 17: 12, 18: 7}},
		{"CVE-2026-18408", []string{"pg_dump", "psql", "pg_restore"}, `a hostile source can run code where its dump is restored, past \restrict`,
			map[int]int{14: 24, 15: 19, 16: 15, 17: 11, 18: 6}},
		{"CVE-2026-6477", []string{"pg_dump", "psql"}, "a hostile server can overwrite the client's stack through large objects",
			map[int]int{14: 23, 15: 18, 16: 14, 17: 10, 18: 4}},
		{"CVE-2025-8714", []string{"pg_dump", "psql", "pg_restore"}, "a hostile source can run code where its dump is restored, as psql commands",
			map[int]int{13: 22, 14: 19, 15: 14, 16: 10, 17: 6}},
		{"CVE-2025-8715", []string{"pg_dump", "pg_restore"}, "a line break in a name can run code where the dump is restored",
			map[int]int{13: 22, 14: 19, 15: 14, 16: 10, 17: 6}},
		{"CVE-2024-7348", []string{"pg_dump"}, "an owner of objects can run SQL as the role that dumps them; the server needs the same release",
			map[int]int{13: 16, 14: 13, 15: 8, 16: 4}},
	}
}

// never is the minor release of a major version that has no mended one.
const never = 1 << 30

// mended is the first minor release without the fault.
func (a Advisory) mended(major int) int {
	if major > slices.Max(slices.Collect(maps.Keys(a.Fixed))) {
		return 0
	}
	if minor, listed := a.Fixed[major]; listed {
		return minor
	}
	return never
}

// Finding is a tool with published faults.
type Finding struct {
	Tool       string
	Version    Version
	Advisories []Advisory
	// Mends is the oldest release of the tool's major version without any of them; empty: it
	// has none, another major version is needed.
	Mends string
}

// Examine reports the published faults of every tool of these names in dirs (empty: where
// BinDirs looks). It runs each with --version.
func Examine(dirs []string, tools ...string) []Finding {
	var out []Finding
	for _, tool := range tools {
		in := dirs
		if len(in) == 0 {
			in = BinDirs(tool)
		}
		for _, v := range Discover(tool, in) {
			if f, ok := v.examine(tool); ok {
				out = append(out, f)
			}
		}
	}
	return out
}

func (v Version) examine(tool string) (Finding, bool) {
	f := Finding{Tool: tool, Version: v}
	minor := 0
	for _, a := range Advisories() {
		if at := a.mended(v.Major); v.Minor < at && slices.Contains(a.Tools, tool) {
			f.Advisories, minor = append(f.Advisories, a), max(minor, at)
		}
	}
	if minor < never {
		f.Mends = strconv.Itoa(v.Major) + "." + strconv.Itoa(minor)
	}
	return f, len(f.Advisories) > 0
}

// String is one line for an operator: the tool, its faults, and what mends them.
func (f Finding) String() string {
	ids := make([]string, len(f.Advisories))
	for i, a := range f.Advisories {
		ids[i] = a.ID + " (" + a.What + ")"
	}
	mend := "no release of PostgreSQL " + strconv.Itoa(f.Version.Major) + " mends it: install a newer major version"
	if f.Mends != "" {
		mend = "install " + f.Mends + " or a later release"
	}
	return fmt.Sprintf("%s %s (%s) has %s: %s", f.Tool, f.Version.Text, f.Version.Path, strings.Join(ids, ", "), mend)
}
