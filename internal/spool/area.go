package spool

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrUnsafe says that others could change what lies in a folder.
var ErrUnsafe = errors.New("others can write there")

// prefix begins the names of an area's folders. Other files in it are never touched.
const prefix = "pgcourier-"

// Area is a folder of folders. It is safe for concurrent use, by several processes too, and
// holds nothing open.
type Area struct{ path string }

// Open makes the area if it is missing (mode 0700) and removes what processes that are gone
// have left in it. ErrUnsafe: it is another user's, or others may write to it.
func Open(path string) (*Area, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, fmt.Errorf("make the spool: %w", err)
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, fmt.Errorf("look at the spool: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(owner.Uid) != os.Geteuid() && owner.Uid != 0 || info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("spool %s: %w: it must be this user's and of mode 0700", abs, ErrUnsafe)
	}
	a := &Area{abs}
	return a, a.guarded(func(*os.Root) error { return nil })
}

// guarded runs f while no other process makes or removes folders. It first removes the folders
// that no process has locked.
func (a *Area) guarded(f func(*os.Root) error) (err error) {
	root, err := os.OpenRoot(a.path)
	if err != nil {
		return fmt.Errorf("open the spool: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	guard, err := lock(root, ".", unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, guard.Close()) }()
	if err := sweep(root); err != nil {
		return err
	}
	return f(root)
}

// sweep removes the folders that no process has locked.
func sweep(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return fmt.Errorf("read the spool: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		held, err := lock(root, e.Name(), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EWOULDBLOCK), errors.Is(err, fs.ErrNotExist): // in use; or its user removed it now
			continue
		case err != nil:
			return err
		}
		if err := errors.Join(root.RemoveAll(e.Name()), held.Close()); err != nil {
			return fmt.Errorf("remove what was left in the spool: %w", err)
		}
	}
	return nil
}

// lock opens a folder and locks it. Closing the file ends the lock.
func lock(root *os.Root, name string, how int) (*os.File, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open a folder of the spool: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock a folder of the spool: %w", err), f.Close())
	}
	return f, nil
}

// Folder makes an empty folder of mode 0700. The caller closes it.
func (a *Area) Folder() (f *Folder, err error) {
	err = a.guarded(func(root *os.Root) error {
		name := prefix + strings.ToLower(rand.Text())
		if err := root.Mkdir(name, 0o700); err != nil {
			return fmt.Errorf("make a folder in the spool: %w", err)
		}
		f = &Folder{path: filepath.Join(a.path, name)}
		if f.held, err = lock(root, name, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			f.root, err = root.OpenRoot(name)
		}
		return err
	})
	if err != nil && f != nil && f.held != nil {
		err = errors.Join(err, f.held.Close()) // the next sweep finds it
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Folder is a private folder. It is safe for concurrent use.
type Folder struct {
	path string
	held *os.File
	root *os.Root
}

// Path is absolute.
func (f *Folder) Path() string { return f.path }

// Root opens what is in the folder, and nothing outside. It ends with Close.
func (f *Folder) Root() *os.Root { return f.root }

// Held is what locks the folder: a child process that inherits it keeps the lock for as long
// as it lives. It is closed by Close.
func (f *Folder) Held() *os.File { return f.held }

// Free is how many bytes this user may still write to the folder's file system.
func (f *Folder) Free() (int64, error) {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.held.Fd()), &s); err != nil {
		return 0, fmt.Errorf("look at the spool's file system: %w", err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:gosec,unconvert // no file system is of 2^63 bytes; Bsize is narrower on other systems
}

// Close removes the folder with all that is in it. Processes that inherited its lock must have
// ended. Closing again does nothing.
func (f *Folder) Close() error {
	err := os.RemoveAll(f.path)
	if closing := f.held.Close(); !errors.Is(closing, os.ErrClosed) {
		err = errors.Join(err, closing)
	}
	if err = errors.Join(err, f.root.Close()); err != nil {
		return fmt.Errorf("remove a folder of the spool: %w", err)
	}
	return nil
}
