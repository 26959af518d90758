package stored

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

// FetchConfig says how a copy is fetched.
type FetchConfig struct {
	Copy destinations.Copy
	// To is the file to write. "-" is Stdout. Default: the export's own name in this folder.
	To     string
	Stdout io.Writer
	// Force replaces an existing file.
	Force bool
	// Plain decrypts and decompresses: the dump is written as pg_dump wrote it.
	Plain bool
	// Progress is told how far a stage has come. Required.
	Progress func(stage string, done, total int64)
}

// Fetched is what Fetch wrote. Its zero value: to Stdout.
type Fetched struct {
	File   string
	Bytes  int64
	SHA256 string
}

// Fetch writes a stored export to a file, checks its size and hash, and only then gives the file
// its name. Until then it is FILE.part, from which a fetch of stored bytes goes on. Stdout is
// written in a second reading, after the first checked everything.
func (e *Exports) Fetch(ctx context.Context, c FetchConfig) (Fetched, error) {
	f := &fetch{FetchConfig: c, exports: e}
	if c.Plain {
		out, err := f.plain(ctx)
		return out, WithHint(err)
	}
	out, err := f.stored(ctx)
	return out, WithHint(err)
}

type fetch struct {
	FetchConfig
	exports *Exports
}

func (f *fetch) stored(ctx context.Context) (Fetched, error) {
	doc, err := f.Copy.Manifest(ctx)
	if err != nil && !errors.Is(err, storage.ErrSealed) { // sizes and hashes are readable without an identity
		return Fetched{}, err
	}
	stage := func(name string) func(int64) { return func(n int64) { f.Progress(name, n, doc.Bytes) } }
	if f.To == "-" {
		if err := f.write(ctx, io.Discard, 0, stage("fetching")); err != nil {
			return Fetched{}, err
		}
		return Fetched{}, f.write(ctx, f.Stdout, 0, stage("writing"))
	}
	if f.To == "" {
		f.To = path.Base(f.Copy.Key)
	}
	if err := f.resume(ctx, doc.Bytes, doc.SHA256, stage("fetching")); err != nil {
		return Fetched{}, err
	}
	return Fetched{f.To, doc.Bytes, doc.SHA256}, nil
}

// resume completes FILE.part and gives it its name once it has the right size and hash.
func (f *fetch) resume(ctx context.Context, size int64, sum string, progress func(int64)) (err error) {
	part, err := f.begin(os.O_RDWR | os.O_CREATE)
	if err != nil {
		return err
	}
	defer func() { _ = part.Close() }() // after it was synced, or with an error already
	h := sha256.New()
	have, err := io.Copy(h, io.LimitReader(part, size))
	if err != nil {
		return fmt.Errorf("read %s: %w", part.Name(), err)
	}
	if err := part.Truncate(have); err != nil {
		return err
	}
	if err := f.write(ctx, io.MultiWriter(part, h), have, progress); err != nil {
		if errors.Is(err, restore.ErrUnverified) {
			err = errors.Join(err, os.Remove(part.Name()))
		}
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		// The bytes that were there before are not of this export, or have changed since.
		return errors.Join(fmt.Errorf("%w: what was fetched has another hash than the manifest says; it is removed, ask again", restore.ErrUnverified), os.Remove(part.Name()))
	}
	return f.finish(part)
}

// write writes the stored bytes from offset on to w.
func (f *fetch) write(ctx context.Context, w io.Writer, offset int64, progress func(int64)) (err error) {
	r, err := f.Copy.Destination.OpenAt(ctx, f.Copy.Key, offset)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	done := offset
	_, err = io.Copy(w, readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		done += int64(n)
		progress(done)
		return n, err
	}))
	return err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// plain checks the whole export in a first reading and writes the dump in a second.
func (f *fetch) plain(ctx context.Context) (Fetched, error) {
	x, err := f.exports.Export(ctx, f.Copy)
	if err != nil {
		return Fetched{}, err
	}
	a := x.Manifest.Artifact
	first, err := x.Verify(ctx, func(n int64) { f.Progress("checking", n, a.StoredBytes) })
	if err != nil {
		return Fetched{}, err
	}
	progress := func(n int64) { f.Progress("writing", n, a.StoredBytes) }
	if f.To == "-" {
		return Fetched{}, x.WritePlain(ctx, f.Stdout, first, progress)
	}
	if f.To == "" {
		f.To = fmt.Sprintf("%s.%d%s", f.Copy.ID.Request, f.Copy.Attempt, a.Format.Extension())
	}
	part, err := f.begin(os.O_RDWR | os.O_CREATE | os.O_TRUNC)
	if err != nil {
		return Fetched{}, err
	}
	defer func() { _ = part.Close() }()
	if err := x.WritePlain(ctx, part, first, progress); err != nil {
		return Fetched{}, errors.Join(err, os.Remove(part.Name()))
	}
	if err := f.finish(part); err != nil {
		return Fetched{}, err
	}
	return Fetched{f.To, first.SizeBytes, first.DumpSHA256}, nil
}

// begin opens FILE.part, for its owner only.
func (f *fetch) begin(flags int) (*os.File, error) {
	if _, err := os.Lstat(f.To); err == nil && !f.Force {
		return nil, config.Errorf("%s exists: choose another --to, or --force", f.To)
	}
	return os.OpenFile(f.To+".part", flags, 0o600)
}

// finish makes the file durable and gives it its name.
func (f *fetch) finish(part *os.File) error {
	if err := errors.Join(part.Sync(), os.Rename(part.Name(), f.To)); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(f.To))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
