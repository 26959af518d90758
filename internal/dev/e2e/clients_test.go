package e2e_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/faketool"
	"github.com/pgcourier/pgcourier/internal/dev/sandboxtest"
)

// faultyRelease is a release with the published fault cve in all its client tools. fixes is the
// oldest release with a pg_dump without faults.
type faultyRelease struct{ version, cve, fixes string }

// faultyReleases are old releases by major version.
var faultyReleases = map[int]faultyRelease{
	14: {"14.18", "CVE-2025-8714", "14.24"},
	15: {"15.13", "CVE-2025-8714", "15.19"},
	16: {"16.1", "CVE-2025-8714", "16.15"},
	17: {"17.5", "CVE-2025-8714", "17.11"},
	18: {"18.3", "CVE-2026-18408", "18.6"},
}

// faulty is an old release of the server's own major version: a tool of another major version would
// be refused, or not selected, for that reason.
func faulty(t *testing.T) faultyRelease {
	t.Helper()
	f, ok := faultyReleases[cluster.Major]
	if !ok {
		t.Fatalf("PostgreSQL %d: name an old release with published faults", cluster.Major)
	}
	return f
}

// oldClients is a folder of working client tools that report this version.
func oldClients(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	for _, tool := range []string{"pg_dump", "psql", "pg_restore"} {
		script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = --version ] && exec echo '%s (PostgreSQL) %s'\nexec %s \"$@\"\n", tool, version, filepath.Join(cluster.BinDir, tool))
		faketool.Install(t, filepath.Join(dir, tool), script)
	}
	return dir
}

func TestToolsWithPublishedFaultsAreReportedOrRefused(t *testing.T) {
	t.Parallel()
	p := setup(t)
	release := faulty(t)
	old := "PG_BIN_DIR=" + oldClients(t, release.version)
	w := p.start(old)
	w.awaitLog("client tool with published faults")
	for _, want := range []string{release.cve, "install " + release.fixes + " or a later release"} {
		if !strings.Contains(w.logs.String(), want) {
			t.Errorf("the worker's log lacks %q", want)
		}
	}
	id := p.request(events.Requested{ProjectID: "globex", RequestID: "old"})
	p.completed("globex", id)
	p.provision("ROLES=verifier")

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"serve"}, "pg_dump " + release.version},
		{[]string{"serve"}, "pg_restore " + release.version}, // for projects that are dumped together
		{[]string{"serve", "--roles", "verifier"}, "pg_restore " + release.version},
		{[]string{"verify", "globex/old", "--restore"}, "psql " + release.version},
		{[]string{"restore", "globex/old", "--to", "postgres://nobody@127.0.0.1:1/none"}, "psql " + release.version},
	} {
		_, out, code := p.cliWith([]string{old, "CLIENT_CHECK=refuse"}, c.args...)
		if code != 2 || !strings.Contains(out, c.want) || !strings.Contains(out, "or a later release") {
			t.Errorf("%v with CLIENT_CHECK=refuse: exit code %d, %s", c.args, code, out)
		}
	}
	if _, out, _ := p.cliWith([]string{old, "CLIENT_CHECK=refuse"}, "serve", "--group-max", "1"); strings.Contains(out, "pg_restore") || !strings.Contains(out, "pg_dump "+release.version) {
		t.Errorf("serve --group-max 1 with CLIENT_CHECK=refuse: %s", out)
	}
	// Reading back runs no client tool.
	if _, out, code := p.cliWith([]string{old, "CLIENT_CHECK=refuse"}, "verify", "globex/old"); code != 0 {
		t.Errorf("verify without --restore: exit code %d, %s", code, out)
	}
	if _, out, _ := p.cliWith([]string{old, "CLIENT_CHECK=off"}, "restore", "globex/old", "--to", "postgres://nobody@127.0.0.1:1/none"); strings.Contains(out, "CVE") {
		t.Errorf("with CLIENT_CHECK=off: %s", out)
	}
}

