package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a child process. Its first output is awaited and its last output is kept.
type process struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // once exited

	mu   sync.Mutex
	tail []string
}

// tailLines is how much of a child's output is kept for an error.
const tailLines = 20

// start runs cmd and waits until a line of its output satisfies ready.
func start(ctx context.Context, name string, cmd *exec.Cmd, ready func(line string) bool) (*process, error) {
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the terminal's Ctrl-C is for the driver
	p := &process{name: name, cmd: cmd, exited: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		_ = in.Close()
		close(p.exited)
	}()
	said := make(chan struct{})
	go p.read(out, sync.OnceFunc(func() { close(said) }), ready)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	select {
	case <-said:
		return p, nil
	case <-p.exited:
		return nil, fmt.Errorf("%s ended at its start: %w: %s", name, p.err, p.last())
	case <-ctx.Done():
		p.kill()
		return nil, fmt.Errorf("%s is not ready: %w: %s", name, context.Cause(ctx), p.last())
	}
}

func (p *process) read(out io.Reader, said func(), ready func(string) bool) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if ready(lines.Text()) {
			said()
		}
		p.mu.Lock()
		p.tail = append(p.tail, lines.Text())
		p.tail = p.tail[max(0, len(p.tail)-tailLines):]
		p.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, out) // a line was too long: the child must not block
}

func (p *process) last() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.tail, "\n")
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone
	<-p.exited
}

// end asks the process to end, and kills it if it does not.
func (p *process) end() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	t := time.NewTimer(time.Minute)
	defer t.Stop()
	select {
	case <-p.exited:
		if p.err != nil {
			return fmt.Errorf("%s: %w: %s", p.name, p.err, p.last())
		}
		return nil
	case <-t.C:
		p.kill()
		return errors.New(p.name + " did not end within a minute of SIGTERM")
	}
}
