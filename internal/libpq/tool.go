package libpq

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

// ErrNoAnswer means that a tool did not answer `--version` in time, as on an overloaded machine.
var ErrNoAnswer = errors.New("no answer")

// Discover asks every tool of that name (pg_dump, psql, pg_restore) in dirs for its version,
// and returns the oldest major first, the newest minor first within it. Debian's on the PATH, a Perl
// script that looks for clusters, is left out. So is one that does not say its version: the error
// names each of these, with ErrNoAnswer if it took more than 10 s. The others are returned with it.
func Discover(tool string, dirs []string) ([]Version, error) {
	return discover(tool, dirs, versionWait)
}

func discover(tool string, dirs []string, wait time.Duration) ([]Version, error) {
	var found []Version
	var unknown []error
	for _, dir := range dirs {
		path, err := filepath.Abs(filepath.Join(dir, tool))
		if err != nil {
			continue
		}
		target, err := filepath.EvalSymlinks(path)
		if err != nil || filepath.Base(target) == "pg_wrapper" {
			continue
		}
		v, err := askVersion(path, tool, wait)
		if err != nil {
			unknown = append(unknown, err)
			continue
		}
		found = append(found, v)
	}
	slices.SortStableFunc(found, func(a, b Version) int {
		if a.Major != b.Major {
			return a.Major - b.Major
		}
		return b.Minor - a.Minor
	})
	return found, errors.Join(unknown...)
}

func askVersion(path, tool string, wait time.Duration) (Version, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Env = []string{"LC_ALL=C"}
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil && ctx.Err() != nil {
		return Version{}, fmt.Errorf("%s --version: %w in %s, so this %s is not used: is the machine overloaded?", path, ErrNoAnswer, wait, tool)
	}
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
