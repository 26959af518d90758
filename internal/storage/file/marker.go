package file

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// Marker implements storage.Marked.
func (d *Driver) Marker(ctx context.Context) (m storage.Marker, err error) {
	if err := ctx.Err(); err != nil {
		return m, err
	}
	// Not enter: it would compare with what is expected, and keep the folder.
	f, err := d.openFolder()
	if errors.Is(err, storage.ErrNotMarked) {
		return m, errors.Join(storage.ErrNotFound, err)
	}
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, f.root.Close()) }()
	return f.marker()
}

// Mark implements storage.Marked. It makes the folder, 0700, when it is missing.
func (d *Driver) Mark(ctx context.Context, m storage.Marker) error {
	if _, err := os.Stat(d.dir); errors.Is(err, os.ErrNotExist) {
		if err := makeRoot(d.dir); err != nil {
			return err
		}
	}
	doc, err := m.Encode()
	if err != nil {
		return err
	}
	f, err := d.openFolder()
	if err != nil {
		return err
	}
	staged, err := f.stage(ctx, storage.Blob{Name: storage.Name{Key: "marker"}, Size: int64(len(doc)), Body: bytes.NewReader(doc)})
	if err == nil {
		err = f.show(staged, storage.MarkerName)
		if err != nil {
			err = errors.Join(err, f.unstage(staged))
		}
	}
	return errors.Join(err, f.root.Close())
}

// Expect implements storage.Marked: each call looks at the marker first.
func (d *Driver) Expect(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expected = id
}

// Replaceable implements storage.Marked: an empty folder can be a mount point.
func (d *Driver) Replaceable() bool { return false }

// Place implements storage.Marked.
func (d *Driver) Place() string { return mountOf(d.dir) }

func (d *folder) marker() (storage.Marker, error) {
	f, err := d.root.Open(storage.MarkerName)
	if err != nil {
		return storage.Marker{}, wrap(err)
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<16))
	if err = errors.Join(err, f.Close()); err != nil {
		return storage.Marker{}, wrap(err)
	}
	return storage.DecodeMarker(b)
}

// holds returns nil if the folder has the marker of the storage id.
func (d *folder) holds(id string) error {
	m, err := d.marker()
	return storage.ExpectMarker(m, err, id)
}

// standsAt reports whether the opened folder is the one at a path: after a file system was
// unmounted it is not.
func (d *folder) standsAt(dir string) bool {
	there, err := os.Stat(dir)
	if err != nil {
		return false
	}
	opened, err := d.root.Stat(".")
	return err == nil && os.SameFile(there, opened)
}
