package pgdump

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a running pg_dump in a process group of its own.
type process struct {
	cmd    *exec.Cmd
	stderr *tail
	exited chan struct{}
	err    error // once exited: how it ended, nil for status 0

	mu   sync.Mutex
	gone bool // the group may no longer be signalled: its number can belong to others
}

// pipeSize lets pg_dump run ahead while the reader compresses; the kernel's default is
// 64 KiB. It is also an unprivileged process's limit for one pipe.
const pipeSize = 1 << 20

// startProcess starts binary with a pipe as its stdout, whose other end it returns for the
// caller to close, and with passfile as descriptor 3. It does not close passfile.
func startProcess(binary string, args, env []string, passfile *os.File, killDelay time.Duration) (*process, *os.File, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("make a pipe: %w", err)
	}
	// Refused when the user has too much in pipes already; then it is only slower.
	_, _ = unix.FcntlInt(in.Fd(), unix.F_SETPIPE_SZ, pipeSize)
	p := &process{stderr: &tail{}, exited: make(chan struct{})}
	p.cmd = &exec.Cmd{
		Path: binary, Args: append([]string{binary}, args...), Env: env, Dir: "/",
		Stdout: in, Stderr: p.stderr, ExtraFiles: []*os.File{passfile},
		// A child of the child could keep stderr open.
		WaitDelay: killDelay,
		SysProcAttr: &syscall.SysProcAttr{
			Setpgid: true,
			// pg_dump must not outlive a worker that was killed. SIGTERM lets it cancel
			// its query.
			Pdeathsig: syscall.SIGTERM,
		},
	}
	started := make(chan error)
	go p.run(started)
	err = <-started
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start pg_dump: %w", err), out.Close())
	}
	return p, out, nil
}

// run starts the command, waits for it and reaps it, all on one thread: the kernel sends
// Pdeathsig when the thread that started the child ends (golang/go issue 27505).
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	awaitExit(p.cmd.Process.Pid)
	// The child is a zombie now, so its number still is its own. Nothing of its group may
	// stay behind.
	p.mu.Lock()
	p.gone = true
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	p.mu.Unlock()
	p.err = p.cmd.Wait()
	close(p.exited)
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

// terminate ends the process group and waits for its end: SIGTERM, which lets pg_dump
// cancel its query and hangs with a server that hangs, then after delay SIGKILL. It reports
// whether SIGKILL was needed: the server may not know then that its client is gone.
func (p *process) terminate(delay time.Duration) (killed bool) {
	p.signal(syscall.SIGTERM)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-p.exited:
		return false
	case <-timer.C:
	}
	p.signal(syscall.SIGKILL)
	<-p.exited
	return true
}

func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		_ = syscall.Kill(-p.cmd.Process.Pid, s)
	}
}

// written is how many bytes the process has written so far, wherever to: the tar format
// spools each table to a file before anything comes out.
func (p *process) written() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	return parseWritten(b)
}
