package e2e_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/doctor"
)

func TestPasswordCommandIsUsedForEachDatabase(t *testing.T) {
	t.Parallel()
	p := setup(t)
	login := "cloud_" + p.database
	p.exec(fmt.Sprintf("CREATE ROLE %s LOGIN SUPERUSER PASSWORD '%s-token'", login, marked))
	u, err := url.Parse(p.dsn(login, "", p.database))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(login)
	dir := t.TempDir()
	token := filepath.Join(dir, login)
	if err := os.WriteFile(token, []byte(marked+"-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := []string{"DATABASE_URL=" + u.String(), fmt.Sprintf(`PASSWORD_COMMAND=["cat", "%s/{user}"]`, dir)}

	p.start(settings...)
	done := p.completed("acme", p.request(events.Requested{ProjectID: "acme"}))
	p.checkWhole(done)
	if stdout, stderr, code := p.cliWith(settings, "show", done.RequestID); code != 0 || !strings.Contains(stdout, "completed") {
		t.Errorf("show ended with %d: %s%s", code, stdout, stderr)
	}
	found := p.diagnose(0, settings, "--only", "database,projects", "--project", "acme")
	for _, check := range []string{"database", "projects/acme"} {
		if found[check].State != doctor.OK {
			t.Errorf("%s: %+v", check, found)
		}
	}

	if err := os.Remove(token); err != nil {
		t.Fatal(err)
	}
	f := p.diagnose(1, settings, "--only", "database")["database"]
	if f.State != doctor.Fault || !strings.Contains(f.Found, "the password command gave no password") || !strings.Contains(f.Found, "No such file or directory") ||
		!strings.Contains(f.Fix, "PGCOURIER_PASSWORD_COMMAND") {
		t.Errorf("doctor says of a failing command %+v", f)
	}
}
