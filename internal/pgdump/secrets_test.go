package pgdump_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
)

// hardPassword has the characters that passfiles, URLs and shells treat specially.
const hardPassword = `pa:ss\wo"r'd #$%/@?☃`

func TestThePasswordIsNotVisible(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, large)
	execute(t, dsn, fmt.Sprintf(`DROP ROLE IF EXISTS canary; CREATE ROLE canary LOGIN SUPERUSER PASSWORD '%s'`, strings.ReplaceAll(hardPassword, "'", "''")))
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("canary", hardPassword)
	dump := open(t, pgdump.Config{}, job(u.String(), export.SQL, "big"))
	read(t, dump, 1) // the login worked

	proc := fmt.Sprintf("/proc/%d", pgdump.ProcessID(dump))
	see := func(name string) []string {
		b, err := os.ReadFile(filepath.Join(proc, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), hardPassword) || strings.Contains(string(b), url.QueryEscape(hardPassword)) {
			t.Errorf("%s holds the password", name)
		}
		return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	}
	see("cmdline")
	var names []string
	for _, v := range see("environ") {
		name, _, _ := strings.Cut(v, "=")
		names = append(names, name)
	}
	slices.Sort(names)
	want := []string{
		"HOME", "LC_ALL", "PGAPPNAME", "PGCHANNELBINDING", "PGCONNECT_TIMEOUT", "PGDATABASE", "PGGSSENCMODE",
		"PGHOST", "PGHOSTADDR", "PGOPTIONS", "PGPASSFILE", "PGPORT", "PGSSLCERTMODE", "PGSSLMODE",
		"PGSSLNEGOTIATION", "PGSSLSNI", "PGUSER", "TZ",
	}
	if buffered(dump, export.SQL) {
		want = append(want, "LD_PRELOAD", "_STDBUF_O")
		slices.Sort(want)
	}
	if !slices.Equal(names, want) {
		t.Errorf("environment = %q\nwant %q", names, want)
	}
	target, err := os.Readlink(filepath.Join(proc, "fd", "3"))
	if err != nil || !strings.HasPrefix(target, "/memfd:pgcourier") {
		t.Errorf("passfile = %q, %v; want a memory file", target, err)
	}
	// The error text of a failure does not contain it either.
	u.User = url.UserPassword("canary", hardPassword+"x")
	_, err = dumper(t, pgdump.Config{}).Open(t.Context(), job(u.String(), export.SQL, "big"))
	if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), hardPassword) {
		t.Errorf("error = %v, want one without the password", err)
	}
}
