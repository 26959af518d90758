package pgversion

import (
	"maps"
	"slices"
)

// Advisory is a published fault of PostgreSQL's client tools that a hostile source, archive
// or server can use against the one that runs them.
type Advisory struct {
	ID    string   // such as CVE-2025-8714
	Tools []string // pg_dump, psql, pg_restore
	What  string   // one line, without a full stop
	// Fixed is the first minor release without the fault, by major version. Majors above the
	// highest never had it; for those that are missing below it there is no such release.
	Fixed map[int]int
}

// Advisories lists what is known, the newest first. docs/hostile-source.md says where the
// versions come from: most are of the records that the PostgreSQL project published as the
// CVE's numbering authority. Faults of the server alone are not here, and neither are those of
// which no fixed version is known.
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

// Unfixed is greater than any minor release.
const Unfixed = 1 << 30

// FixedIn is the first minor release of the major version without the fault; Unfixed if there
// is none.
func (a Advisory) FixedIn(major int) int {
	if major > slices.Max(slices.Collect(maps.Keys(a.Fixed))) {
		return 0
	}
	if minor, listed := a.Fixed[major]; listed {
		return minor
	}
	return Unfixed
}
