package libpq

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ownGroup starts a tool in a process group of its own, which ends with its parent.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Setpgid: true,
		// A tool must not outlive a worker that was killed. SIGTERM lets it cancel its query.
		Pdeathsig: syscall.SIGTERM,
	}
}

// pipeSize lets one side run ahead while the other works; the kernel's default is 64 KiB.
// It is also an unprivileged process's limit for one pipe.
const pipeSize = 1 << 20

func enlargePipe(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) }

// reap waits for the tool's end and ends the rest of its group.
func (p *Process) reap() error {
	awaitExit(p.cmd.Process.Pid)
	// The child is a zombie now, so its number still is its own. Nothing of its group may
	// stay behind.
	p.mu.Lock()
	p.gone = true
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	p.mu.Unlock()
	return p.cmd.Wait()
}

// makeBatch gives a process and those that it will start the policy SCHED_BATCH (sched(7)). Their
// share of the cores stays as large. When data arrives they let the sender finish its piece: under
// the usual policy they interrupted a server on the same machine for each. A process with another
// policy than the usual keeps it. sched_setattr would set the niceness too, and a seccomp filter
// that refuses real-time policies cannot see its arguments.
func makeBatch(pid int) error {
	attr, err := unix.SchedGetAttr(pid, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL {
		return err
	}
	var priority int32                       // struct sched_param: this policy takes none but 0
	at := uintptr(unsafe.Pointer(&priority)) //nolint:gosec // as the call wants it
	if _, _, code := unix.Syscall(unix.SYS_SCHED_SETSCHEDULER, uintptr(pid), unix.SCHED_BATCH, at); code != 0 {
		return code
	}
	return nil
}

// awaitExit blocks until a child has ended, and leaves it to be reaped.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
