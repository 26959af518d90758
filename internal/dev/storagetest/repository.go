package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
)

const someKey = "acme/label/r.1.sql.zst"

func save(t *testing.T, r *storage.Repository, key string, data []byte) {
	t.Helper()
	copies, err := r.Put(background(t), key, bytes.NewReader(data), Describe(key, data))
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	if len(copies) != 1 || copies[0].URI == "" {
		t.Fatalf("put %s: copies %v", key, copies)
	}
}

func load(t *testing.T, r *storage.Repository, key string) ([]byte, error) {
	t.Helper()
	body, err := r.Open(background(t), key)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(body)
	return b, errors.Join(err, body.Close())
}

func expectLoad(t *testing.T, r *storage.Repository, key string, want []byte) {
	t.Helper()
	if got, err := load(t, r, key); err != nil || !bytes.Equal(got, want) {
		t.Errorf("open %s: %d bytes of %d, or others; %v", key, len(got), len(want), err)
	}
}

// code returns the contract's code of an error, or "".
func code(err error) codes.Code {
	if f, ok := errors.AsType[*export.Fault](err); ok {
		return f.Code
	}
	return ""
}

// expectInvisible fails unless nothing is stored and no export is visible.
func (dst Destination) expectInvisible(t *testing.T, r *storage.Repository) {
	t.Helper()
	dst.expectRemains(t, 0)
	if _, err := r.Manifest(background(t), someKey); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("manifest of %s: %v", someKey, err)
	}
	if dst.Journal != nil {
		if refs, err := dst.Journal.Refs(background(t), someKey); err != nil || len(refs) != 0 {
			t.Errorf("the journal still knows %q: %v", refs, err)
		}
	}
}

func repositoryRoundTrip(t *testing.T, dst Destination) {
	r := dst.repository(t, nil)
	for i, size := range dst.sizes() {
		key := fmt.Sprintf("acme/r%d.1.sql.zst", i)
		data := Bytes(size)
		src := iotest.DataErrReader(bytes.NewReader(data))
		if i%2 == 0 {
			src = iotest.HalfReader(bytes.NewReader(data))
		}
		copies, err := r.Put(background(t), key, src, Describe(key, data))
		if err != nil {
			t.Fatalf("put %d bytes: %v", size, err)
		}
		again := dst.repository(t, dst.Reopen(t))
		expectLoad(t, again, key, data)
		doc, err := again.Manifest(background(t), key)
		if err != nil || doc.Manifest.Artifact.SHA256 != Describe(key, data)().Artifact.SHA256 ||
			doc.Manifest.Metadata["ticket"] != "<42>" || doc.Bytes != size {
			t.Errorf("manifest of %d bytes: %+v, %v", size, doc, err)
		}
		if c, err := again.Copy(background(t), key); err != nil || c != copies[0] {
			t.Errorf("copy: %v, %v; put said %v", c, err, copies)
		}
	}
}

func repositoryFailingStream(t *testing.T, dst Destination) {
	r := dst.repository(t, nil)
	size := max(1000, 2*dst.PartSize, 2*dst.Driver.Traits().MaxBlob)
	data := Bytes(size)
	for what, failure := range failures {
		for _, at := range []int64{0, 1, size / 2, size - 1, size} {
			_, err := r.Put(background(t), someKey, &failing{data: data[:at], err: failure}, func() export.Manifest {
				t.Errorf("%s at byte %d: described all the same", what, at)
				return Describe(someKey, data)()
			})
			if !errors.Is(err, failure) || code(err) != "" {
				t.Errorf("%s at byte %d: error %v", what, at, err)
			}
			dst.expectInvisible(t, r)
		}
	}
	fault := &export.Fault{Code: codes.DumpStalled, Message: "no progress"}
	if _, err := r.Put(background(t), someKey, iotest.ErrReader(fault), nil); code(err) != codes.DumpStalled {
		t.Errorf("a stream's own fault became %v", err)
	}
	func() {
		defer func() {
			if v := recover(); v != "the stream panics" {
				t.Errorf("recovered %v", v)
			}
		}()
		_, err := r.Put(background(t), someKey, panicking{}, nil)
		t.Errorf("put of a panicking stream returned %v", err)
	}()
	dst.expectInvisible(t, r)
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("the stream panics") }

