package libpq

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// Finding is a tool with published faults.
type Finding struct {
	Tool       string
	Version    Version
	Advisories []pgversion.Advisory
	// Fixes is the oldest release of the tool's major version without any of them; empty: it
	// has none, another major version is needed.
	Fixes string
}

// Examine reports the published faults of every tool of these names in dirs (empty: where
// BinDirs looks). It runs each with --version. The error names the tools that were not examined, as that of
// Discover.
func Examine(dirs []string, tools ...string) ([]Finding, error) {
	var out []Finding
	var unknown []error
	for _, tool := range tools {
		in := dirs
		if len(in) == 0 {
			in = BinDirs(tool)
		}
		found, err := Discover(tool, in)
		unknown = append(unknown, err)
		for _, v := range found {
			if f, ok := v.examine(tool); ok {
				out = append(out, f)
			}
		}
	}
	return out, errors.Join(unknown...)
}

func (v Version) examine(tool string) (Finding, bool) {
	f := Finding{Tool: tool, Version: v}
	minor := 0
	for _, a := range pgversion.Advisories() {
		if at := a.FixedIn(v.Major); v.Minor < at && slices.Contains(a.Tools, tool) {
			f.Advisories, minor = append(f.Advisories, a), max(minor, at)
		}
	}
	if minor < pgversion.Unfixed {
		f.Fixes = strconv.Itoa(v.Major) + "." + strconv.Itoa(minor)
	}
	return f, len(f.Advisories) > 0
}

// String is one line for an operator: the tool, its faults, and what fixes them.
func (f Finding) String() string {
	ids := make([]string, len(f.Advisories))
	for i, a := range f.Advisories {
		ids[i] = a.ID + " (" + a.What + ")"
	}
	fix := "no release of PostgreSQL " + strconv.Itoa(f.Version.Major) + " fixes it: install a newer major version"
	if f.Fixes != "" {
		fix = "install " + f.Fixes + " or a later release"
	}
	return fmt.Sprintf("%s %s (%s) has %s: %s", f.Tool, f.Version.Text, f.Version.Path, strings.Join(ids, ", "), fix)
}
