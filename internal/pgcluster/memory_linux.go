package pgcluster

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// memory is the file system in memory that every Linux has (glibc's shm_open needs it).
const memory = "/dev/shm"

// memoryRoom is what must be free there: all tests of a machine with two cores took up to 2 GB at once,
// and more with more cores.
const memoryRoom = 4 << 30

// memoryFolder makes a folder in memory, or one in os.TempDir() if there is less than memoryRoom.
// It first removes the folders of processes that ended without Stop.
func memoryFolder() (string, *os.File, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(memory, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < memoryRoom { //nolint:gosec // a block's size is positive
		dir, err := os.MkdirTemp("", prefix)
		return dir, nil, err
	}
	abandoned, err := filepath.Glob(filepath.Join(memory, prefix+"*", "lock"))
	if err != nil {
		return "", nil, err
	}
	for _, path := range abandoned {
		if lock, err := lockFile(path, 0); err == nil {
			_ = os.RemoveAll(filepath.Dir(path)) // another test may do the same
			_ = lock.Close()
		}
	}
	dir, err := os.MkdirTemp(memory, prefix)
	if err != nil {
		return "", nil, err
	}
	lock, err := lockFile(filepath.Join(dir, "new"), os.O_CREATE)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	// It has this name only while it is locked.
	if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "lock")); err != nil {
		return "", nil, errors.Join(err, lock.Close(), os.RemoveAll(dir))
	}
	return dir, lock, nil
}

// lockFile opens a file and locks it until it is closed or this process ends. Of another cluster's
// folder it must make nothing: its owner may be removing it.
func lockFile(path string, create int) (*os.File, error) {
	f, err := os.OpenFile(path, create|os.O_RDWR, 0o600) //nolint:gosec // a file of a cluster
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
