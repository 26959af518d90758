package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"

	"github.com/pgcourier/pgcourier/internal/storage"
)

var (
	_ storage.Lister = (*Driver)(nil)
	_ storage.Marked = (*Driver)(nil)
)

const scheme = "file"

// Driver keeps blobs under one folder. It is safe for concurrent use.
type Driver struct {
	dir    string
	blocks blocks
	// written, if not nil, is called when a staging file has all its bytes, before the last of
	// them are read back. For tests.
	written func(*os.File)

	mu       sync.Mutex
	folder   *folder   // nil: not opened, or closed
	past     []*folder // what was opened before a file system was mounted again; in use by some call
	expected string    // the storage's name; "": any
	closed   bool
}

// Open opens the folder dir as a root if it is there. It makes nothing: Mark does. The caller
// closes the Driver after its last use. Errors wrap storage.ErrUnavailable.
func Open(dir string) (*Driver, error) {
	if dir == "" {
		return nil, fmt.Errorf("%w: no folder given", storage.ErrUnavailable)
	}
	d := &Driver{dir: dir}
	if _, err := d.enter(); err != nil && !errors.Is(err, storage.ErrNotMarked) {
		return nil, err
	}
	return d, nil
}

// enter returns the folder to work in. With Expect it is the one that stands at the path now and
// holds the expected marker: a file system that was unmounted and mounted again is found.
func (d *Driver) enter() (*folder, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return nil, fmt.Errorf("%w: the storage folder: %w", storage.ErrUnavailable, os.ErrClosed)
	case d.folder != nil && d.expected == "":
		return d.folder, nil
	case d.folder != nil && d.folder.standsAt(d.dir) && d.folder.holds(d.expected) == nil:
		return d.folder, nil
	}
	f, err := d.openFolder()
	if err != nil {
		return nil, err
	}
	if d.expected != "" {
		if err := f.holds(d.expected); err != nil {
			return nil, errors.Join(fmt.Errorf("the folder %s: %w", d.dir, err), f.root.Close())
		}
	}
	if d.folder != nil {
		d.past = append(d.past, d.folder)
	}
	d.folder = f
	return f, nil
}

func (d *Driver) openFolder() (*folder, error) {
	root, err := os.OpenRoot(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: the folder %s does not exist", storage.ErrNotMarked, d.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open storage folder: %w", wrap(err))
	}
	return &folder{root: root, blocks: &d.blocks, written: d.written}, nil
}

// Close releases the root. Calls after it fail.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	var errs []error
	for _, f := range append(d.past, d.folder) {
		if f != nil {
			errs = append(errs, f.root.Close())
		}
	}
	d.folder, d.past = nil, nil
	return errors.Join(errs...)
}

// Check finds out whether exports can be written: it makes a file in staging, syncs it
// and removes it again. Its errors are Put's.
func (d *Driver) Check(ctx context.Context) error {
	f, err := d.enter()
	if err != nil {
		return err
	}
	return f.check(ctx)
}

// Traits implements storage.Driver: one file of any size for each export.
func (d *Driver) Traits() storage.Traits { return storage.Traits{Scheme: scheme} }

// URI implements storage.Driver: "file:" and the key, relative to the root, because no
// event may hold a server path.
func (d *Driver) URI(key string, _ storage.Ref) string { return scheme + ":" + key }

// Put implements storage.Driver. The reference is the name's path. The file is read back from
// the device while it is written, so Put answers soon after the body's end.
func (d *Driver) Put(ctx context.Context, b storage.Blob) (storage.Stored, error) {
	f, err := d.enter()
	if err != nil {
		return storage.Stored{}, err
	}
	return f.put(ctx, b)
}

// Open implements storage.Driver. Only regular files are opened.
func (d *Driver) Open(ctx context.Context, ref storage.Ref, offset int64) (io.ReadCloser, error) {
	f, err := d.enter()
	if err != nil {
		return nil, err
	}
	return f.open(ctx, ref, offset)
}

// Delete implements storage.Driver.
func (d *Driver) Delete(ctx context.Context, ref storage.Ref) (storage.Deletion, error) {
	f, err := d.enter()
	if err != nil {
		return storage.Absent, err
	}
	return f.delete(ctx, ref)
}

// Find implements storage.Lister.
func (d *Driver) Find(ctx context.Context, n storage.Name) (storage.Ref, error) {
	f, err := d.enter()
	if err != nil {
		return "", err
	}
	return f.find(ctx, n)
}

// Names implements storage.Lister.
func (d *Driver) Names(ctx context.Context) iter.Seq2[storage.Name, error] {
	return func(yield func(storage.Name, error) bool) {
		f, err := d.enter()
		if err != nil {
			yield(storage.Name{}, err)
			return
		}
		f.names(ctx)(yield)
	}
}

// Sweep implements storage.Lister.
func (d *Driver) Sweep(ctx context.Context, key string) (storage.Deletion, error) {
	f, err := d.enter()
	if err != nil {
		return storage.Absent, err
	}
	return f.sweep(ctx, key)
}

func makeRoot(dir string) error {
	if err := os.MkdirAll(dir, dirPerm); err != nil {
		return fmt.Errorf("make storage folder: %w", wrap(err))
	}
	parent, err := os.Open(filepath.Dir(filepath.Clean(dir)))
	if err != nil {
		return fmt.Errorf("make storage folder: %w", wrap(err))
	}
	return errors.Join(syncDir(parent), parent.Close())
}
