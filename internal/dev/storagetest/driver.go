package storagetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// blob returns a Blob as a Repository would make it for this driver.
func (dst Destination) blob(n storage.Name, data []byte) storage.Blob {
	if dst.Driver.Traits().MaxBlob == 0 && n.Kind == storage.Data {
		return storage.Blob{Name: n, Size: -1, Body: bytes.NewReader(data)}
	}
	return storage.Blob{
		Name: n, Size: int64(len(data)), Body: bytes.NewReader(data), SHA256: sha256.Sum256(data),
	}
}

// data returns the name of a data blob as a Repository would make it for this driver.
func (dst Destination) data(key string) storage.Name {
	if dst.Driver.Traits().MaxBlob > 0 {
		return storage.Name{Key: key, Part: 1}
	}
	return storage.Name{Key: key}
}

func (dst Destination) put(t *testing.T, n storage.Name, data []byte) storage.Ref {
	t.Helper()
	s, err := dst.Driver.Put(background(t), dst.blob(n, data))
	if err != nil {
		t.Fatalf("put %s: %v", n, err)
	}
	if s.Ref == "" || len(s.Ref) > storage.MaxRef {
		t.Fatalf("put %s: reference of %d bytes", n, len(s.Ref))
	}
	return s.Ref
}

func get(t *testing.T, d storage.Driver, ref storage.Ref, offset int64) ([]byte, error) {
	t.Helper()
	body, err := d.Open(background(t), ref, offset)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(body)
	return b, errors.Join(err, body.Close())
}

func driverRoundTrip(t *testing.T, dst Destination) {
	limit := dst.Driver.Traits().MaxBlob
	for i, size := range dst.sizes() {
		if limit > 0 && (size == 0 || size > limit) {
			continue // a Repository never asks for it
		}
		want := Bytes(size)
		n := dst.data(fmt.Sprintf("acme/r%d.1.sql", i))
		b := dst.blob(n, want)
		if b.Size < 0 {
			b.Body = iotest.DataErrReader(b.Body) // returns the last bytes together with io.EOF
		}
		s, err := dst.Driver.Put(background(t), b)
		if err != nil {
			t.Fatalf("put %d bytes: %v", size, err)
		}
		again := dst.Reopen(t)
		for _, offset := range []int64{0, 1, size / 2, size, size + 5} {
			got, err := get(t, again, s.Ref, offset)
			if err != nil {
				t.Fatalf("open %d bytes at %d: %v", size, offset, err)
			}
			if !bytes.Equal(got, want[min(offset, size):]) {
				t.Errorf("%d bytes at %d: %d bytes came back, or others", size, offset, len(got))
			}
		}
		if uri := dst.Driver.URI(n.Key, s.Ref); uri == "" {
			t.Error("no URI")
		}
	}
}

func driverFailingBody(t *testing.T, dst Destination) {
	if dst.Driver.Traits().MaxBlob > 0 {
		t.Log("bodies of this driver are in memory and cannot fail")
		return
	}
	size := max(1000, 2*dst.PartSize)
	for what, failure := range failures {
		for _, at := range []int64{0, 1, size / 2, size - 1, size} {
			n := storage.Name{Key: "acme/r.1.sql"}
			_, err := dst.Driver.Put(background(t), storage.Blob{
				Name: n, Size: -1, Body: &failing{data: Bytes(size)[:at], err: failure},
			})
			if !errors.Is(err, failure) {
				t.Errorf("%s at byte %d: error %v", what, at, err)
			}
			dst.expectRemains(t, 0)
		}
	}
}

func driverCancelled(t *testing.T, dst Destination) {
	ctx, cancel := context.WithCancel(background(t))
	cancel()
	n := dst.data("acme/r.1.sql")
	if _, err := dst.Driver.Put(ctx, dst.blob(n, Bytes(100))); !errors.Is(err, context.Canceled) {
		t.Errorf("put with an ended context: %v", err)
	}
	dst.expectRemains(t, 0)
	ref := dst.put(t, n, Bytes(100))
	if body, err := dst.Driver.Open(ctx, ref, 0); err == nil {
		_, err = io.ReadAll(body)
		if err := errors.Join(err, body.Close()); !errors.Is(err, context.Canceled) {
			t.Errorf("open with an ended context: %v", err)
		}
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("open with an ended context: %v", err)
	}
	if _, err := dst.Driver.Delete(ctx, ref); !errors.Is(err, context.Canceled) {
		t.Errorf("delete with an ended context: %v", err)
	}
	dst.expectRemains(t, 1)
}

