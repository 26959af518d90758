package file

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/pgcourier/pgcourier/internal/failpoint"
	"github.com/pgcourier/pgcourier/internal/storage"
)

const (
	stagingDir = ".staging"
	dirPerm    = 0o700
	filePerm   = 0o600
)

// folder is the opened root with what lies there. Its methods are the Driver's.
type folder struct {
	root    *os.Root
	blocks  *blocks
	written func(*os.File) // see Driver
}

func (d *folder) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.makeDir(stagingDir); err != nil {
		return fmt.Errorf("make the staging folder: %w", err)
	}
	name := path.Join(stagingDir, "check."+rand.Text())
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return fmt.Errorf("write to the storage folder: %w", wrap(err))
	}
	if err := errors.Join(wrap(f.Sync()), wrap(f.Close()), d.unstage(name)); err != nil {
		return fmt.Errorf("write to the storage folder: %w", err)
	}
	return nil
}

func (d *folder) put(ctx context.Context, b storage.Blob) (storage.Stored, error) {
	if err := b.Name.Check(); err != nil {
		return storage.Stored{}, err
	}
	name := b.Name.String()
	if err := d.absent(name); err != nil {
		return storage.Stored{}, err
	}
	staged, err := d.stage(ctx, b)
	if err != nil {
		return storage.Stored{}, fmt.Errorf("write %s: %w", name, err)
	}
	failpoint.Hit(failpoint.BeforeFinalise)
	err = ctx.Err()
	if err == nil {
		err = d.show(staged, name)
	}
	if err != nil {
		return storage.Stored{}, errors.Join(fmt.Errorf("finish %s: %w", name, err), d.unstage(staged))
	}
	return storage.Stored{Ref: storage.Ref(name), Verified: true}, nil
}

// absent returns storage.ErrExists when something lies under name.
func (d *folder) absent(name string) error {
	if err := d.checkParents(name); err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	switch _, err := d.root.Lstat(name); {
	case err == nil:
		return fmt.Errorf("%s: %w", name, storage.ErrExists)
	case !errors.Is(err, fs.ErrNotExist):
		return wrap(err)
	}
	return nil
}

// stagingPrefix begins the names of all staging files of a key.
func stagingPrefix(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16]) + "."
}

// stage writes the blob into a staging file, synced, read back and closed. On failure nothing
// is left, also when the body panics.
func (d *folder) stage(ctx context.Context, b storage.Blob) (staged string, err error) {
	if err := d.makeDir(stagingDir); err != nil {
		return "", err
	}
	staged = path.Join(stagingDir, stagingPrefix(b.Name.Key)+rand.Text())
	f, err := d.root.OpenFile(staged, os.O_RDWR|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return "", wrap(err)
	}
	whole := false
	defer func() {
		err = errors.Join(err, wrap(f.Close()))
		if !whole || err != nil {
			err = errors.Join(err, d.unstage(staged))
		}
	}()
	back := newReadBack(ctx, f, d.blocks)
	defer back.stop()
	n, err := d.write(ctx, f, b, back)
	if err != nil {
		return staged, err
	}
	failpoint.Hit(failpoint.BeforeReadBack)
	if err := back.finish(ctx, n); err != nil {
		return staged, wrap(err)
	}
	whole = true
	return staged, nil
}

// write copies the blob and makes it durable.
func (d *folder) write(ctx context.Context, f *os.File, b storage.Blob, back *readBack) (int64, error) {
	n, err := newWriter(f, back, d.blocks).copyFrom(ctx, b.Body)
	if err != nil {
		return n, err
	}
	if b.Size >= 0 && n != b.Size {
		return n, fmt.Errorf("%w: %d bytes announced, %d came", storage.ErrMismatch, b.Size, n)
	}
	if err := f.Sync(); err != nil {
		return n, wrap(err)
	}
	if d.written != nil {
		d.written(f)
	}
	return n, nil
}

// show gives a staged file its name and makes that durable; when it cannot, the name is
// free again.
func (d *folder) show(staged, name string) error {
	if err := d.makeParents(name); err != nil {
		return err
	}
	if err := d.publish(staged, name); err != nil {
		return err
	}
	if err := errors.Join(d.unstage(staged), d.syncUp(name)); err != nil {
		return errors.Join(err, wrap(d.root.Remove(name)))
	}
	return nil
}

// publish gives the staged file its name, which must be free.
func (d *folder) publish(staged, name string) error {
	err := d.root.Link(staged, name)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s: %w", name, storage.ErrExists)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: the staging file was removed: %w", storage.ErrUnavailable, err)
	case !noHardLinks(err):
		return wrap(err)
	}
	// A file system without hard links (some network and FUSE ones): look, then rename.
	// Two writers of one name could both pass the look, but a key has one writer.
	if err := d.absent(name); err != nil {
		return err
	}
	return wrap(d.root.Rename(staged, name))
}

// unstage removes a staging file; one that is gone is no error.
func (d *folder) unstage(staged string) error {
	if err := d.root.Remove(staged); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wrap(err)
	}
	return nil
}

func (d *folder) open(ctx context.Context, ref storage.Ref, offset int64) (io.ReadCloser, error) {
	name, err := parse(ref)
	if err != nil {
		return nil, err
	}
	if err := d.checkParents(name); err != nil {
		return nil, err
	}
	before, err := d.root.Lstat(name)
	if err != nil {
		return nil, wrap(err)
	}
	if !before.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file", storage.ErrDamaged, name)
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, wrap(err)
	}
	// The name could have been exchanged for a link between the look and the opening.
	if after, err := f.Stat(); err != nil || !os.SameFile(before, after) {
		return nil, errors.Join(fmt.Errorf("%w: %s changed while it was opened", storage.ErrDamaged, name), wrap(err), f.Close())
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(wrap(err), f.Close())
	}
	return &blobReader{ctx: ctx, file: f}, nil
}

// blobReader ends with its context between two reads.
type blobReader struct {
	ctx  context.Context //nolint:containedctx // bound to one reading
	file *os.File
}

func (r *blobReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.file.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // io.EOF itself is the end; a wrapped one is a failure
		err = wrap(err)
	}
	return n, err
}

func (r *blobReader) Close() error { return r.file.Close() }

// parse returns the path a reference stands for.
func parse(ref storage.Ref) (string, error) {
	n, err := storage.ParseName(string(ref))
	if err != nil {
		return "", fmt.Errorf("%w: %w", storage.ErrForeign, err)
	}
	return n.String(), nil
}
