package file_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// damage flips a bit of each file after it is written, until it is stopped.
type damage struct {
	t     *testing.T
	at    int64
	flips int
	over  bool
}

func (d *damage) written(f *os.File) {
	if d.over {
		return
	}
	g, err := os.OpenFile(f.Name(), os.O_RDWR, 0)
	if err != nil {
		d.t.Error(err)
		return
	}
	b := make([]byte, 1)
	_, readErr := g.ReadAt(b, d.at)
	b[0] ^= 4
	_, writeErr := g.WriteAt(b, d.at)
	if err := errors.Join(readErr, writeErr, g.Close()); err != nil {
		d.t.Error(err)
	}
	d.flips++
}

func TestDamageOnTheDiskIsNoticed(t *testing.T) {
	t.Parallel()
	const size = 40<<20 + 5 // several steps; the last one is read after the end
	data := storagetest.Bytes(size)
	for _, c := range []struct {
		size, at int64
	}{{1, 0}, {300 << 10, 299 << 10}, {size - 5, size - 6}, {size, size - 1}, {size, 36 << 20}} {
		dir := t.TempDir()
		driver, damage := open(t, dir), &damage{t: t, at: c.at}
		driver.OnWritten(damage.written)
		r := repository(t, driver)
		_, err := r.Put(t.Context(), "acme/a.1.sql", bytes.NewReader(data[:c.size]), storagetest.Describe("acme/a.1.sql", data[:c.size]))
		if !errors.Is(err, storage.ErrDamaged) || damage.flips != 1 {
			t.Errorf("%d bytes, damaged at %d: %v after %d flips", c.size, c.at, err, damage.flips)
		}
		damage.over = true
		if left := files(t, dir); len(left) != 0 {
			t.Errorf("%d bytes: left %q", c.size, left)
		}
		if _, err := r.Put(t.Context(), "acme/a.1.sql", bytes.NewReader(data[:c.size]), storagetest.Describe("acme/a.1.sql", data[:c.size])); err != nil {
			t.Errorf("%d bytes, whole: %v", c.size, err)
		}
	}
}
