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
	exited chan struct{}
}

const (
	// readyWait bounds a server's start.
	readyWait = time.Minute
	// readyStep is the pause between two looks.
	readyStep = 20 * time.Millisecond
)

// serve starts the server as wrap wants it, and waits until it accepts connections.
func (c *Cluster) serve(ctx context.Context, wrap func(*exec.Cmd, uint32, uint32, string) error) error {
	log, err := os.OpenFile(filepath.Join(c.Folder, "log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the server has its own
	cmd := &exec.Cmd{
		Path: filepath.Join(c.BinDir, "postgres"), Args: []string{"postgres", "-D", c.data(), "-p", strconv.Itoa(c.Port)},
		Env: []string{"LC_ALL=C", "TZ=UTC"}, Dir: c.Folder, Stdout: log, Stderr: log,
		// Its own session, so that the terminal's Ctrl-C reaches only the caller.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	var uid, gid uint32
	if c.cred != nil {
		uid, gid = c.cred.Uid, c.cred.Gid
	}
	if err := wrap(cmd, uid, gid, c.Folder); err != nil {
		return fmt.Errorf("prepare the server: %w", err)
	}
	c.server = &server{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	go c.server.run(started)
	if err := <-started; err != nil {
		close(c.server.exited)
		return fmt.Errorf("start the server: %w", err)
	}
	return c.ready(ctx)
}

// run starts and reaps on one thread: the end of that thread would end the server (Pdeathsig).
func (s *server) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := s.cmd.Start()
	started <- err
	if err == nil {
		_ = s.cmd.Wait() // it was killed, or its log says why it ended
		close(s.exited)
	}
}

// stop kills the server: its data is thrown away.
func (s *server) stop() {
	if s.cmd.Process != nil {
		_ = s.cmd.Process.Kill()
	}
	<-s.exited
}

// ready waits for the word that a server writes into its lock file, as pg_ctl does.
func (c *Cluster) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	step := time.NewTicker(readyStep)
	defer step.Stop()
	for {
		lock, err := os.ReadFile(filepath.Join(c.data(), "postmaster.pid"))
		if err == nil && bytes.HasSuffix(bytes.TrimSpace(lock), []byte("\nready")) {
			return nil
		}
		select {
		case <-c.server.exited:
			text, _ := os.ReadFile(filepath.Join(c.Folder, "log"))
			return fmt.Errorf("the server ended at its start: %s", strings.TrimSpace(string(text)))
		case <-ctx.Done():
			return errors.Join(errors.New("the server is not ready"), context.Cause(ctx))
		case <-step.C:
		}
	}
}
