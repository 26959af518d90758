package pgdump

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

// ErrNoPgDump says that no pg_dump was found.
var ErrNoPgDump = errors.New("no pg_dump found: apt-get install --no-install-recommends postgresql-client")

// Version is one installed pg_dump.
type Version struct {
	Path  string // absolute
	Major int
	Minor int
	Text  string // as it names itself, for instance "15.18"; "18beta1" for a pre-release
}

// versionWait bounds `pg_dump --version`, which takes some milliseconds.
const versionWait = 10 * time.Second

var versionLine = regexp.MustCompile(`^pg_dump \(PostgreSQL\) ((\d+)(?:\.(\d+))?\S*)`)

// discover asks every pg_dump in dirs for its version, and returns the oldest major first,
// the newest minor first within it. A broken one is left out.
func discover(dirs []string) []Version {
	var found []Version
	for _, dir := range dirs {
		path, err := filepath.Abs(filepath.Join(dir, "pg_dump"))
		if err != nil {
			continue
		}
		// Debian's pg_dump on the PATH is a Perl script that looks for clusters.
		target, err := filepath.EvalSymlinks(path)
		if err != nil || filepath.Base(target) == "pg_wrapper" {
			continue
		}
		if v, err := askVersion(path); err == nil {
			found = append(found, v)
		}
	}
	slices.SortStableFunc(found, func(a, b Version) int {
		if a.Major != b.Major {
			return a.Major - b.Major
		}
		return b.Minor - a.Minor
	})
	return found
}

func askVersion(path string) (Version, error) {
	ctx, cancel := context.WithTimeout(context.Background(), versionWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Env = []string{"LC_ALL=C"}
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return Version{}, fmt.Errorf("%s --version: %w", path, err)
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return Version{}, fmt.Errorf("%s --version: not pg_dump's answer", path)
	}
	v := Version{Path: path, Text: string(m[1])}
	v.Major, _ = strconv.Atoi(string(m[2])) // digits
	v.Minor, _ = strconv.Atoi(string(m[3])) // digits, or none
	return v, nil
}

// binDirs are the folders searched by default: the versioned ones of Debian and its kin,
// newest first, then the PATH.
func binDirs() []string {
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		dirs = nil // the pattern is constant and sound
	}
	slices.SortFunc(dirs, func(a, b string) int {
		return leadingNumber(filepath.Base(filepath.Dir(b))) - leadingNumber(filepath.Base(filepath.Dir(a)))
	})
	if p, err := exec.LookPath("pg_dump"); err == nil {
		dirs = append(dirs, filepath.Dir(p))
	}
	return dirs
}

// oldestServer is the first that exports snapshots on a standby and knows declarative
// partitions.
const oldestServer = 10

// choose picks the pg_dump for a server: of its own major version, else the nearest newer.
// Any newer one reads the server as well, but what it writes is only promised to load into
// servers as new as itself: a dump by version 17 sets transaction_timeout, which stops a
// careful restore into 16.
func choose(installed []Version, ses *session) (Version, error) {
	major := ses.major()
	if major < oldestServer {
		return Version{}, &export.Fault{Code: export.VersionMismatch, Message: fmt.Sprintf(
			"the source runs PostgreSQL %s, the oldest supported is %d", printable(ses.version()), oldestServer)}
	}
	for _, v := range installed {
		if v.Major >= major {
			return v, nil
		}
	}
	return Version{}, &export.Fault{Code: export.VersionMismatch, Message: fmt.Sprintf(
		"the source runs PostgreSQL %s, the newest pg_dump here is %s",
		printable(ses.version()), installed[len(installed)-1].Text)}
}
