package telegramtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// Blobs stores the contents of documents. Implementations are safe for concurrent use.
type Blobs interface {
	// Create starts a blob; its Close completes it.
	Create(id string) (io.WriteCloser, error)
	// Open returns a complete blob.
	Open(id string) (io.ReadSeekCloser, error)
	// Remove deletes a blob, complete or not. A missing blob is not an error.
	Remove(id string) error
}

// Memory keeps contents in memory. The zero value is ready to use.
type Memory struct {
	mu   sync.Mutex
	data map[string][]byte
}

var _ Blobs = (*Memory)(nil)

type memoryWriter struct {
	bytes.Buffer
	done func([]byte)
}

func (w *memoryWriter) Close() error { w.done(w.Bytes()); return nil }

type memoryReader struct{ *bytes.Reader }

func (memoryReader) Close() error { return nil }

// Create starts a blob.
func (m *Memory) Create(id string) (io.WriteCloser, error) {
	return &memoryWriter{done: func(b []byte) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.data == nil {
			m.data = map[string][]byte{}
		}
		m.data[id] = b
	}}, nil
}

// Open returns a blob.
func (m *Memory) Open(id string) (io.ReadSeekCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.data[id]
	if !ok {
		return nil, os.ErrNotExist
	}
	return memoryReader{bytes.NewReader(b)}, nil
}

// Remove drops a blob.
func (m *Memory) Remove(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.data, id)
	return nil
}

// Dir keeps contents as files in a folder that exists.
type Dir string

var _ Blobs = Dir("")

func (d Dir) path(id string) string { return filepath.Join(string(d), id) }

// Create starts a file.
func (d Dir) Create(id string) (io.WriteCloser, error) {
	f, err := os.OpenFile(d.path(id), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep document: %w", err)
	}
	return f, nil
}

// Open opens a file.
func (d Dir) Open(id string) (io.ReadSeekCloser, error) {
	f, err := os.Open(d.path(id))
	if err != nil {
		return nil, fmt.Errorf("open document: %w", err)
	}
	return f, nil
}

// Remove removes a file.
func (d Dir) Remove(id string) error {
	if err := os.Remove(d.path(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove document: %w", err)
	}
	return nil
}

// HashOnly stores no contents: only names, sizes and hashes of the documents remain. Downloads
// answer that the file is unavailable.
type HashOnly struct{}

var _ Blobs = HashOnly{}

type discard struct{ io.Writer }

func (discard) Close() error { return nil }

// Create returns a writer that discards the bytes.
func (HashOnly) Create(string) (io.WriteCloser, error) { return discard{io.Discard}, nil }

// Open returns os.ErrNotExist.
func (HashOnly) Open(string) (io.ReadSeekCloser, error) { return nil, os.ErrNotExist }

// Remove does nothing.
func (HashOnly) Remove(string) error { return nil }
