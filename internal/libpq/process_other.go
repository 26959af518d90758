//go:build !linux

package libpq

import (
	"os"
	"syscall"
)

// The commands of a client run psql and pg_restore on other systems too. The rest of what a worker
// needs exists on Linux only: serve does not run here.

// ownGroup starts a tool in a process group of its own.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func enlargePipe(uintptr) {}

// reap waits for the tool's end.
func (p *Process) reap() error {
	err := p.cmd.Wait()
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	return err
}

func makeBatch(int) error { return nil }

// wakeup is a pipe that the tool inherits. It wakes nothing: nothing is paused here.
type wakeup struct{ r, w *os.File }

func newWakeup() (wakeup, error) {
	r, w, err := os.Pipe()
	return wakeup{r: r, w: w}, err
}

func (wakeup) arm(int) error { return nil }
