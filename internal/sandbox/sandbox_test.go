package sandbox_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pgcourier/pgcourier/internal/dev/sandboxtest"
	"github.com/pgcourier/pgcourier/internal/sandbox"
)

// asNobody makes the test binary run one script in a box, as its current user.
const asNobody = "PGCOURIER_TEST_SCRIPT"

func TestMain(m *testing.M) {
	if how := os.Getenv(initVariable); how != "" {
		os.Exit(asInit(how))
	}
	sandbox.Enter()
	if script := os.Getenv(asNobody); script != "" {
		cmd := exec.Command("/bin/bash", "-c", script)
		cmd.Env = []string{"PATH=/usr/bin:/bin"}
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := errors.Join((sandbox.Box{}).Wrap(cmd), cmd.Run()); err != nil {
			fmt.Println(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// run runs a script in a box and returns its output and its error.
func run(t *testing.T, b sandbox.Box, script string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/bash", "-c", script)
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := b.Wrap(cmd); err != nil {
		t.Fatal(err)
	}
	err := cmd.Run()
	return out.String(), err
}

// boxes are the boxes in which root and other users run programs.
func boxes() map[string]sandbox.Box {
	all := map[string]sandbox.Box{"the caller": {}}
	if os.Geteuid() == 0 {
		all["nobody"] = sandbox.Box{UID: 65534, GID: 65534}
	}
	return all
}

func TestAProgramSeesNothingOfTheMachine(t *testing.T) {
	t.Parallel()
	sandboxtest.Need(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("canary"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	connect := fmt.Sprintf("exec 3<>/dev/tcp/127.0.0.1/%d", l.Addr().(*net.TCPAddr).Port)
	if out, err := exec.CommandContext(t.Context(), "/bin/bash", "-c", connect).CombinedOutput(); err != nil {
		t.Fatalf("without a box the listener cannot be reached: %v %s", err, out)
	}
	for who, b := range boxes() {
		for what, script := range map[string]string{
			"read a file of the machine": "cat " + secret, "reach a listener of the machine": connect,
			"write to the system": "echo > /usr/canary", "write kernel settings": "echo x > /proc/sys/kernel/core_pattern",
			"see another process": fmt.Sprintf("test -d /proc/%d", os.Getpid()), "mount": "mount -t tmpfs x /tmp",
			"get a right by a file": "test $(grep -c 'NoNewPrivs:\\s*1' /proc/self/status) = 0",
			"hold a right":          "test $(grep -c 'CapEff:\\s*0000000000000000' /proc/self/status) = 0",
			"make a device":         "mknod /tmp/null c 1 3", "see the old root": "ls /old", "read /etc/shadow": "cat /etc/shadow",
		} {
			if out, err := run(t, b, script); err == nil {
				t.Errorf("%s may %s: %s", who, what, out)
			}
		}
		if out, err := run(t, b, "echo works > /tmp/x && cat /tmp/x && ls /usr/bin/env && echo ok >/dev/null"); err != nil || !strings.Contains(out, "works") {
			t.Errorf("%s cannot work: %v %s", who, err, out)
		}
	}
}

func TestFoldersAndTheNetworkAreThereWhenAskedFor(t *testing.T) {
	t.Parallel()
	sandboxtest.Need(t)
	open, closed := t.TempDir(), t.TempDir()
	b := sandbox.Box{Writable: []string{open}, ReadOnly: []string{closed, "/nonexistent"}, Network: true}
	out, err := run(t, b, "echo made > "+open+"/file && ! echo no > "+closed+"/file && grep lo: /proc/net/dev")
	if err != nil {
		t.Errorf("%v %s", err, out)
	}
	if got, err := os.ReadFile(filepath.Join(open, "file")); err != nil || string(got) != "made\n" {
		t.Errorf("the file is %q, %v", got, err)
	}
}

func TestTheProgramsExitCodeIsReturned(t *testing.T) {
	t.Parallel()
	sandboxtest.Need(t)
	_, err := run(t, sandbox.Box{}, "exit 3")
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 3 {
		t.Errorf("ended with %v, want status 3", err)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/bash", "-c", "trap 'exit 7' TERM; sleep 600 & echo ready; wait")
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = (sandbox.Box{}).Wrap(cmd)
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if exit, ok := errors.AsType[*exec.ExitError](cmd.Wait()); !ok || exit.ExitCode() != 7 {
		t.Errorf("after SIGTERM: %v, want status 7", exit)
	}
}

func TestDescriptorsAreHandedOver(t *testing.T) {
	t.Parallel()
	sandboxtest.Need(t)
	for who, b := range boxes() {
		file := filepath.Join(t.TempDir(), "passfile")
		if err := os.WriteFile(file, []byte("handed"), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "/bin/cat", "/proc/self/fd/3")
		cmd.ExtraFiles = []*os.File{f}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := errors.Join(b.Wrap(cmd), cmd.Run(), f.Close()); err != nil || out.String() != "handed" {
			t.Errorf("%s reads %q, %v", who, out.String(), err)
		}
	}
}

// TestWithoutRoot runs this binary as user nobody, where it makes a user namespace.
func TestWithoutRoot(t *testing.T) {
	t.Parallel()
	var as *syscall.Credential // nil: the caller
	if os.Geteuid() == 0 {
		as = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	sandboxtest.NeedAs(t, as)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("canary"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = []string{asNobody + "=id -u; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; cat " + secret + " && echo read; (exec 3<>/dev/tcp/127.0.0.1/1) 2>&1 | grep -c unreachable; echo done"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	text := string(out)
	for _, want := range []string{"CapEff:\t0000000000000000", "NoNewPrivs:\t1", "done\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "canary") {
		t.Errorf("it reads a file of the machine:\n%s", text)
	}
}

// Without namespaces Landlock keeps a program from the machine's files and from TCP.
func TestLandlockConfinesAProgramWithoutNamespaces(t *testing.T) {
	t.Parallel()
	if out, err := run(t, sandbox.Box{Landlock: true}, "true"); err != nil {
		t.Skipf("this kernel or container has no Landlock that confines TCP: %v %s", err, out)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	open, closed := t.TempDir(), t.TempDir()
	if err := errors.Join(os.WriteFile(secret, []byte("canary"), 0o644), os.Chmod(filepath.Dir(open), 0o755), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	connect := fmt.Sprintf("exec 3<>/dev/tcp/127.0.0.1/%d", l.Addr().(*net.TCPAddr).Port)
	for who, b := range boxes() {
		b.Landlock, b.Writable, b.ReadOnly = true, []string{open}, []string{closed, "/nonexistent"}
		for what, script := range map[string]string{
			"read a file of the machine": "cat " + secret, "reach a listener of the machine": connect,
			"write to the system": "echo > /usr/canary", "write kernel settings": "echo x > /proc/sys/kernel/core_pattern",
			"write to a folder for reading": "echo no > " + closed + "/file", "list a folder of the machine": "ls " + filepath.Dir(secret),
			"read another process's environment": fmt.Sprintf("cat /proc/%d/environ", os.Getpid()),
			"read /etc/shadow":                   "cat /etc/shadow", "write to /tmp": "echo x > /tmp/pgcourier-canary",
		} {
			if out, err := run(t, b, script); err == nil {
				t.Errorf("%s may %s: %s", who, what, out)
			}
		}
		if out, err := run(t, b, "rm -f "+open+"/*; echo works > "+open+"/x && mv "+open+"/x "+open+"/y && cat "+open+"/y && ls "+closed+" /usr/bin/env && echo ok >/dev/null"); err != nil || !strings.Contains(out, "works") {
			t.Errorf("%s cannot work: %v %s", who, err, out)
		}
		b.Network = true
		if out, err := run(t, b, connect); err != nil {
			t.Errorf("%s, with the network: %v %s", who, err, out)
		}
		if _, err := run(t, b, "exit 3"); err == nil || !strings.Contains(err.Error(), "3") {
			t.Errorf("%s: ended with %v, want status 3", who, err)
		}
	}
}

func TestTheProbePasses(t *testing.T) {
	t.Parallel()
	sandboxtest.Need(t)
	if err := sandbox.Probe(t.Context()); err != nil {
		t.Error(err)
	}
}