func driverTakenName(t *testing.T, dst Destination) {
	lister, ok := dst.Driver.(storage.Lister)
	if !ok {
		t.Log("names do not address blobs here")
		return
	}
	for _, n := range []storage.Name{{Key: "acme/r.1.sql"}, {Key: "acme/r.1.sql", Kind: storage.Manifest}} {
		if dst.Driver.Traits().MaxBlob > 0 && n.Kind == storage.Data {
			n.Part = 1
		}
		want := Bytes(100)
		dst.put(t, n, want)
		before := len(dst.Remains(t))
		if _, err := dst.Driver.Put(background(t), dst.blob(n, Bytes(50))); !errors.Is(err, storage.ErrExists) {
			t.Errorf("put %s again: %v", n, err)
		}
		dst.expectRemains(t, before)
		ref, err := lister.Find(background(t), n)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := get(t, lister, ref, 0); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s was changed: %v", n, err)
		}
	}
}

func driverDelete(t *testing.T, dst Destination) {
	keep := dst.put(t, dst.data("acme/keep.1.sql"), Bytes(10))
	ref := dst.put(t, dst.data("acme/r.1.sql"), Bytes(100))
	d, err := dst.Driver.Delete(background(t), ref)
	if err != nil || d == storage.Absent {
		t.Fatalf("delete: %v, %v", d, err)
	}
	if _, err := get(t, dst.Driver, ref, 0); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("open after delete: %v", err)
	}
	if again, err := dst.Driver.Delete(background(t), ref); err != nil || again == storage.Deleted {
		t.Errorf("delete again: %v, %v", again, err)
	}
	if got, err := get(t, dst.Driver, keep, 0); err != nil || len(got) != 10 {
		t.Errorf("another blob: %d bytes, %v", len(got), err)
	}
}

func driverForeign(t *testing.T, dst Destination) {
	ref := dst.put(t, dst.data("acme/r.1.sql"), Bytes(100))
	for _, foreign := range []storage.Ref{
		"", ".", "..", "../r.1.sql", "/etc/passwd", "acme/../../x", "acme//r.1.sql", "acme/r\x00", "\xff",
		"acme/.staging", ".staging/x", "a\\b", "https://example.com/x", ref + "/", ref + "\n",
	} {
		if _, err := get(t, dst.Driver, foreign, 0); !errors.Is(err, storage.ErrForeign) {
			t.Errorf("open %q: %v", foreign, err)
		}
		if d, err := dst.Driver.Delete(background(t), foreign); !errors.Is(err, storage.ErrForeign) || d != storage.Absent {
			t.Errorf("delete %q: %v, %v", foreign, d, err)
		}
	}
	dst.expectRemains(t, 1)
}

func driverConcurrent(t *testing.T, dst Destination) {
	const writers = 12
	var wg sync.WaitGroup
	refs := make([]storage.Ref, writers)
	errs := make([]error, writers)
	for i := range writers {
		wg.Go(func() {
			b := dst.blob(dst.data(fmt.Sprintf("new/label/r%d.1.sql", i)), Bytes(int64(1000+i)))
			s, err := dst.Driver.Put(background(t), b)
			refs[i], errs[i] = s.Ref, err
		})
	}
	wg.Wait()
	for i, ref := range refs {
		if errs[i] != nil {
			t.Errorf("writer %d: %v", i, errs[i])
			continue
		}
		if got, err := get(t, dst.Driver, ref, 0); err != nil || !bytes.Equal(got, Bytes(int64(1000+i))) {
			t.Errorf("writer %d: other bytes, or %v", i, err)
		}
	}
	dst.expectRemains(t, writers)
}
