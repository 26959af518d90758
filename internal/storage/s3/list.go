package s3

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// uploadsPage is how many unfinished uploads are asked for at once: S3's bound.
const uploadsPage = 1000

// Find implements storage.Lister.
func (d *Driver) Find(ctx context.Context, n storage.Name) (storage.Ref, error) {
	if err := n.Check(); err != nil {
		return "", err
	}
	if _, err := d.stat(ctx, d.object(n)); err != nil {
		return "", fmt.Errorf("%s: %w", n, err)
	}
	return storage.Ref(n.String()), nil
}

// Names implements storage.Lister. Objects that are none of ours are passed over.
func (d *Driver) Names(ctx context.Context) iter.Seq2[storage.Name, error] {
	return func(yield func(storage.Name, error) bool) { d.list(ctx, d.prefix, yield) }
}

// list yields our names among the objects with names that begin with prefix.
func (d *Driver) list(ctx context.Context, prefix string, yield func(storage.Name, error) bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the client's listing may run beside us
	for info := range d.core.ListObjectsIter(ctx, d.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if info.Err != nil {
			yield(storage.Name{}, fmt.Errorf("list: %w", d.wrap(ctx, info.Err)))
			return
		}
		n, err := storage.ParseName(strings.TrimPrefix(info.Key, d.prefix))
		if err == nil && !yield(n, nil) {
			return
		}
	}
	if err := ctx.Err(); err != nil {
		yield(storage.Name{}, err)
	}
}

// Sweep implements storage.Lister. A server that cannot list unfinished uploads answers
// NotImplemented; there they are left to its lifecycle rules.
func (d *Driver) Sweep(ctx context.Context, key string) (storage.Deletion, error) {
	if err := storage.CheckKey(key); err != nil {
		return storage.Absent, err
	}
	var names []storage.Name
	var listErr error
	d.list(ctx, d.prefix+key, func(n storage.Name, err error) bool {
		if listErr = err; err == nil && n.Key == key {
			names = append(names, n)
		}
		return err == nil
	})
	if listErr != nil {
		return storage.Absent, listErr
	}
	slices.SortStableFunc(names, func(a, b storage.Name) int { return int(b.Kind) - int(a.Kind) }) // the manifest first
	result := storage.Absent
	for _, n := range names {
		done, err := d.remove(ctx, d.object(n))
		if err != nil {
			return result, fmt.Errorf("%s: %w", n, err)
		}
		result = max(result, done)
	}
	aborted, err := d.sweepUploads(ctx, key)
	return max(result, aborted), err
}

// sweepUploads aborts the unfinished uploads under key. The list is read whole before the
// first abort, because the pages' markers point into it.
func (d *Driver) sweepUploads(ctx context.Context, key string) (storage.Deletion, error) {
	type unfinished struct{ object, id string }
	var all []unfinished
	keyMarker, idMarker := "", ""
	for {
		page, err := d.core.ListMultipartUploads(ctx, d.bucket, d.prefix+key, keyMarker, idMarker, "", uploadsPage)
		if err != nil {
			switch minio.ToErrorResponse(err).Code {
			case minio.NotImplemented, "NoSuchUpload": // none can be listed, or there is none
				return storage.Absent, nil
			}
			return storage.Absent, fmt.Errorf("list unfinished uploads: %w", d.wrap(ctx, err))
		}
		for _, u := range page.Uploads {
			n, err := storage.ParseName(strings.TrimPrefix(u.Key, d.prefix))
			if err == nil && n.Key == key {
				all = append(all, unfinished{u.Key, u.UploadID})
			}
		}
		moved := page.NextKeyMarker != keyMarker || page.NextUploadIDMarker != idMarker
		keyMarker, idMarker = page.NextKeyMarker, page.NextUploadIDMarker
		if !page.IsTruncated || !moved {
			break
		}
	}
	for _, u := range all {
		if err := d.abort(ctx, u.object, u.id); err != nil {
			return storage.Absent, err
		}
	}
	if len(all) == 0 {
		return storage.Absent, nil
	}
	return storage.Deleted, nil
}

// abort removes the parts of an upload; one that is gone is no error.
func (d *Driver) abort(ctx context.Context, object, id string) error {
	err := d.core.AbortMultipartUpload(ctx, d.bucket, object, id)
	if err != nil && minio.ToErrorResponse(err).Code != "NoSuchUpload" {
		return fmt.Errorf("abort the upload: %w", d.wrap(ctx, err))
	}
	return nil
}
