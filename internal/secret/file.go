package secret

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// EnsureFile returns the contents of a file that holds a secret. A file that does not exist is
// made of what generate returns, for its owner only, in a folder that it makes likewise; of
// several processes that do so at once, all return the same. A file that others may read or
// that is no plain file is refused.
func EnsureFile(path string, generate func() ([]byte, error)) ([]byte, error) {
	b, err := ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if b, err = generate(); err != nil {
		return nil, err
	}
	if err := Create(path, b); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return ReadFile(path)
}

// Create makes a file for its owner only, whole or not at all. One that is there already stays, and
// the error is an fs.ErrExist.
func Create(path string, b []byte) (err error) {
	tmp := path + "." + rand.Text() + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- the operator's own folder
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(tmp)) }()
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(tmp, path)
}

// ReadFile returns the contents of a file that holds a secret. A file that others may read or that is no
// plain file is refused. A missing file is an fs.ErrNotExist.
func ReadFile(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a plain file (%s): remove it", path, info.Mode().Type())
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s may be read by others (%s): run chmod 600 on it, or remove it to have a new one made", path, info.Mode().Perm())
	}
	return os.ReadFile(path) // #nosec G304 -- the operator's own folder
}
