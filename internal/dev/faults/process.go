package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a child process. Its output is recorded and can be awaited.
type process struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // once exited

	file *os.File
	mu   sync.Mutex
	text bytes.Buffer
	news chan struct{} // closed and replaced with each write
}

// startProcess starts cmd with its output in a file name.log under dir.
func startProcess(dir, name string, cmd *exec.Cmd) (*process, error) {
	f, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // in the lab's own folder
	if err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: cmd, file: f, exited: make(chan struct{}), news: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p, p
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // the terminal's Ctrl-C is for the harness
	if err := cmd.Start(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		_ = f.Close()
		close(p.exited)
	}()
	return p, nil
}

// Write records output of the process.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text.Write(b)
	close(p.news)
	p.news = make(chan struct{})
	return p.file.Write(b)
}

// output returns the output so far, and a channel that is closed when there is more.
func (p *process) output() (string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String(), p.news
}

// said waits until one line of the output contains all words.
func (p *process) said(ctx context.Context, words ...string) error {
	for {
		text, news := p.output()
		for line := range strings.Lines(text) {
			if holdsAll(line, words) {
				return nil
			}
		}
		select {
		case <-news:
		case <-p.exited:
			if text, _ = p.output(); !holdsAll(text, words) {
				return fmt.Errorf("%s ended (%w) without saying %q", p.name, p.err, words)
			}
		case <-ctx.Done():
			return fmt.Errorf("%s did not say %q: %w", p.name, words, context.Cause(ctx))
		}
	}
}

func holdsAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

func (p *process) signal(s syscall.Signal) error {
	if !p.running() {
		return fmt.Errorf("%s has ended already: %w", p.name, p.err)
	}
	return p.cmd.Process.Signal(s)
}

// kill ends it at once and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone
	<-p.exited
}

// end stops the process and waits. It kills a process that does not end in time, which is an error.
func (p *process) end(timeout time.Duration) error {
	if !p.running() {
		return p.err
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-p.exited:
		return p.err
	case <-t.C:
		p.kill()
		return fmt.Errorf("%s did not end within %s of SIGTERM", p.name, timeout)
	}
}
