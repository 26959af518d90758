package libpq

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Version is one installed client tool.
type Version struct {
	Path  string // absolute
	Major int
	Minor int
	Text  string // as it names itself, for instance "15.18"; "18beta1" for a pre-release
}

// versionWait bounds `TOOL --version`, which takes some milliseconds.
const versionWait = 10 * time.Second

var versionLine = regexp.MustCompile(`^(\w+) \(PostgreSQL\) ((\d+)(?:\.(\d+))?\S*)`)

// Discover asks every tool of that name (pg_dump, psql, pg_restore) in dirs for its version,
// and returns the oldest major first, the newest minor first within it. A broken one is
// left out, and so is Debian's on the PATH, a Perl script that looks for clusters.
func Discover(tool string, dirs []string) []Version {
	var found []Version
	for _, dir := range dirs {
		path, err := filepath.Abs(filepath.Join(dir, tool))
		if err != nil {
			continue
		}
		target, err := filepath.EvalSymlinks(path)
		if err != nil || filepath.Base(target) == "pg_wrapper" {
			continue
		}
		if v, err := askVersion(path, tool); err == nil {
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

func askVersion(path, tool string) (Version, error) {
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
	if m == nil || string(m[1]) != tool {
		return Version{}, fmt.Errorf("%s --version: not the answer of %s", path, tool)
	}
	v := Version{Path: path, Text: string(m[2])}
	v.Major, _ = strconv.Atoi(string(m[3])) // digits
	v.Minor, _ = strconv.Atoi(string(m[4])) // digits, or none
	return v, nil
}

// BinDirs are the folders searched by default: the versioned ones of Debian and its kin,
// newest first, then where the PATH has the tool.
func BinDirs(tool string) []string {
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		dirs = nil // the pattern is constant and sound
	}
	slices.SortFunc(dirs, func(a, b string) int {
		return LeadingNumber(filepath.Base(filepath.Dir(b))) - LeadingNumber(filepath.Base(filepath.Dir(a)))
	})
	if p, err := exec.LookPath(tool); err == nil && !slices.Contains(dirs, filepath.Dir(p)) {
		dirs = append(dirs, filepath.Dir(p))
	}
	return dirs
}
