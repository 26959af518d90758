package pgdump_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
)

func TestArguments(t *testing.T) {
	t.Parallel()
	got, err := pgdump.Arguments([]string{`Ten*ant "x"`, "--file=/tmp/x"}, "tenant", pgdump.Snapshot, export.Custom)
	want := []string{
		"--format=custom", "--encoding=UTF8", "--snapshot=00000003-0000001B-1", "--lock-wait-timeout=60000",
		"--no-password", "--no-owner", "--no-acl", "--no-tablespaces", "--strict-names", "--no-publications", "--no-subscriptions", "--compress=0",
		"--role=tenant", `--schema="Ten*ant ""x"""`, `--schema="--file=/tmp/x"`,
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("arguments = %q, %v\nwant %q", got, err, want)
	}
}

func TestArgumentsOfADirectory(t *testing.T) {
	t.Parallel()
	got, err := pgdump.Arguments([]string{"s"}, "", pgdump.Snapshot, export.Directory)
	want := []string{
		"--format=directory", "--encoding=UTF8", "--snapshot=00000003-0000001B-1", "--lock-wait-timeout=60000",
		"--no-password", "--no-owner", "--no-acl", "--no-tablespaces", "--strict-names", "--no-publications", "--no-subscriptions", "--compress=0",
		"--file=/spool/folder", "--jobs=3", "--no-sync", `--schema="s"`,
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("arguments = %q, %v\nwant %q", got, err, want)
	}
}

// Only options for what the database lacks are left out.
func TestArgumentsOfADatabaseWithoutCommentsOrLabels(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		client           int
		comments, labels bool
		want             []string
	}{
		{15, true, true, nil},
		{15, false, true, []string{"--no-comments"}},
		{15, true, false, []string{"--no-security-labels"}},
		{18, false, false, []string{"--no-comments", "--no-security-labels"}},
		{10, false, false, []string{"--no-security-labels"}}, // it has no such option
	} {
		args, err := pgdump.ArgumentsBeside(c.client, c.comments, c.labels, []string{"s"}, "", pgdump.Snapshot, export.SQL)
		all, allErr := pgdump.Arguments([]string{"s"}, "", pgdump.Snapshot, export.SQL)
		more := slices.DeleteFunc(args, func(a string) bool { return slices.Contains(all, a) })
		if err != nil || allErr != nil || !slices.Equal(more, c.want) {
			t.Errorf("%+v: more arguments %q, %v, %v", c, more, err, allErr)
		}
	}
}

// allowed are all arguments that pg_dump may get, except --schema.
var allowed = regexp.MustCompile(`^(--format=(plain|tar|custom|directory)|--encoding=UTF8|--snapshot=[0-9A-F-]+|` +
	`--lock-wait-timeout=60000|--no-password|--no-owner|--no-acl|--no-tablespaces|--strict-names|--no-publications|--no-subscriptions|--compress=0|` +
	`--file=/spool/folder|--jobs=3|--no-sync)$`)

// unquote reads a pattern as pg_dump does: text within double quotes is literal. It fails on any
// text outside them.
func unquote(pattern string) (string, bool) {
	var b strings.Builder
	inside := false
	for i := 0; i < len(pattern); i++ {
		switch {
		case pattern[i] != '"':
			if !inside {
				return "", false
			}
			b.WriteByte(pattern[i])
		case inside && i+1 < len(pattern) && pattern[i+1] == '"':
			b.WriteByte('"')
			i++
		default:
			inside = !inside
		}
	}
	return b.String(), !inside
}

// Accepted input gives arguments of an allow-list, each once, in which the names read back as
// exactly the requested ones. No value becomes an argument of its own that pg_dump could read as an
// option.
func FuzzArguments(f *testing.F) {
	for _, name := range []string{"s", `Ten*ant "x"`, `"`, `""`, "-n", "--file=/tmp/x", "a.b", "a\x00b", "a\nb", "", `\`, "é", "\xff", "$(id)", "'; --", strings.Repeat("x", 63), strings.Repeat("x", 64)} {
		f.Add(name, "other", "role", pgdump.Snapshot)
	}
	f.Add("s", "t", "--file=/tmp/x", pgdump.Snapshot)
	f.Add("s", "t", "", "1 --file=/tmp/x")
	f.Fuzz(func(t *testing.T, a, b, role, snapshot string) {
		for _, format := range formats {
			asked := []string{a, b}
			args, err := pgdump.Arguments(asked, role, snapshot, format)
			if err != nil {
				if args != nil {
					t.Fatalf("refused with %v, and yet %q", err, args)
				}
				continue
			}
			checkArguments(t, args, asked, role)
			if !slices.Contains(args, "--snapshot="+snapshot) {
				t.Fatalf("snapshot %q is lost in %q", snapshot, args)
			}
		}
	})
}

func checkArguments(t *testing.T, args, asked []string, role string) {
	t.Helper()
	var names, roles []string
	seen := map[string]bool{}
	for _, arg := range args {
		option, value, _ := strings.Cut(arg, "=")
		switch {
		case strings.IndexByte(arg, 0) >= 0:
			t.Fatalf("NUL in %q", arg)
		case option == "--schema":
			name, ok := unquote(value)
			if !ok {
				t.Fatalf("%q is not one quoted name", arg)
			}
			names = append(names, name)
			continue
		case option == "--role":
			roles = append(roles, value)
		case !allowed.MatchString(arg):
			t.Fatalf("argument %q is not allowed", arg)
		}
		if seen[option] {
			t.Fatalf("%s is given twice: %q", option, args)
		}
		seen[option] = true
	}
	if !slices.Equal(names, asked) {
		t.Fatalf("schemas %q became %q", asked, names)
	}
	if role == "" && roles != nil || role != "" && !slices.Equal(roles, []string{role}) {
		t.Fatalf("role %q became %q", role, roles)
	}
	for _, must := range []string{"--no-password", "--strict-names", "--snapshot", "--format", "--lock-wait-timeout"} {
		if !seen[must] {
			t.Fatalf("%s is missing: %q", must, args)
		}
	}
	for _, name := range append(slices.Clone(asked), roles...) {
		if len(name) > 63 || !utf8.ValidString(name) || name == "" {
			t.Fatalf("accepted %q", name)
		}
	}
}
