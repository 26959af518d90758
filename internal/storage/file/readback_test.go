package file_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/storagetest"
)

// damaging is a body that flips a bit of what was written of it before it ends.
type damaging struct {
	io.Reader
	dir   string
	at    int64
	flips int
}

func (d *damaging) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	if err == io.EOF {
		names, _ := filepath.Glob(filepath.Join(d.dir, ".staging", "*"))
		for _, name := range names {
			f, err := os.OpenFile(name, os.O_RDWR, 0)
			if err != nil {
				return n, err
			}
			b := make([]byte, 1)
			_, readErr := f.ReadAt(b, d.at)
			b[0] ^= 4
			_, writeErr := f.WriteAt(b, d.at)
			if err := errors.Join(readErr, writeErr, f.Close()); err != nil {
				return n, err
			}
			d.flips++
		}
	}
	return n, err
}

func TestWhatTheDiskDoesNotHoldAsWrittenIsNoticed(t *testing.T) {
	t.Parallel()
	const size = 40 << 20 // several steps; the last one is read after the end
	data := storagetest.Bytes(size)
	for _, c := range []struct {
		size, at int64
	}{{1, 0}, {300 << 10, 299 << 10}, {size, size - 1}} {
		dir := t.TempDir()
		r := repository(t, open(t, dir))
		body := &damaging{Reader: bytes.NewReader(data[:c.size]), dir: dir, at: c.at}
		_, err := r.Put(t.Context(), "acme/a.1.sql", body, storagetest.Describe("acme/a.1.sql", data[:c.size]))
		if !errors.Is(err, storage.ErrDamaged) || body.flips != 1 {
			t.Errorf("%d bytes, damaged at %d: %v after %d flips", c.size, c.at, err, body.flips)
		}
		if left := files(t, dir); len(left) != 0 {
			t.Errorf("%d bytes: left %q", c.size, left)
		}
		if _, err := r.Put(t.Context(), "acme/a.1.sql", bytes.NewReader(data[:c.size]), storagetest.Describe("acme/a.1.sql", data[:c.size])); err != nil {
			t.Errorf("%d bytes, whole: %v", c.size, err)
		}
	}
}
