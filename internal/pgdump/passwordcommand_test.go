package pgdump_test

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// A cloud's token is valid for some minutes: each attempt asks for one anew.
func TestPasswordCommandRunsForEachDump(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, simple)
	withPassword := reader(t, dsn, "GRANT USAGE ON SCHEMA s TO $login; GRANT SELECT ON ALL TABLES IN SCHEMA s TO $login; GRANT SELECT ON ALL SEQUENCES IN SCHEMA s TO $login")
	u, err := url.Parse(withPassword)
	if err != nil {
		t.Fatal(err)
	}
	login := u.User.Username()
	u.User = url.User(login)
	source := u.String()

	token := filepath.Join(t.TempDir(), login)
	rotate := func(password string) {
		t.Helper()
		execute(t, dsn, fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", login, password))
		if err := os.WriteFile(token, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := pgdump.Config{PasswordCommand: secret.Command{"cat", filepath.Join(filepath.Dir(token), "{user}")}}
	for _, password := range []string{"canary-1", "canary-2"} {
		rotate(password)
		dump := open(t, config, job(source, export.Custom, "s"))
		if b, err := io.ReadAll(dump); err != nil || !strings.HasPrefix(string(b), "PGDMP") {
			t.Errorf("with the password %q: %d bytes, %v", password, len(b), err)
		}
	}

	if err := os.Remove(token); err != nil {
		t.Fatal(err)
	}
	_, err = dumper(t, config).Open(t.Context(), job(source, export.SQL, "s"))
	f := fault(t, err, codes.SourceUnavailable)
	contains(t, "message", f.Message, "the password command gave no password for the source")
	contains(t, "error for the log", f.Err.Error(), "No such file or directory")

	execute(t, dsn, fmt.Sprintf("ALTER ROLE %s PASSWORD 'pw'", login))
	if _, err := io.Copy(io.Discard, open(t, config, job(withPassword, export.SQL, "s"))); err != nil {
		t.Errorf("a dsn with a password does not use it: %v", err)
	}
}
