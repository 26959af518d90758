package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// parents yields the folders above name, the outermost first: "a", "a/b" for "a/b/c".
func parents(name string) []string {
	var dirs []string
	for i, c := range name {
		if c == '/' {
			dirs = append(dirs, name[:i])
		}
	}
	return dirs
}

// checkParents refuses a name below anything but real folders. ErrNotFound: one of the
// folders does not exist. ErrObstructed: one is a link or a file, which does not go away by
// itself and may be there on purpose.
func (d *folder) checkParents(name string) error {
	for _, dir := range parents(name) {
		if err := d.checkDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func (d *folder) checkDir(dir string) error {
	info, err := d.root.Lstat(dir)
	if err != nil {
		return wrap(err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: %s is not a folder (links are not followed)", storage.ErrObstructed, dir)
	}
	return nil
}

// makeDir makes one folder unless it is there.
func (d *folder) makeDir(dir string) error {
	switch err := d.root.Mkdir(dir, dirPerm); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: the storage folder is gone: %w", storage.ErrUnavailable, err)
	case err != nil && !errors.Is(err, fs.ErrExist):
		return wrap(err)
	}
	return d.checkDir(dir)
}

func (d *folder) makeParents(name string) error {
	for _, dir := range parents(name) {
		if err := d.makeDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// syncUp syncs the folder of name and each folder above it, the root included. All of
// them each time: another process may have made one and not synced it yet. Side by side: a
// journal takes them in one commit.
func (d *folder) syncUp(name string) error {
	var all errgroup.Group
	for _, dir := range append(parents(name), ".") {
		all.Go(func() error {
			f, err := d.root.Open(dir)
			if err != nil {
				return wrap(err)
			}
			return errors.Join(syncDir(f), f.Close())
		})
	}
	return all.Wait()
}

// syncDir syncs a folder. Some file systems cannot and say so; there is nothing more to
// be done on them.
func syncDir(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return wrap(err)
}

// noHardLinks says that a file system has none: EPERM is what Linux answers then.
func noHardLinks(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EMLINK) || errors.Is(err, errors.ErrUnsupported)
}

// wrap classes an error of the file system.
func wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return fmt.Errorf("%w: %w", storage.ErrFull, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", storage.ErrNotFound, err)
	}
	// Lost rights and a read-only file system too: they come and go with mounts, and are
	// seen at the start where they are lasting.
	return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
}
