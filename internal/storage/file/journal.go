package file

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/pgcourier/pgcourier/internal/storage"
)

var _ storage.Journal = (*Journal)(nil)

// Journal keeps a storage.Journal in a folder of this host: one file for each key, 0600,
// a reference a line. Notes are synced before Note returns. Workers on other hosts do not
// see it. It is safe for concurrent use within a process; two processes may share a
// folder as long as a key is one process's at a time, as attempts are.
type Journal struct {
	mu   sync.Mutex
	root *os.Root
}

// OpenJournal opens the folder dir and makes it, 0700, when it is missing. The caller
// closes the Journal.
func OpenJournal(dir string) (*Journal, error) {
	d, err := Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return &Journal{root: d.root}, nil
}

// Close releases the folder.
func (j *Journal) Close() error { return j.root.Close() }

func journalFile(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16]) + ".jsonl"
}

// note is one line.
type note struct {
	Key string      `json:"key"`
	Ref storage.Ref `json:"ref"`
}

// Note implements storage.Journal.
func (j *Journal) Note(ctx context.Context, key string, ref storage.Ref) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	line, err := json.Marshal(note{key, ref})
	if err != nil {
		return fmt.Errorf("encode a note: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	name := journalFile(key)
	_, statErr := j.root.Lstat(name)
	f, err := j.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, filePerm)
	if err != nil {
		return wrap(err)
	}
	defer func() { err = errors.Join(err, wrap(f.Close())) }()
	// The line break in front ends a line that a crash or a full disk cut short.
	if _, err := f.Write(slices.Concat([]byte("\n"), line, []byte("\n"))); err != nil {
		return wrap(err)
	}
	if err := f.Sync(); err != nil {
		return wrap(err)
	}
	if errors.Is(statErr, fs.ErrNotExist) {
		return j.syncRoot()
	}
	return nil
}

// Refs implements storage.Journal. A line that was cut short was never acknowledged and is
// passed over.
func (j *Journal) Refs(ctx context.Context, key string) ([]storage.Ref, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	b, err := j.root.ReadFile(journalFile(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap(err)
	}
	var refs []storage.Ref
	seen := map[storage.Ref]bool{}
	for r := bufio.NewReader(bytes.NewReader(b)); ; {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return refs, nil // with whatever has no line break behind it
		}
		var n note
		if json.Unmarshal(line, &n) == nil && n.Key == key && n.Ref != "" && !seen[n.Ref] {
			seen[n.Ref] = true
			refs = append(refs, n.Ref)
		}
	}
}

// Forget implements storage.Journal.
func (j *Journal) Forget(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	err := j.root.Remove(journalFile(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return wrap(err)
	}
	return j.syncRoot()
}

func (j *Journal) syncRoot() error {
	f, err := j.root.Open(".")
	if err != nil {
		return wrap(err)
	}
	return errors.Join(syncDir(f), f.Close())
}