// An archive of an unknown version cannot be read, so it fails at once. Plain text of the same
// pg_dump, and archives of a known version, pass.
func TestAnArchiveNewerThanAnyKnownIsRefused(t *testing.T) {
	t.Parallel()
	p := setup(t)
	genuine := filepath.Join(cluster.BinDir, "pg_dump")
	// The seventh byte of an archive of format custom is its version's minor number.
	script := fmt.Sprintf(`#!/bin/sh
[ "$1" = --version ] && exec echo 'pg_dump (PostgreSQL) 99.1'
case "$*" in
*--format=custom*) %[1]s "$@" | { head -c 6; head -c 1 >/dev/null; printf '\143'; exec cat; };;
*) exec %[1]s "$@";;
esac
`, genuine)
	dir := t.TempDir()
	faketool.Install(t, filepath.Join(dir, "pg_dump"), script)
	p.start("PG_BIN_DIR="+dir, "GROUP_MAX=1")
	p.request(events.Requested{ProjectID: "globex", RequestID: "unknown", Format: events.FormatCustom})
	f := p.failed("globex", "unknown", codes.VersionMismatch, 1)
	if !strings.Contains(f.Message, "ask for format sql, or update pgcourier") {
		t.Errorf("the message is %q", f.Message)
	}
	for _, format := range []events.Format{events.FormatSQL, events.FormatTar} {
		p.request(events.Requested{ProjectID: "globex", RequestID: string(format), Format: format})
		if c := p.completed("globex", string(format)); c.PgDumpVersion != "99.1" {
			t.Errorf("%s: by pg_dump %s", format, c.PgDumpVersion)
		}
	}
}

// hostileView is a function of the source that a restore runs when it fills the view. It looks for
// a table that only the platform has, for a server beside its own, and for files.
const hostileView = `
CREATE FUNCTION tenant_globex.look() RETURNS text LANGUAGE plpgsql AS $fn$
BEGIN
  PERFORM pg_read_file('/etc/hostname');
  RETURN 'read a file';
EXCEPTION WHEN insufficient_privilege OR undefined_file THEN
  RETURN 'nothing';
END $fn$;
CREATE MATERIALIZED VIEW tenant_globex.looked AS SELECT tenant_globex.look() AS found;
ALTER TABLE tenant_globex.parts ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_globex.parts FORCE ROW LEVEL SECURITY;`

func TestAVerificationIsSandboxed(t *testing.T) {
	t.Parallel()
	sandboxtest.Need(t)
	p := setup(t)
	p.exec(hostileView)
	p.start()
	for id, format := range map[string]events.Format{"plain": events.FormatSQL, "tarred": events.FormatTar, "archived": events.FormatCustom, "foldered": events.FormatDirectory} {
		p.request(events.Requested{ProjectID: "globex", RequestID: id, Format: format})
		p.completed("globex", id)
	}
	for i, id := range []string{"plain", "tarred", "archived", "foldered"} {
		for j, mode := range []string{"require", "off"} {
			if !*everyCombination && (i == 1) != (j == 1) { // a server of its own for each
				continue
			}
			stdout, stderr, code := p.cliWith([]string{"SANDBOX=" + mode}, "verify", "globex/"+id, "--restore")
			if code != 0 || !strings.Contains(stdout, "every table counted there") {
				t.Errorf("%s, SANDBOX=%s: exit code %d, %s%s", id, mode, code, stdout, stderr)
			}
		}
	}
	// psql is confined in a restore too, with the network that it needs.
	if err := executeIn(t.Context(), "postgres", "CREATE DATABASE "+p.database+"_restored"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := executeIn(p.ctx, "postgres", "DROP DATABASE "+p.database+"_restored WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	to := []string{"SANDBOX=require", "RESTORE_URL=" + cluster.URL(p.database+"_restored")}
	if stdout, stderr, code := p.cliWith(to, "restore", "globex/archived"); code != 0 {
		t.Errorf("restore in a sandbox: exit code %d, %s%s", code, stdout, stderr)
	}

	t.Run("the kernel permits no more namespaces", func(t *testing.T) {
		sandboxtest.Namespaces(t, "--user", "--map-root-user")
		binary, err := exec.LookPath("pgcourier")
		if err != nil {
			t.Fatal(err)
		}
		for mode, want := range map[string]string{"require": "SANDBOX=require: no sandbox", "auto": "run without a sandbox"} {
			cmd := exec.CommandContext(t.Context(), "unshare", "--user", "--map-root-user", "sh", "-c",
				"echo 0 >/proc/sys/user/max_mnt_namespaces && exec "+binary+" restore globex/plain --clean")
			cmd.Env = append([]string{"PATH=/usr/bin:/bin"}, p.environ("SANDBOX="+mode, to[1])...)
			out, err := cmd.CombinedOutput()
			if !strings.Contains(string(out), want) || (err == nil) != (mode == "auto") {
				t.Errorf("without namespaces, SANDBOX=%s: %v, %s", mode, err, out)
			}
		}
	})
}
