package pgversion

import (
	"strconv"
	"strings"
)

// restricts are the first minor releases with a pg_dump that writes \restrict and a psql that
// knows it, by major version, the oldest first. All from the last on do (CVE-2025-8714).
var restricts = []struct{ major, minor int }{{13, 22}, {14, 19}, {15, 14}, {16, 10}, {17, 6}, {18, 0}}

// Restrict says whether the client tools of this release know \restrict.
func Restrict(major, minor int) bool {
	for _, r := range restricts {
		if r.major == major {
			return minor >= r.minor
		}
	}
	return major > restricts[len(restricts)-1].major
}

// RestrictReleases lists the first releases that know \restrict, such as "17.6, 18".
func RestrictReleases() string {
	var out []string
	for _, r := range restricts {
		text := strconv.Itoa(r.major)
		if r.minor > 0 {
			text += "." + strconv.Itoa(r.minor)
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}
