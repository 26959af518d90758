package restore

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// Tools returns the names of the client tools of a restore.
func Tools() []string { return []string{"psql", "pg_restore"} }

// choosePsql returns the newest psql that pgcourier was tested with, else the newest. psql works with
// older servers too.
func choosePsql(installed []libpq.Version, restricted bool) (libpq.Version, error) {
	if len(installed) == 0 {
		return libpq.Version{}, fmt.Errorf("%w: no psql found: apt-get install --no-install-recommends postgresql-client", ErrTool)
	}
	best := slices.MaxFunc(installed, func(a, b libpq.Version) int {
		return cmp.Or(
			preferTrue(!restricted || pgversion.Restrict(a.Major, a.Minor), !restricted || pgversion.Restrict(b.Major, b.Minor)),
			preferTrue(!pgversion.Newer(a.Major), !pgversion.Newer(b.Major)),
			cmp.Compare(a.Major, b.Major), cmp.Compare(a.Minor, b.Minor))
	})
	if restricted && !pgversion.Restrict(best.Major, best.Minor) {
		return libpq.Version{}, fmt.Errorf("%w: psql %s lacks \\restrict, with which the dump begins: install %s or a later release", ErrTool, best.Text, pgversion.RestrictReleases())
	}
	return best, nil
}

// preferTrue compares two booleans; true is greater.
func preferTrue(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

// chooseRestore returns the oldest pg_restore that is at least as new as the pg_dump of the archive. A
// newer one could write settings into the script that the target lacks.
func chooseRestore(installed []libpq.Version, a export.Artifact) (libpq.Version, error) {
	wrote := libpq.LeadingNumber(a.PgDumpVersion)
	for _, v := range installed {
		if v.Major >= wrote {
			return v, nil
		}
	}
	return libpq.Version{}, fmt.Errorf("%w: the archive was written by pg_dump %s, and no pg_restore as new is installed", ErrTool, a.PgDumpVersion)
}

// archives are pg_restore's names of the formats; a plain script needs none.
var archives = map[export.Format]string{export.Tar: "tar", export.Custom: "custom", export.Directory: "directory"}
