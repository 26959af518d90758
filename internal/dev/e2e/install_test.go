package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/doctor"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// given stands for the content of a secret's file.
const given = "postgres://user@db/platform"

// loadFrom reads variables as the process would, with its secrets in files of a folder.
func loadFrom(t *testing.T, variables map[string]string, secrets string) config.Config {
	t.Helper()
	folder := t.TempDir()
	for name, value := range variables {
		file, ok := strings.CutPrefix(value, secrets+"/")
		if !ok {
			continue
		}
		variables[name] = filepath.Join(folder, file)
		if err := os.WriteFile(variables[name], []byte(given), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load(environOf(variables), nil)
	if err != nil {
		t.Errorf("the variables %v: %v", slices.Sorted(maps.Keys(variables)), err)
	}
	if len(c.AgeRecipients) > 0 && !slices.Equal(c.AgeRecipients, []string{seal.Placeholder}) {
		t.Errorf("the recipients are %q, want the placeholder", c.AgeRecipients)
	}
	return c
}

// A recipient in a shipped file could be left unchanged, and all exports would be lost. The
// examples of events are not settings, and an event's recipient must be one.
func TestNoShippedFileHoldsARecipient(t *testing.T) {
	t.Parallel()
	recipient := regexp.MustCompile(`age1[a-z0-9]{50,}`)
	for _, folder := range []string{"deploy", "docs", "schemas"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasPrefix(path, filepath.Join(root, "schemas", "examples")) {
				return err
			}
			text, err := os.ReadFile(path)
			for _, found := range recipient.FindAllString(string(text), -1) {
				if _, err := seal.ParseRecipients([]string{found}); err == nil {
					t.Errorf("%s holds the recipient %s", path, found)
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	for _, found := range recipient.FindAllString(readRoot(t, "README.md"), -1) {
		t.Errorf("README.md holds the recipient %s", found)
	}
}

func TestTheShippedPlaceholderIsRefusedByName(t *testing.T) {
	t.Parallel()
	r := command(t, []string{"DATABASE_URL=postgres://user@127.0.0.1:1/none", "AGE_RECIPIENTS=" + seal.Placeholder}, "serve")
	if r.code != 2 || !strings.Contains(r.stderr, "PGCOURIER_AGE_RECIPIENTS: recipient 1 of 1 is the example") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
}

// unit holds the values of each directive of a unit file, by section.
type unit map[string][]string

func readUnit(t *testing.T, name string) unit {
	t.Helper()
	u, section := unit{}, ""
	for line := range strings.Lines(readRoot(t, name)) {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, "=")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = line
		case !ok:
			t.Errorf("%s: %q", name, line)
		default:
			u[section+key] = append(u[section+key], value)
		}
	}
	return u
}

// one is the only value of a directive in a service.
func (u unit) one(t *testing.T, key string) string {
	t.Helper()
	if v := u["[Service]"+key]; len(v) == 1 {
		return v[0]
	}
	t.Errorf("%s is %q", key, u["[Service]"+key])
	return ""
}

// environment is the environment of a unit, with its EnvironmentFile if that is in docs.
func (u unit) environment(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	lines := slices.Concat(u["[Service]Environment"])
	if file := path.Base(u.one(t, "EnvironmentFile")); file == "pgcourier.env" {
		lines = append(lines, strings.Split(readRoot(t, "deploy/systemd/"+file), "\n")...)
	}
	for _, line := range lines {
		if strings.HasPrefix(line, "#") {
			continue
		}
		for _, pair := range strings.Fields(line) {
			k, v, _ := strings.Cut(pair, "=")
			out[k] = v
		}
	}
	return out
}

func TestTheUnitsFitTheProgram(t *testing.T) {
	t.Parallel()
	roles := map[string]string{}
	for _, name := range deployFiles(t, "systemd/*.service") {
		u := readUnit(t, name)
		command := strings.Fields(u.one(t, "ExecStart"))
		if command[0] != "/usr/local/bin/pgcourier" || !strings.Contains(readRoot(t, "docs/install.md"), command[0]) {
			t.Errorf("%s runs %s", name, command[0])
		}
		accepts(t, name, command[1:])
		roles[strings.Join(command[1:], " ")] = name
		variables := u.environment(t)
		for _, c := range u["[Service]LoadCredential"] {
			id, _, _ := strings.Cut(c, ":")
			used := variables["PGCOURIER_NATS_KEYS"] == "%d" && strings.HasSuffix(id, ".nk")
			for _, v := range variables {
				used = used || v == "%d/"+id
			}
			if !used {
				t.Errorf("%s loads the credential %s for nothing", name, id)
			}
		}
		c := loadFrom(t, variables, "%d")
		if state := "/var/lib/" + u.one(t, "StateDirectory"); c.DataDir != state || u.one(t, "WorkingDirectory") != state {
			t.Errorf("%s: DATA_DIR is %s, writable is %s", name, c.DataDir, state)
		}
		minutes, err := strconv.Atoi(strings.TrimSuffix(u.one(t, "TimeoutStopSec"), "min"))
		if stop := time.Duration(minutes) * time.Minute; err != nil || stop <= c.DrainTimeout {
			t.Errorf("%s is given %s to stop, its exports %s (%v)", name, stop, c.DrainTimeout, err)
		}
		// If pg_dump got the SIGTERM too, its attempt would fail.
		for key, want := range map[string]string{
			"KillMode": "mixed", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "PrivateTmp": "yes", "UMask": "0077", "StateDirectoryMode": "0700",
			"CapabilityBoundingSet": "", "RestartPreventExitStatus": "2",
			"Type": "notify", "NotifyAccess": "main", // what it starts tells systemd nothing
		} {
			if got := u.one(t, key); got != want {
				t.Errorf("%s: %s is %q, want %q", name, key, got, want)
			}
		}
	}
	// The sandbox mounts its own /proc and makes namespaces. The kernel permits that only if
	// nothing is mounted over the existing /proc.
	for _, role := range []string{"verifier", "restorer"} {
		u := readUnit(t, roles["serve --roles "+role])
		for _, key := range []string{"ProtectKernelTunables", "ProtectKernelLogs", "ProcSubset", "MemoryDenyWriteExecute"} {
			if v := u["[Service]"+key]; len(v) > 0 {
				t.Errorf("the sandbox of the %s does not run with %s=%s", role, key, v)
			}
		}
		permitted := strings.Fields(u.one(t, "RestrictNamespaces"))
		for _, namespace := range []string{"user", "pid", "net", "uts", "mnt", "ipc"} {
			if !slices.Contains(permitted, namespace) {
				t.Errorf("the sandbox of the %s may not make a namespace of kind %s", role, namespace)
			}
		}
		if filters := u["[Service]SystemCallFilter"]; !slices.Equal(filters, []string{"@system-service @mount", "~@resources"}) {
			t.Errorf("the sandbox of the %s mounts, and its system calls are %q", role, filters)
		}
	}
	if filters := readUnit(t, roles["serve"])["[Service]SystemCallFilter"]; filters[len(filters)-1] != "sched_setscheduler" {
		t.Errorf("the worker may not make pg_dump a batch process: %q", filters)
	}
	if len(roles) != 4 || roles["serve"] == "" || roles["serve --roles notifier"] == "" || roles["serve --roles restorer"] == "" {
		t.Errorf("units for %v", roles)
	}
}

// The packages bring what the units name.
func TestThePackagesFitTheUnits(t *testing.T) {
	t.Parallel()
	holds := func(file, text string) {
		t.Helper()
		if !strings.Contains(readRoot(t, "deploy/packages/"+file), text) {
			t.Errorf("deploy/packages/%s has no %q", file, text)
		}
	}
	for _, name := range deployFiles(t, "systemd/*.service") {
		u := readUnit(t, name)
		login, settings := u.one(t, "User"), u.one(t, "EnvironmentFile")
		holds("sysusers.conf", "u "+login+" - ")
		for _, script := range []string{"preinstall.sh", "postremove.sh"} {
			holds(script, " "+login)
		}
		for _, script := range []string{"postinstall.sh", "preremove.sh"} {
			holds(script, " "+path.Base(name))
		}
		holds("nfpm.yaml", "{src: deploy/systemd/"+path.Base(settings)+", dst: "+settings+", type: config|noreplace, file_info: {mode: 0640, group: pgcourier}}")
	}
	holds("postinstall.sh", ">/etc/pgcourier/database-url")
	for _, script := range deployFiles(t, "packages/*.sh") {
		if out, err := exec.CommandContext(t.Context(), "sh", "-n", filepath.Join(root, script)).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}
}

// known are the directives of the units, as systemd.unit, systemd.service, systemd.exec and
// systemd.kill name them: a misspelt one is a warning in the journal and nothing more.
var known = strings.Fields(`Description Documentation After Wants WantedBy
	Type NotifyAccess WatchdogSec TimeoutAbortSec ExecStart User Group StateDirectory StateDirectoryMode WorkingDirectory UMask Environment EnvironmentFile LoadCredential
	Restart RestartSec RestartPreventExitStatus KillMode TimeoutStopSec LimitNOFILE
	NoNewPrivileges CapabilityBoundingSet AmbientCapabilities ProtectSystem ProtectHome PrivateTmp PrivateDevices ProtectClock
	ProtectControlGroups ProtectHostname ProtectKernelLogs ProtectKernelModules ProtectKernelTunables ProtectProc PrivateMounts PrivateUsers
	RestrictAddressFamilies RestrictNamespaces RestrictRealtime RestrictSUIDSGID LockPersonality MemoryDenyWriteExecute RemoveIPC
	SystemCallArchitectures SystemCallFilter SystemCallErrorNumber`)

// If systemd is installed, its own checker reads the units as well.
func TestTheUnitsAreUnits(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	var files []string
	for _, name := range deployFiles(t, "systemd/*.service") {
		for key := range readUnit(t, name) {
			if _, directive, _ := strings.Cut(key, "]"); !slices.Contains(known, directive) {
				t.Errorf("%s: %s is not a known directive", name, directive)
			}
		}
		// The checker requires that the program exists.
		text := strings.ReplaceAll(readRoot(t, name), "/usr/local/bin/pgcourier", "/bin/true")
		files = append(files, filepath.Join(folder, path.Base(name)))
		if err := os.WriteFile(files[len(files)-1], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not installed: only the names were checked")
		return
	}
	out, err := exec.CommandContext(t.Context(), analyze, append([]string{"verify", "--man=no"}, files...)...).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte(folder)) {
		t.Errorf("systemd-analyze: %v\n%s", err, out)
	}
	// Only the namespaces of the sandbox make the exposure more than 2.0.
	for _, file := range files {
		if unit := path.Base(file); unit == "pgcourier-verifier.service" || unit == "pgcourier-restorer.service" {
			exposed(t, analyze, file, "24")
			if err := os.Mkdir(file+".d", 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(file+".d", "landlock.conf"), []byte(readRoot(t, "deploy/systemd/landlock.conf")), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		exposed(t, analyze, file, "20")
	}
}

// exposed fails if systemd finds that a unit is exposed more than most tenths, of 100.
func exposed(t *testing.T, analyze, file, most string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--no-pager", "--threshold="+most, file).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security --threshold=%s: %v\n%s", most, err, out)
	}
}

// verifierUnit writes the unit of the verifier with files of its own, this user, and another program. It returns
// the folder of the unit.
func verifierUnit(t *testing.T, program string) string {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	text := readRoot(t, "deploy/systemd/pgcourier-verifier.service")
	for name, content := range map[string]string{
		"verifier.env": "# a comment = no setting\nPGCOURIER_PROJECT_QUERY=\"SELECT 'a' AS b\"\nPGCOURIER_STORAGE=file:///x?a=\"b\"", // no newline at the end
		"verifier.nk":  "", "identity.txt": "",
	} {
		file := filepath.Join(folder, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		text = strings.NewReplacer("/etc/pgcourier/keys/"+name, file, "/etc/pgcourier/"+name, file).Replace(text)
	}
	text = strings.NewReplacer("/usr/local/bin/pgcourier", program, "User=pgcourier-verifier", "User="+me.Username).Replace(text)
	text += "\nEnvironmentFile=-" + filepath.Join(folder, "absent.env") + "\nEnvironment=\"PGCOURIER_CONCURRENCY=3\"\n"
	if err := os.WriteFile(filepath.Join(folder, "pgcourier-verifier.service"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// When the terminal goes away, no secret is left behind. The kernel signals the whole group.
func TestACommandsSecretsAreRemovedWhenItsTerminalGoes(t *testing.T) {
	t.Parallel()
	folder := verifierUnit(t, "/bin/sh")
	// Under nohup or in the background, the tests are started with some of these signals ignored. A child inherits
	// that, and a shell cannot trap such a signal: with a handler here, children get the default.
	handled := make(chan os.Signal, 1)
	signal.Notify(handled, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	defer signal.Stop(handled)
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM} {
		tmp := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "sh", "-c", `ulimit -c 0; exec sh "$@"`, "sh",
			filepath.Join(root, "deploy", "systemd", "pgcourier-as"), "pgcourier-verifier", "-c", `ls -d "$PGCOURIER_AGE_IDENTITY_FILE" && exec sleep 1000`)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "SYSTEMD_UNIT_PATH=" + folder, "TMPDIR=" + tmp}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.HasPrefix(line, tmp) {
			t.Errorf("%s: the command has the secret %q, %v, want one in %s", s, line, err, tmp)
		}
		if err := syscall.Kill(-cmd.Process.Pid, s); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Errorf("%s: the command ended well", s)
		}
		if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
			t.Errorf("%s left %v, %v", s, left, err)
		}
	}
}

// pgcourier-as takes all variables of a line, and those of an environment file as systemd reads them.
func TestACommandHasEverySettingOfAUnit(t *testing.T) {
	t.Parallel()
	folder := verifierUnit(t, "/usr/bin/env")
	cmd := exec.CommandContext(t.Context(), "sh", filepath.Join(root, "deploy", "systemd", "pgcourier-as"), "pgcourier-verifier")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "SYSTEMD_UNIT_PATH=" + t.TempDir() + ":" + folder, "PGCOURIER_VERIFY_SCRATCH_URL=of the shell"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.HasPrefix(name, "PGCOURIER_") {
			got[name] = value
		}
	}
	secrets := got["PGCOURIER_NATS_KEYS"]
	want := map[string]string{
		"PGCOURIER_DATA_DIR": "/var/lib/pgcourier-verifier", "PGCOURIER_NATS_KEYS": secrets, "PGCOURIER_AGE_IDENTITY_FILE": secrets + "/identity",
		"PGCOURIER_PROJECT_QUERY": "SELECT 'a' AS b", "PGCOURIER_STORAGE": `file:///x?a="b"`,
		"PGCOURIER_CONCURRENCY": "3",
	}
	if secrets == "" || !maps.Equal(got, want) {
		t.Errorf("the command has %v, want %v", got, want)
	}
}

// pgcourier-as runs a command with the settings and secrets of a service, not with those of the shell.
func TestACommandRunsAsTheService(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start() // it makes the ledger
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(folder, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		return file
	}
	settings := []string{}
	for _, s := range p.environ("NATS_KEYS=") {
		if !strings.HasPrefix(s, "PGCOURIER_DATABASE_URL=") && strings.HasPrefix(s, "PGCOURIER_") {
			settings = append(settings, s)
		}
	}
	text := strings.NewReplacer(
		"/usr/local/bin/pgcourier", built(t), "User=pgcourier", "User="+me.Username,
		"/etc/pgcourier/pgcourier.env", write("pgcourier.env", "# settings\n"+strings.Join(settings, "\n")+"\n"),
		"/etc/pgcourier/database-url", write("database-url", cluster.URL(p.database)),
	).Replace(readRoot(t, "deploy/systemd/pgcourier.service"))
	write("pgcourier.service", text)
	write("pgcourier.service.d/broker.conf", "[Service]\nLoadCredential=keys:"+server.KeyFile(p.keys, server.UserWorker)+"\nEnvironment=PGCOURIER_NATS_NKEY=%d/keys\n")
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "sh", append([]string{filepath.Join(root, "deploy", "systemd", "pgcourier-as")}, args...)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "SYSTEMD_UNIT_PATH=" + folder, "PGCOURIER_DATABASE_URL=postgres://shell@127.0.0.1:1/shell"}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run("pgcourier", "doctor", "--only", "database,broker/login", "--output", "json")
	var found []doctor.Finding
	if decode := json.Unmarshal([]byte(out), &found); err != nil || decode != nil || len(found) < 4 {
		t.Fatalf("doctor: %v, %v\n%s", err, decode, out)
	}
	for _, f := range found {
		if f.Check == "database" && !strings.Contains(f.Found, "database "+p.database) {
			t.Errorf("doctor looked at %+v", f)
		}
	}
	exit, failed := errors.AsType[*exec.ExitError](func() error { _, err := run("pgcourier", "show", "no-such-request"); return err }())
	if !failed || exit.ExitCode() != 3 {
		t.Errorf("the command's exit code is not handed on: %v", exit)
	}
	if out, err := run("other", "doctor"); err == nil || !strings.Contains(out, "there is no unit") {
		t.Errorf("another unit: %v, %s", err, out)
	}
}
