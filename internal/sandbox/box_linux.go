package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// name is argv[0] of the first process in a sandbox.
const name = "pgcourier-sandbox"

// Wrap changes cmd, before it is started, into one that runs in the box. It adds its settings to
// those in SysProcAttr; Credential must be nil. A started cmd is one process for the caller: its
// end, its signals and its exit status are the program's.
func (b Box) Wrap(cmd *exec.Cmd) error {
	spec, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("describe the sandbox: %w", err)
	}
	attr := cmd.SysProcAttr
	if attr == nil {
		attr = &syscall.SysProcAttr{}
		cmd.SysProcAttr = attr
	}
	if attr.Credential != nil {
		return errors.New("a sandboxed command names its user in the box")
	}
	if !b.Landlock {
		b.isolate(attr)
	}
	// No process may stay behind, however this one ends; number 1 ignores SIGTERM.
	attr.Pdeathsig = syscall.SIGKILL
	cmd.Args = append([]string{name, string(spec), cmd.Path}, cmd.Args[1:]...)
	cmd.Path, cmd.Dir = "/proc/self/exe", "/"
	return nil
}

// isolate asks for the namespaces of the box.
func (b Box) isolate(attr *syscall.SysProcAttr) {
	attr.Cloneflags |= unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	if !b.Network {
		attr.Cloneflags |= unix.CLONE_NEWNET
	}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		// A process that is not root in the namespace loses its capabilities at exec. The
		// first process needs this one to mount.
		attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN}
	}
}

// probeWait bounds Probe, which takes some 30 ms.
const probeWait = 20 * time.Second

// Probe starts a program in a box and reports ErrUnavailable with the reason if that fails.
func Probe(ctx context.Context) error { return probe(ctx, Box{}) }

func probe(ctx context.Context, b Box) error {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/true")
	cmd.Env = []string{}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := b.Wrap(cmd); err != nil {
		return err
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %w %s", ErrUnavailable, err, strings.TrimSpace(stderr.String()))
	}
	return nil
}
