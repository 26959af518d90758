package libpq

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Process is a running tool in a process group of its own. It is safe for concurrent use.
type Process struct {
	cmd    *exec.Cmd
	stderr *stderr
	wakeup wakeup
	exited chan struct{}
	err    error // once exited: how it ended, nil for status 0

	mu   sync.Mutex
	gone bool // the group may no longer be signalled: its number can belong to others
	// paused says that the group was stopped. Should this process die meanwhile, wakeup
	// resumes the group.
	paused bool
	ending bool // Terminate was called: nothing pauses the group any more
}

// Command is what StartProcess starts.
type Command struct {
	Path string   // absolute
	Args []string // without the name
	Env  []string // all of it
	// Stdin and Stdout are the child's ends. The caller closes its own copies once the
	// process has started. nil: /dev/null.
	Stdin, Stdout *os.File
	// Password goes into the passfile that Source.Environment names. It must hold no line
	// break.
	Password string
	// Keep, if not nil, is inherited by the child and its children: what it locks stays
	// locked until the last of them has ended.
	Keep *os.File
	// Wrap, if not nil, changes how the tool is started, for instance into a sandbox.
	Wrap func(*exec.Cmd) error
}

// StartProcess starts a tool. Terminate, or the end of its input, ends it; the caller need not
// wait for it. It ends with its parent.
func StartProcess(c Command) (*Process, error) {
	passfile, err := newPassfile(c.Password)
	if err != nil {
		return nil, err
	}
	defer func() { _ = passfile.Close() }() // the child has its own
	p := &Process{exited: make(chan struct{})}
	if p.wakeup, err = newWakeup(); err != nil {
		return nil, err
	}
	defer func() { _ = p.wakeup.r.Close() }() // the child has its own
	if p.stderr, err = newStderr(); err != nil {
		_ = p.wakeup.w.Close()
		return nil, err
	}
	p.cmd = &exec.Cmd{
		Path: c.Path, Args: append([]string{c.Path}, c.Args...), Env: c.Env, Dir: "/",
		Stderr: p.stderr.w, ExtraFiles: []*os.File{passfile},
		SysProcAttr: ownGroup(),
	}
	if c.Keep != nil {
		p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, c.Keep)
	}
	p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, p.wakeup.r)
	if c.Stdin != nil { // a typed nil would be a file
		p.cmd.Stdin = c.Stdin
	}
	if c.Stdout != nil {
		p.cmd.Stdout = c.Stdout
	}
	if c.Wrap != nil {
		if err := c.Wrap(p.cmd); err != nil {
			p.stderr.discard()
			_ = p.wakeup.w.Close()
			return nil, fmt.Errorf("prepare %s: %w", filepath.Base(c.Path), err)
		}
	}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(c.Path), err)
	}
	return p, nil
}

// Pipe makes a large pipe. The caller closes both ends.
func Pipe() (r, w *os.File, err error) {
	r, w, err = os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("make a pipe: %w", err)
	}
	// Fd would make the descriptor a blocking one. The size is refused when the user has too
	// much in pipes already; then it is only slower.
	if raw, err := w.SyscallConn(); err == nil {
		_ = raw.Control(enlargePipe)
	}
	return r, w, nil
}

// run starts the command, waits for it and reaps it, all on one thread: the kernel sends
// Pdeathsig when the thread that started the child ends (golang/go issue 27505).
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer func() { _ = p.wakeup.w.Close() }()
	err := p.cmd.Start()
	if err == nil {
		_ = makeBatch(p.cmd.Process.Pid)    // then everything is as ever
		_ = p.wakeup.arm(p.cmd.Process.Pid) // then an orphaned group alone is resumed
	}
	if err != nil {
		p.stderr.discard()
		started <- err
		return
	}
	p.stderr.begin()
	started <- nil
	p.err = p.reap()
	p.stderr.finish()
	close(p.exited)
}

// Exited is closed once the tool has ended and was reaped.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Wait waits for the tool's end and says how it ended: nil for status 0, else an
// *exec.ExitError or why its end could not be learned.
func (p *Process) Wait() error {
	<-p.exited
	return p.err
}

// Stderr is the end of what the tool has written there, at most 8 KiB. Once the tool has exited, all
// that it wrote was read.
func (p *Process) Stderr() string { return p.stderr.String() }

// ID is the tool's process id.
func (p *Process) ID() int { return p.cmd.Process.Pid }

// Terminate ends the process group and waits for its end: SIGTERM, which lets a tool cancel
// its query and hangs with a server that hangs, then after delay SIGKILL. It reports
// whether SIGKILL was needed: the server may not know then that its client is gone.
func (p *Process) Terminate(delay time.Duration) (killed bool) {
	p.mu.Lock()
	p.ending = true
	p.send(syscall.SIGTERM)
	p.mu.Unlock()
	p.Resume()
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-p.exited:
		return false
	case <-timer.C:
	}
	p.mu.Lock()
	p.send(syscall.SIGKILL)
	p.mu.Unlock()
	<-p.exited
	return true
}

// Pause stops the process group where it is, until Resume. A second Pause changes nothing.
func (p *Process) Pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ending {
		p.paused = true
		p.send(syscall.SIGSTOP)
	}
}

// Resume lets a paused group go on. A group that others have stopped stays stopped.
func (p *Process) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused {
		p.paused = false
		p.send(syscall.SIGCONT)
	}
}

// send is called with mu held.
func (p *Process) send(s syscall.Signal) {
	if !p.gone {
		_ = syscall.Kill(-p.cmd.Process.Pid, s)
	}
}
