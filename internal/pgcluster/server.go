package pgcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a postgres that is a child of this process.
type server struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed once it was reaped
}

const (
	// readyTimeout and haltTimeout are pg_ctl's default for its option -t.
	readyTimeout = time.Minute
	haltTimeout  = time.Minute
	// readyStep is the pause between two looks.
	readyStep = 20 * time.Millisecond
)

// haltSignals are the signals of pg_ctl's modes (PostgreSQL, "Shutting Down the Server").
var haltSignals = map[string]syscall.Signal{"smart": syscall.SIGTERM, "fast": syscall.SIGINT, "immediate": syscall.SIGQUIT}

// Resume starts a cluster that was halted, on its port, and waits until it accepts
// connections.
func (c *Cluster) Resume(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(c.Folder, "log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the server has its own
	program := filepath.Join(c.BinDir, "postgres")
	cmd := &exec.Cmd{
		Path: program, Args: []string{program, "-D", c.data(), "-p", strconv.Itoa(c.Port)},
		Env: []string{"LC_ALL=C", "TZ=UTC"}, Dir: c.Folder, Stdout: log, Stderr: log,
		// Its own session, so that the terminal's Ctrl-C reaches only the caller.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	endWithParent(cmd.SysProcAttr)
	if c.wrap != nil {
		var uid, gid uint32
		if c.cred != nil {
			uid, gid = c.cred.Uid, c.cred.Gid
		}
		if err := c.wrap(cmd, uid, gid, c.Folder); err != nil {
			return fmt.Errorf("prepare the server: %w", err)
		}
	} else {
		cmd.SysProcAttr.Credential = c.cred
	}
	s := &server{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	go s.run(started)
	if err := <-started; err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	c.server = s
	return c.ready(ctx)
}

// Halt stops the server and keeps its data; nothing happens to a halted one. Mode is pg_ctl's:
// "smart", "fast" or "immediate". A server in a sandbox is killed in any mode.
func (c *Cluster) Halt(ctx context.Context, mode string) error {
	s := c.server
	if s == nil {
		return nil
	}
	signal, ok := haltSignals[mode]
	if !ok {
		return fmt.Errorf("%q is no way to halt a server", mode)
	}
	if c.wrap != nil { // the child is what leads the sandbox; the server ends with it
		signal = syscall.SIGKILL
	}
	if err := s.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, haltTimeout)
	defer cancel()
	select {
	case <-s.exited:
		c.server = nil
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("the server does not end"), context.Cause(ctx))
	}
}

// run starts and reaps on one thread: the kernel takes the end of the thread that started a
// child for the end of its parent (golang/go issue 27505).
func (s *server) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := s.cmd.Start()
	started <- err
	if err == nil {
		_ = s.cmd.Wait() // it was halted, or its log says why it ended
		close(s.exited)
	}
}

// ready waits for the word that a server writes into its lock file, as pg_ctl does.
func (c *Cluster) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	step := time.NewTicker(readyStep)
	defer step.Stop()
	// A server that was killed leaves its lock file behind, so the process ID must be this one's.
	// In a sandbox it has another, and the cluster is new.
	own := strconv.Itoa(c.server.cmd.Process.Pid) + "\n"
	if c.wrap != nil {
		own = ""
	}
	for {
		lock, err := os.ReadFile(filepath.Join(c.data(), "postmaster.pid"))
		if err == nil && bytes.HasPrefix(lock, []byte(own)) && bytes.HasSuffix(bytes.TrimSpace(lock), []byte("\nready")) {
			return nil
		}
		select {
		case <-c.server.exited:
			c.server = nil
			text, _ := os.ReadFile(filepath.Join(c.Folder, "log"))
			return fmt.Errorf("the server ended at its start: %s", strings.TrimSpace(string(text)))
		case <-ctx.Done():
			return errors.Join(errors.New("the server is not ready"), context.Cause(ctx))
		case <-step.C:
		}
	}
}
