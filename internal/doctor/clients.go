package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/libpq"
)

// checkClients looks for PostgreSQL's client tools and their published faults.
func (x *examiner) checkClients(_ context.Context, r *Report) {
	for _, tool := range []string{"pg_dump", "psql", "pg_restore"} {
		found, unknown := x.discover(tool)
		if unknown != nil {
			r.Add(tool, Finding{State: Warning, Found: "left out: " + strings.Join(strings.Fields(unknown.Error()), " "), Fix: "run it by hand with --version, and repair or remove it"})
		}
		if len(found) == 0 {
			f := Finding{State: Warning, Found: "no " + tool + " here: restores cannot run", Fix: "install postgresql-client, or set PGCOURIER_PG_BIN_DIR"}
			if tool == "pg_dump" && x.Settings.Exporting() {
				f.State, f.Found = Fault, "no pg_dump here: exports cannot run"
			}
			r.Add(tool, f)
			continue
		}
		var faulty []string
		var fixes []string
		examined, _ := libpq.Examine(x.toolDirs(), tool) // the others are named above
		for _, f := range examined {
			var ids []string
			for _, a := range f.Advisories {
				ids = append(ids, a.ID)
			}
			faulty = append(faulty, fmt.Sprintf("%s in %s has %s", f.Version.Text, f.Version.Path, strings.Join(ids, ", ")))
			fix := "install " + f.Fixes + " or a later release"
			if f.Fixes == "" {
				fix = fmt.Sprintf("replace PostgreSQL %d by a newer major version", f.Version.Major)
			}
			fixes = append(fixes, fix)
		}
		switch {
		case len(faulty) == 0 || x.Settings.ClientCheck == config.ClientsOff:
			var all []string
			for _, v := range found {
				all = append(all, v.Text+" in "+v.Path)
			}
			r.OK(tool, "%s", strings.Join(slices.Compact(all), ", "))
		default:
			f := Finding{State: Warning, Found: strings.Join(faulty, "; "), Fix: strings.Join(fixes, "; ") + ": see docs/hostile-source.md"}
			if x.Settings.ClientCheck == config.ClientsRefuse {
				f.State = Fault // no worker starts with it
			}
			r.Add(tool, f)
		}
	}
}

// toolDirs are where client tools are looked for; nil: the usual places of each.
func (x *examiner) toolDirs() []string {
	if x.Settings.PGBinDir != "" {
		return []string{x.Settings.PGBinDir}
	}
	return nil
}

// discover is libpq.Discover in these places.
func (x *examiner) discover(tool string) ([]libpq.Version, error) {
	dirs := x.toolDirs()
	if dirs == nil {
		dirs = libpq.BinDirs(tool)
	}
	return libpq.Discover(tool, dirs)
}
