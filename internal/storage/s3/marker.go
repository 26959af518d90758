package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/minio/minio-go/v7"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// Marker implements storage.Marked.
func (d *Driver) Marker(ctx context.Context) (m storage.Marker, err error) {
	body, _, _, err := d.core.GetObject(ctx, d.bucket, d.prefix+storage.MarkerName, minio.GetObjectOptions{})
	if err != nil {
		return m, fmt.Errorf("get the storage's marker: %w", d.wrap(ctx, err))
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	b, err := io.ReadAll(io.LimitReader(body, 1<<16))
	if err != nil {
		return m, fmt.Errorf("get the storage's marker: %w", d.wrap(ctx, err))
	}
	return storage.DecodeMarker(b)
}

// Mark implements storage.Marked.
func (d *Driver) Mark(ctx context.Context, m storage.Marker) error {
	doc, err := m.Encode()
	if err != nil {
		return err
	}
	object := d.prefix + storage.MarkerName
	switch _, err := d.stat(ctx, object); {
	case err == nil:
		return fmt.Errorf("the storage's marker: %w", storage.ErrExists)
	case !errors.Is(err, storage.ErrNotFound):
		return err
	}
	u := &upload{driver: d, object: object, mark: m.Storage}
	if err := u.single(ctx, bytes.Clone(doc)); err != nil {
		return fmt.Errorf("put the storage's marker: %w", err)
	}
	return nil
}

// Expect implements storage.Marked. A look at the marker is a request, so it is looked at at a
// worker's start and before a pruner deletes, and not with each call.
func (d *Driver) Expect(string) {}

// Replaceable implements storage.Marked: a bucket's own rules may have deleted the marker with
// everything else.
func (d *Driver) Replaceable() bool { return true }

// Place implements storage.Marked: a bucket lies on nothing that could be missing.
func (d *Driver) Place() string { return "" }
