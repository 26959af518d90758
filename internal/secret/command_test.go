package secret_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pgcourier/pgcourier/internal/secret"
)

func TestCommandPrintsThePassword(t *testing.T) {
	t.Setenv("PGCOURIER_SMTP_URL", "smtp://u:canary-1@h")
	t.Setenv("CLOUD_PROFILE", "prod")
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	t.Setenv("WATCHDOG_PID", "1")
	password := func(c ...string) (string, error) {
		return secret.Command(c).Password(t.Context(), "db.example.org", 5433, "it's; $(id)", "d")
	}
	for want, c := range map[string][]string{
		"":                                      nil,
		"db.example.org:5433 it's; $(id)@d {x}": {"echo", "{host}:{port} {user}@{dbname} {x}"},
		" a b ":                                 {"printf", ` a b \r\n`},
		"no line break":                         {"printf", "no line break"},
		"prod":                                  {"printenv", "CLOUD_PROFILE"},
		strings.Repeat("x", 65535):              {"sh", "-c", "head -c 65535 /dev/zero | tr '\\0' x; echo"},
	} {
		if got, err := password(c...); got != want || err != nil {
			t.Errorf("%q prints %.80q, %v; want %.80q", c, got, err, want)
		}
	}
	for want, c := range map[string][]string{
		"it printed nothing":                   {"true"},
		"it printed more than one line":        {"printf", `canary-2\ncanary-2\n`},
		"it printed more than 65535 bytes":     {"sh", "-c", "head -c 65540 /dev/zero | tr '\\0' x"},
		`exit status 3: "no \x1b credentials"`: {"sh", "-c", `printf 'no \033 credentials\n' >&2; echo canary-2; exit 3`},
		"executable file not found":            {"no-such-program-here"},
		"exit status 1":                        {"printenv", "PGCOURIER_SMTP_URL"},
		`exit status 4: "none"`:                {"sh", "-c", `[ -z "$NOTIFY_SOCKET$WATCHDOG_PID" ] && echo none >&2; exit 4`},
	} {
		got, err := password(c...)
		if got != "" || !errors.Is(err, secret.ErrCommand) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q prints %.80q, %v; want an error with %q", c, got, err, want)
		}
	}
}

// The names come from a connection string, which may be another's than the operator's.
func TestCommandTakesNoOptionAndNoPathFromNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ arg, host, user, dbname string }{
		{"{host}", "-o", "u", "d"}, {"f/{user}", "h", "../other", "d"}, {"{user}", "h", "--all", "d"}, {"{dbname}", "h", "u", "a/b"},
	} {
		got, err := secret.Command{"echo", c.arg}.Password(t.Context(), c.host, 1, c.user, c.dbname)
		if got != "" || !errors.Is(err, secret.ErrCommand) {
			t.Errorf("%+v prints %q, %v", c, got, err)
		}
	}
	if got, err := (secret.Command{"echo", "{host}"}).Password(t.Context(), "/var/run/postgresql", 1, "a/b", "-d"); got != "/var/run/postgresql" {
		t.Errorf("names that are not used: %q, %v", got, err)
	}
}

func TestCommandEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	begun := filepath.Join(t.TempDir(), "begun")
	if err := syscall.Mkfifo(begun, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the export was cancelled")
	go func() {
		_, _ = os.ReadFile(begun) // once the program has written
		cancel(why)
	}()
	_, err := secret.Command{"sh", "-c", `: >"$0"; exec sleep 3600`, begun}.Password(ctx, "", 0, "", "")
	if !errors.Is(err, why) || !errors.Is(err, secret.ErrCommand) {
		t.Errorf("the error is %v", err)
	}
}

func TestCommandIsAnArrayOfArguments(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]secret.Command{
		"":                     nil,
		`["a", "b c", "{}"]`:   {"a", "b c", "{}"},
		"[\"a\",\n \"--b=1\"]": {"a", "--b=1"},
	} {
		var c secret.Command
		if err := c.UnmarshalText([]byte(text)); err != nil || !slices.Equal(c, want) {
			t.Errorf("%s is %q, %v", text, c, err)
		}
	}
	for _, text := range []string{"aws rds token", `[]`, `[""]`, `"a"`, `["a", 1]`, `{"a": "b"}`, "null"} {
		var c secret.Command
		if err := c.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%s is %q", text, c)
		}
	}
}
