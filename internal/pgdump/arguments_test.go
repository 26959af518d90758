package pgdump_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/seal"
)

func TestArguments(t *testing.T) {
	t.Parallel()
	got, err := pgdump.Arguments([]string{`Ten*ant "x"`, "--file=/tmp/x"}, "tenant", seal.Custom)
	want := []string{
		"--format=custom", "--encoding=UTF8", "--snapshot=00000003-0000001B-1", "--lock-wait-timeout=60000",
		"--no-password", "--no-owner", "--no-acl", "--no-tablespaces", "--strict-names", "--compress=0",
		"--role=tenant", `--schema="Ten*ant ""x"""`, `--schema="--file=/tmp/x"`,
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("arguments = %q, %v\nwant %q", got, err, want)
	}
}

// allowed are all arguments pg_dump may ever be given, but for --schema.
var allowed = regexp.MustCompile(`^(--format=(plain|tar|custom)|--encoding=UTF8|--snapshot=[0-9A-F-]+|` +
	`--lock-wait-timeout=60000|--no-password|--no-owner|--no-acl|--no-tablespaces|--strict-names|--compress=0)$`)

// unquote reads a pattern as pg_dump does: what is within double quotes stands for itself.
// It fails on anything outside them.
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

func FuzzArguments(f *testing.F) {
	for _, name := range []string{"s", `Ten*ant "x"`, `"`, `""`, "-n", "--file=/tmp/x", "a.b", "a\x00b", "a\nb", "", `\`, "é", "\xff"} {
		f.Add(name, "other", "role")
	}
	f.Fuzz(func(t *testing.T, a, b, role string) {
		for _, format := range []seal.Format{seal.SQL, seal.Tar, seal.Custom} {
			args, err := pgdump.Arguments([]string{a, b}, role, format)
			if err != nil {
				continue
			}
			var names []string
			for _, arg := range args {
				if strings.IndexByte(arg, 0) >= 0 {
					t.Fatalf("NUL in %q", arg)
				}
				if pattern, ok := strings.CutPrefix(arg, "--schema="); ok {
					name, ok := unquote(pattern)
					if !ok {
						t.Fatalf("%q is not one quoted name", arg)
					}
					names = append(names, name)
				} else if arg != "--role="+role && !allowed.MatchString(arg) {
					t.Fatalf("argument %q is not allowed", arg)
				}
			}
			if !slices.Equal(names, []string{a, b}) {
				t.Fatalf("schemas %q became %q", []string{a, b}, names)
			}
			if role != "" && !slices.Contains(args, "--role="+role) {
				t.Fatalf("role %q is lost", role)
			}
			if len(a) > 63 || len(b) > 63 || !utf8.ValidString(a+b) || a == "" || b == "" {
				t.Fatalf("accepted %q and %q", a, b)
			}
		}
	})
}
