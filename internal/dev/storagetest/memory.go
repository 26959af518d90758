package storagetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pgcourier/pgcourier/internal/storage"
)

var _ storage.Indexer = (*Memory)(nil)

// Memory is a destination in memory that accepts small blobs, cannot list, and after Freeze deletes
// no more, like a chat. It is safe for concurrent use.
type Memory struct {
	maxBlob int64

	mu     sync.Mutex
	next   int
	blobs  map[storage.Ref][]byte
	tombs  map[storage.Ref]bool
	index  []byte
	frozen bool
}

// NewMemory makes a store with blobs of at most maxBlob bytes. Run needs 2,048 or more.
func NewMemory(maxBlob int64) *Memory {
	return &Memory{maxBlob: maxBlob, blobs: map[storage.Ref][]byte{}, tombs: map[storage.Ref]bool{}}
}

// Freeze makes each later Delete leave a tombstone.
func (m *Memory) Freeze() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frozen = true
}

// Traits implements storage.Driver.
func (m *Memory) Traits() storage.Traits {
	return storage.Traits{Scheme: "memory", MaxBlob: m.maxBlob}
}

// URI implements storage.Driver.
func (m *Memory) URI(_ string, manifest storage.Ref) string { return "memory:" + string(manifest) }

// Put implements storage.Driver.
func (m *Memory) Put(ctx context.Context, b storage.Blob) (storage.Stored, error) {
	if err := ctx.Err(); err != nil {
		return storage.Stored{}, err
	}
	data, err := io.ReadAll(b.Body)
	switch {
	case err != nil:
		return storage.Stored{}, err
	case int64(len(data)) != b.Size || len(data) == 0:
		return storage.Stored{}, fmt.Errorf("%w: %d bytes announced, %d came", storage.ErrMismatch, b.Size, len(data))
	case b.Name.Kind == storage.Data && b.Size > m.maxBlob:
		return storage.Stored{}, fmt.Errorf("%w: a part of %d bytes", storage.ErrFull, b.Size)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	ref := storage.Ref("m" + strconv.Itoa(m.next))
	m.blobs[ref] = data
	return storage.Stored{Ref: ref}, nil
}

func parseRef(ref storage.Ref) error {
	digits, ok := strings.CutPrefix(string(ref), "m")
	if n, err := strconv.Atoi(digits); !ok || err != nil || strconv.Itoa(n) != digits {
		return fmt.Errorf("%w: %q", storage.ErrForeign, ref)
	}
	return nil
}

// Open implements storage.Driver.
func (m *Memory) Open(ctx context.Context, ref storage.Ref, offset int64) (io.ReadCloser, error) {
	if err := parseRef(ref); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.blobs[ref]
	if !ok {
		return nil, fmt.Errorf("%s: %w", ref, storage.ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(data[min(offset, int64(len(data))):])), nil
}

// Delete implements storage.Driver.
func (m *Memory) Delete(ctx context.Context, ref storage.Ref) (storage.Deletion, error) {
	if err := parseRef(ref); err != nil {
		return storage.Absent, err
	}
	if err := ctx.Err(); err != nil {
		return storage.Absent, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch _, ok := m.blobs[ref]; {
	case m.tombs[ref]:
		return storage.Tombstoned, nil
	case !ok:
		return storage.Absent, nil
	}
	delete(m.blobs, ref)
	if m.frozen {
		m.tombs[ref] = true
		return storage.Tombstoned, nil
	}
	return storage.Deleted, nil
}

// Index implements storage.Indexer.
func (m *Memory) Index(ctx context.Context) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.index), ctx.Err()
}

// SetIndex implements storage.Indexer.
func (m *Memory) SetIndex(ctx context.Context, doc []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index = slices.Clone(doc)
	return nil
}

// Destination returns the Memory for Run.
func (m *Memory) Destination() Destination {
	return Destination{
		Driver: m, Journal: &storage.MemoryJournal{}, PartSize: m.maxBlob,
		Reopen: func(*testing.T) storage.Driver { return m },
		Litter: func(*testing.T) {},
		Alter: func(_ *testing.T, ref storage.Ref, data []byte) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.blobs[ref] = slices.Clone(data)
		},
		Remains: func(*testing.T) []string {
			m.mu.Lock()
			defer m.mu.Unlock()
			var left []string
			for ref := range maps.Keys(m.blobs) {
				left = append(left, string(ref))
			}
			return left
		},
	}
}
