package libpq_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/internal/dev/sandboxtest"
	"github.com/pgcourier/pgcourier/internal/libpq"
)

// roleVariable makes the test binary one of the processes of TestAPausedToolEndsWithItsParent.
const roleVariable = "LIBPQ_TEST_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(m.Run())
	case "init":
		err = beInit()
	case "worker":
		err = beWorker()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// beInit is a small init: it starts a worker in its own session and reaps every process that it
// leaves.
func beInit() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	worker := &exec.Cmd{Path: "/proc/self/exe", Args: os.Args, Env: []string{roleVariable + "=worker"}, Stdout: os.Stdout}
	if err := worker.Start(); err != nil {
		return err
	}
	if err := os.Stdout.Close(); err != nil {
		return err
	}
	for {
		if _, err := syscall.Wait4(-1, nil, 0, nil); errors.Is(err, syscall.ECHILD) {
			return nil
		}
	}
}

// beWorker pauses a tool that has children, and is killed.
func beWorker() error {
	p, err := libpq.StartProcess(libpq.Command{
		Path: "/bin/sh", Env: []string{"PATH=/usr/bin:/bin"}, Stdout: os.Stdout,
		// As pg_dump does with its workers.
		Args: []string{"-c", `sleep 1000 & a=$!; sleep 1000 & b=$!; trap 'kill $a $b; exit 1' TERM; echo ready >&2; wait`},
	})
	if err != nil {
		return err
	}
	for !strings.Contains(p.Stderr(), "ready") {
		time.Sleep(time.Millisecond) // between two looks at another process
	}
	p.Pause()
	fmt.Println("paused")
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

func TestAPausedToolEndsWithItsParent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		role string
		attr syscall.SysProcAttr
		need []string // namespaces
	}{
		"with init in another session":     {role: "worker", attr: syscall.SysProcAttr{Setsid: true}},
		"with init in the worker's":        {role: "init"},
		"with PID 1 in the worker's":       {role: "init", attr: namespace(), need: []string{"--pid", "--fork"}},
		"with init in the worker's, alone": {role: "init", attr: syscall.SysProcAttr{Setsid: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.need != nil {
				sandboxtest.Namespaces(t, c.need...)
			}
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = r.Close() }()
			cmd := &exec.Cmd{
				Path: "/proc/self/exe", Args: []string{os.Args[0]}, Env: []string{roleVariable + "=" + c.role},
				Stdout: w, Stderr: os.Stderr, SysProcAttr: &c.attr,
			}
			err = errors.Join(cmd.Start(), w.Close())
			if err != nil {
				t.Fatal(err)
			}
			// All of them have the other end: it is closed after the last has ended.
			if err := r.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(r)
			if line, err := lines.ReadString('\n'); err != nil || line != "paused\n" {
				t.Errorf("the worker said %q, %v", line, err)
			}
			if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
				t.Errorf("the paused processes did not end: %q, %v", rest, err)
				_ = cmd.Process.Kill()
			}
			_ = cmd.Wait() // a worker was killed
		})
	}
}

// namespace makes a process number 1 among its own.
func namespace() syscall.SysProcAttr {
	attr := syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	}
	return attr
}
