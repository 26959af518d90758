package server

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrStoreLocked says that another process, or another server in this one, uses the store.
var ErrStoreLocked = errors.New("broker store is in use by another server")

// lockFile takes an exclusive flock on path. Closing the file or ending the process releases it, so
// a crash leaves nothing to clean up. The file is never removed: otherwise two processes could lock
// two files of the same name.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // #nosec G304 -- inside the operator's own data folder
	if err != nil {
		return nil, fmt.Errorf("open store lock: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(fmt.Errorf("%w: %s", ErrStoreLocked, path), f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock broker store: %w", err), f.Close())
	}
	return f, nil
}