func repositoryMismatch(t *testing.T, dst Destination) {
	r := dst.repository(t, nil)
	data := Bytes(max(1000, dst.PartSize+1, dst.Driver.Traits().MaxBlob+1))
	for what, spoil := range map[string]func(*export.Manifest){
		"size":        func(m *export.Manifest) { m.Artifact.StoredBytes++ },
		"checksum":    func(m *export.Manifest) { m.Artifact.CRC32C++ },
		"no hash":     func(m *export.Manifest) { m.Artifact.SHA256 = "" },
		"upper case":  func(m *export.Manifest) { m.Artifact.SHA256 = strings.ToUpper(m.Artifact.SHA256) },
		"key":         func(m *export.Manifest) { m.Key = "acme/other.1.sql" },
		"version":     func(m *export.Manifest) { m.Version = 2 },
		"no artifact": func(m *export.Manifest) { m.Artifact = nil },
	} {
		_, err := r.Put(background(t), someKey, bytes.NewReader(data), func() export.Manifest {
			m := Describe(someKey, data)()
			spoil(&m)
			return m
		})
		if !errors.Is(err, storage.ErrMismatch) || code(err) != codes.InternalError {
			t.Errorf("%s: error %v", what, err)
		}
		dst.expectInvisible(t, r)
	}
}

// cancelling ends a context after some bytes and then continues to return data.
type cancelling struct {
	left   int64
	cancel context.CancelCauseFunc
}

var errOperator = errors.New("the operator said so")

func (c *cancelling) Read(p []byte) (int, error) {
	c.left -= int64(len(p))
	if c.left <= 0 {
		c.cancel(errOperator)
	}
	return len(p), nil
}

func repositoryCancelled(t *testing.T, dst Destination) {
	r := dst.repository(t, nil)
	for _, at := range []int64{0, 1000, 3 * max(dst.PartSize, dst.Driver.Traits().MaxBlob)} {
		ctx, cancel := context.WithCancelCause(background(t))
		_, err := r.Put(ctx, someKey, &cancelling{left: at, cancel: cancel}, nil)
		if !errors.Is(err, context.Canceled) || code(err) != "" {
			t.Errorf("cancelled after %d bytes: %v", at, err)
		}
		dst.expectInvisible(t, r)
	}
	// The end of the context just before the manifest.
	data := Bytes(100)
	ctx, cancel := context.WithCancel(background(t))
	_, err := r.Put(ctx, someKey, bytes.NewReader(data), func() export.Manifest {
		cancel()
		return Describe(someKey, data)()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled at the end: %v", err)
	}
	dst.expectInvisible(t, r)
}

func repositoryConcurrent(t *testing.T, dst Destination) {
	const writers = 12
	r := dst.repository(t, nil)
	key := func(i int) string { return fmt.Sprintf("new/label/r%d.1.sql", i) }
	data := func(i int) []byte { return Bytes(int64(5000 + i)) }
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			if i%4 == 3 { // and some fail meanwhile
				_, errs[i] = r.Put(background(t), key(i), &failing{data: data(i), err: errBroken}, nil)
				return
			}
			_, errs[i] = r.Put(background(t), key(i), bytes.NewReader(data(i)), Describe(key(i), data(i)))
		})
	}
	wg.Wait()
	for i, err := range errs {
		if i%4 == 3 {
			if !errors.Is(err, errBroken) {
				t.Errorf("writer %d: %v", i, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("writer %d: %v", i, err)
		}
		expectLoad(t, r, key(i), data(i))
	}
	if got := listing(t, r); len(got) != writers*3/4 {
		t.Errorf("%d exports are listed, want %d: %v", len(got), writers*3/4, got)
	}
}

func repositoryTakenKey(t *testing.T, dst Destination) {
	r := dst.repository(t, nil)
	data := Bytes(1000)
	save(t, r, someKey, data)
	before := len(dst.Remains(t))
	other := Bytes(999)
	_, err := r.Put(background(t), someKey, bytes.NewReader(other), Describe(someKey, other))
	if !errors.Is(err, storage.ErrExists) || code(err) != codes.InternalError {
		t.Errorf("put again: %v", err)
	}
	dst.expectRemains(t, before)
	expectLoad(t, r, someKey, data)
}
