package pgdump

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

var errSpoolFull = errors.New("the groups' spool is full")

// groupSpool is a group's archive on disk: a file of mode 0600 without a name, so that the kernel
// removes it when the process dies. It is removed when the last holder releases it.
type groupSpool struct {
	file   *os.File
	budget *atomic.Int64 // bytes left for all spools
	size   int64         // written, and charged to the budget

	mu      sync.Mutex
	holders int
}

// newGroupSpool creates a spool in dir with one holder.
func newGroupSpool(dir string, budget *atomic.Int64) (*groupSpool, error) {
	f, err := unnamed(dir)
	if err != nil {
		return nil, fmt.Errorf("make a spool: %w", err)
	}
	return &groupSpool{file: f, budget: budget, holders: 1}, nil
}

func unnamed(dir string) (*os.File, error) {
	fd, err := openUnnamed(dir)
	if err == nil {
		return os.NewFile(uintptr(fd), "spool"), nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) { // file systems and kernels without it
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	f, err := os.CreateTemp(dir, ".pgcourier-spool-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Write appends p. errSpoolFull: the budget does not allow it.
func (s *groupSpool) Write(p []byte) (int, error) {
	n := int64(len(p))
	s.size += n
	if s.budget.Add(-n) < 0 {
		return 0, errSpoolFull
	}
	return s.file.Write(p)
}

// ReadAt reads what was written.
func (s *groupSpool) ReadAt(p []byte, at int64) (int, error) { return s.file.ReadAt(p, at) }

func (s *groupSpool) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holders++
}

// release ends one hold; the last release frees the disk space.
func (s *groupSpool) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holders--; s.holders == 0 {
		_ = s.file.Close() // nothing is to be kept
		s.budget.Add(s.size)
	}
}
