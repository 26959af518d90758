package e2e_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pgcourier/pgcourier/internal/broker/server"
)

// Other processes of its user cannot inspect a process that serves: its files under /proc belong to
// root. Those of root always do, so root runs it as another user.
func TestAServingProcessIsHiddenFromItsUser(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.provision("ROLES=notifier", "WEBHOOK_URL=http://127.0.0.1:1", "WEBHOOK_SECRET="+hookSecret)
	dir := t.TempDir()
	key, program := filepath.Join(dir, "notifier.nk"), filepath.Join(dir, "pgcourier")
	if err := os.WriteFile(key, []byte(read(t, filepath.Join(server.KeysDir(p.data), "notifier.nk"))), 0o600); err != nil {
		t.Fatal(err)
	}
	installed, err := exec.LookPath("pgcourier")
	if err != nil {
		t.Fatal(err)
	}
	copyProgram(t, installed, program)
	user := os.Geteuid()
	var as *syscall.Credential
	if user == 0 {
		user = 65534
		as = &syscall.Credential{Uid: 65534, Gid: 65534}
		for _, name := range []string{dir, key, program} {
			if err := os.Chown(name, user, user); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args  []string
		owner int
	}{
		{[]string{"serve", "--roles", "notifier"}, 0},
		{[]string{"watch"}, user}, // it is not hidden: the check can see the difference
	} {
		cmd := exec.CommandContext(t.Context(), program, c.args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
		cmd.Dir = dir
		cmd.Env = append([]string{"PATH=/usr/bin:/bin"}, p.environ("DATABASE_URL=", "NATS_KEYS=", "NATS_NKEY="+key, "NATS_INBOX_PREFIX=_INBOX_notifier",
			"WEBHOOK_URL=http://127.0.0.1:1", "WEBHOOK_SECRET="+hookSecret)...)
		var out logs
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		file := fmt.Sprintf("/proc/%d/environ", cmd.Process.Pid)
		owner := func() int {
			info, err := os.Stat(file)
			if err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			return int(info.Sys().(*syscall.Stat_t).Uid)
		}
		eventually(t, fmt.Sprintf("the environment of %q belongs to user %d", c.args, c.owner), func() bool { return owner() == c.owner })
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait()
	}
}

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	cmd := exec.CommandContext(t.Context(), "install", "-m", "700", "/dev/stdin", to) // see install
	cmd.Stdin = io.Reader(in)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("install: %v\n%s", err, out)
	}
}

func TestAWorldWritableDataFolderIsReported(t *testing.T) {
	t.Parallel()
	p := setup(t)
	const told = "every user of this machine can replace files in the data folder: remove the right of others to write (chmod o-w)"
	if err := os.Chmod(p.data, 0o777); err != nil {
		t.Fatal(err)
	}
	p.start().awaitLog(told)
	if err := os.Chmod(p.data, 0o700); err != nil {
		t.Fatal(err)
	}
	closed := p.start()
	closed.awaitLog("serving")
	if strings.Contains(closed.logs.String(), told) {
		t.Error("a closed folder is reported as well")
	}
}
