package telegram

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// errReadOnly says that a Folder takes nothing.
var errReadOnly = fmt.Errorf("%w: a downloaded folder is only read", storage.ErrUnavailable)

// Folder is a chat's files as somebody downloaded them by hand: with the index, the
// manifest and all parts of an export in one folder, a repository restores it as from the
// chat, without a bot and without a network. Files are told apart by their contents, as
// references hold the SHA-256, so their names may be any. It is read-only: Put, Delete and
// SetIndex fail with storage.ErrUnavailable. It is safe for concurrent use.
type Folder struct {
	root *os.Root

	mu     sync.Mutex
	hashes map[string][32]byte // by file name, of those that were hashed so far
}

var _ storage.Indexer = (*Folder)(nil)

// OpenFolder opens a folder of downloaded files. The caller calls Close.
func OpenFolder(dir string) (*Folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open downloaded folder: %w", err)
	}
	return &Folder{root: root, hashes: map[string][32]byte{}}, nil
}

// Close closes the folder; files that are open stay so.
func (f *Folder) Close() error { return f.root.Close() }

// Traits says that blobs are at most what a chat takes.
func (f *Folder) Traits() storage.Traits {
	return storage.Traits{Scheme: scheme + "-folder", MaxBlob: MaxLocalPart}
}

// URI names the export without the folder, which is a path of this machine.
func (f *Folder) URI(key string, _ storage.Ref) string { return scheme + "-folder:" + key }

// Put fails.
func (f *Folder) Put(context.Context, storage.Blob) (storage.Stored, error) {
	return storage.Stored{}, errReadOnly
}

// Delete fails.
func (f *Folder) Delete(context.Context, storage.Ref) (storage.Deletion, error) {
	return storage.Absent, errReadOnly
}

// SetIndex fails.
func (f *Folder) SetIndex(context.Context, []byte) error { return errReadOnly }

// Open finds the file with the reference's size and SHA-256, whichever chat it is from. A
// file that was damaged since is storage.ErrNotFound like one that is missing.
func (f *Folder) Open(ctx context.Context, ref storage.Ref, offset int64) (io.ReadCloser, error) {
	r, err := parseReference(ref)
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(f.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("list downloaded folder: %w: %w", storage.ErrUnavailable, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() != r.size {
			continue // a file that vanished meanwhile is not the one either
		}
		sum, err := f.hash(ctx, e.Name())
		if err != nil {
			return nil, err
		}
		if sum == r.sha256 {
			return f.openAt(e.Name(), offset)
		}
	}
	return nil, fmt.Errorf("no file of the folder is the document of message %d: %w", r.message, storage.ErrNotFound)
}

// hash reads a file once; a part is looked for among files of the same size, which most
// parts are.
func (f *Folder) hash(ctx context.Context, name string) ([32]byte, error) {
	f.mu.Lock()
	sum, ok := f.hashes[name]
	f.mu.Unlock()
	if ok {
		return sum, nil
	}
	file, err := f.root.Open(name)
	if err != nil {
		return sum, fmt.Errorf("read downloaded file: %w: %w", storage.ErrUnavailable, err)
	}
	defer func() { _ = file.Close() }() // only read from
	h := sha256.New()
	if _, err := io.CopyBuffer(h, contextReader{ctx, file}, make([]byte, 256<<10)); err != nil {
		if ctx.Err() != nil {
			return sum, ended(ctx)
		}
		return sum, fmt.Errorf("read downloaded file: %w: %w", storage.ErrUnavailable, err)
	}
	h.Sum(sum[:0])
	f.mu.Lock()
	f.hashes[name] = sum
	f.mu.Unlock()
	return sum, nil
}

func (f *Folder) openAt(name string, offset int64) (io.ReadCloser, error) {
	file, err := f.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open downloaded file: %w: %w", storage.ErrUnavailable, err)
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(fmt.Errorf("open downloaded file: %w: %w", storage.ErrUnavailable, err), file.Close())
	}
	return file, nil
}

// Index returns the newest downloaded index, or nil when there is none.
func (f *Folder) Index(ctx context.Context) ([]byte, error) {
	entries, err := fs.ReadDir(f.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("list downloaded folder: %w: %w", storage.ErrUnavailable, err)
	}
	stem := strings.TrimSuffix(indexName, extension)
	var newest string
	var at time.Time
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || !strings.HasPrefix(e.Name(), stem) || !strings.HasSuffix(e.Name(), extension) {
			continue
		}
		if newest == "" || info.ModTime().After(at) {
			newest, at = e.Name(), info.ModTime()
		}
	}
	if newest == "" {
		return nil, nil
	}
	file, err := f.root.Open(newest)
	if err != nil {
		return nil, fmt.Errorf("open downloaded index: %w: %w", storage.ErrUnavailable, err)
	}
	var doc bytes.Buffer
	_, err = io.Copy(&doc, contextReader{ctx, file})
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("read downloaded index: %w", err)
	}
	return doc.Bytes(), nil
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context //nolint:containedctx // of one copy
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, ended(c.ctx)
	}
	return c.r.Read(p)
}
