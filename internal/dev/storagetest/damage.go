package storagetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// faulty is a driver that fails or damages blobs.
type faulty struct {
	storage.Driver
	put func(ctx context.Context, b storage.Blob) (storage.Stored, error)
}

func (f faulty) Put(ctx context.Context, b storage.Blob) (storage.Stored, error) {
	return f.put(ctx, b)
}

type faultyLister struct {
	storage.Lister
	faulty faulty
}

func (f faultyLister) Put(ctx context.Context, b storage.Blob) (storage.Stored, error) {
	return f.faulty.put(ctx, b)
}

type faultyIndexer struct {
	storage.Indexer
	faulty faulty
}

func (f faultyIndexer) Put(ctx context.Context, b storage.Blob) (storage.Stored, error) {
	return f.faulty.put(ctx, b)
}

// spoil wraps the destination's driver and keeps its optional interface.
func (dst Destination) spoil(put func(ctx context.Context, b storage.Blob) (storage.Stored, error)) storage.Driver {
	f := faulty{dst.Driver, put}
	switch d := dst.Driver.(type) {
	case storage.Lister:
		return faultyLister{d, f}
	case storage.Indexer:
		return faultyIndexer{d, f}
	}
	return f
}

// flipping inverts one bit of the first byte.
type flipping struct {
	io.Reader
	done bool
}

func (f *flipping) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if n > 0 && !f.done {
		p[0] ^= 1
		f.done = true
	}
	return n, err
}

func repositoryFailingDriver(t *testing.T, dst Destination) {
	data := Bytes(max(1000, 2*dst.PartSize, 3*dst.Driver.Traits().MaxBlob))
	for what, test := range map[string]struct {
		put  func(ctx context.Context, b storage.Blob) (storage.Stored, error)
		want error
		code codes.Code
	}{
		"no room for the manifest": {func(ctx context.Context, b storage.Blob) (storage.Stored, error) {
			if b.Name.Kind == storage.Manifest {
				return storage.Stored{}, fmt.Errorf("injected: %w", storage.ErrFull)
			}
			return dst.Driver.Put(ctx, b)
		}, storage.ErrFull, codes.StorageFull},
		"refused at once": {func(context.Context, storage.Blob) (storage.Stored, error) {
			return storage.Stored{}, errors.New("injected")
		}, nil, codes.StorageUnavailable},
		"not read to the end": {func(ctx context.Context, b storage.Blob) (storage.Stored, error) {
			if b.Size >= 0 && b.Name.Kind == storage.Data {
				return storage.Stored{}, fmt.Errorf("injected: %w", storage.ErrUnavailable)
			}
			b.Body = io.LimitReader(b.Body, 10)
			return dst.Driver.Put(ctx, b)
		}, storage.ErrUnavailable, codes.StorageUnavailable},
		"spoilt on the way": {func(ctx context.Context, b storage.Blob) (storage.Stored, error) {
			b.Body = spoilt(b)
			s, err := dst.Driver.Put(ctx, b)
			s.Verified = false
			return s, err
		}, storage.ErrDamaged, codes.StorageUnavailable},
		"manifest spoilt": {func(ctx context.Context, b storage.Blob) (storage.Stored, error) {
			if b.Name.Kind == storage.Manifest {
				b.Body = spoilt(b)
			}
			s, err := dst.Driver.Put(ctx, b)
			s.Verified = false
			return s, err
		}, storage.ErrDamaged, codes.StorageUnavailable},
	} {
		r := dst.repository(t, dst.spoil(test.put))
		_, err := r.Put(background(t), someKey, bytes.NewReader(data), Describe(someKey, data))
		if code(err) != test.code || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: %v", what, err)
		}
		dst.expectInvisible(t, dst.repository(t, nil))
	}
}

// spoilt returns a blob's body with a flipped bit. It is seekable if the body was.
func spoilt(b storage.Blob) io.Reader {
	if b.Size < 0 {
		return &flipping{Reader: b.Body}
	}
	data := make([]byte, b.Size)
	_, _ = io.ReadFull(b.Body, data) // it is in memory
	data[0] ^= 1
	return bytes.NewReader(data)
}

// recorded stores an export and returns the reference of its manifest.
func (dst Destination) recorded(t *testing.T, key string, data []byte) (manifest storage.Ref, doc storage.Document) {
	t.Helper()
	r := dst.repository(t, dst.spoil(func(ctx context.Context, b storage.Blob) (storage.Stored, error) {
		s, err := dst.Driver.Put(ctx, b)
		if b.Name.Kind == storage.Manifest {
			manifest = s.Ref
		}
		return s, err
	}))
	save(t, r, key, data)
	doc, err := r.Manifest(background(t), key)
	if err != nil {
		t.Fatal(err)
	}
	return manifest, doc
}

func repositoryManifests(t *testing.T, dst Destination) {
	r := dst.repository(t, nil)
	if got := listing(t, r); len(got) != 0 {
		t.Errorf("an empty destination lists %v", got)
	}
	save(t, r, "acme/good.1.sql", Bytes(10))
	save(t, r, "beta/label/good.2.sql", Bytes(0))
	broken, _ := dst.recorded(t, "acme/broken.1.sql", Bytes(20))
	dst.Alter(t, broken, []byte("{}"))
	empty, _ := dst.recorded(t, "acme/cut.1.sql", Bytes(30))
	dst.Alter(t, empty, nil)
	later, _ := dst.recorded(t, "acme/later.1.sql", Bytes(40))
	dst.Alter(t, later, []byte(`{"version":2,"all":"new"}`))
	dst.put(t, dst.data("acme/unfinished.1.sql"), Bytes(50))
	dst.Litter(t)

	got := listing(t, r)
	for key, want := range map[string]error{
		"acme/good.1.sql": nil, "beta/label/good.2.sql": nil, "acme/broken.1.sql": storage.ErrDamaged,
		"acme/cut.1.sql": storage.ErrDamaged, "acme/later.1.sql": storage.ErrVersion,
	} {
		if err, ok := got[key]; !ok || !errors.Is(err, want) {
			t.Errorf("%s: listed %v, %v; want %v", key, ok, err, want)
		}
		delete(got, key)
	}
	if len(got) != 0 {
		t.Errorf("listed too: %v", got)
	}
}

func repositoryExchanged(t *testing.T, dst Destination) {
	size := max(1000, 2*dst.Driver.Traits().MaxBlob)
	data := Bytes(size)
	r := dst.repository(t, nil)
	const a, b = "acme/a.1.sql", "acme/b.1.sql"
	manifestA, docA := dst.recorded(t, a, data)
	manifestB, docB := dst.recorded(t, b, Bytes(size + 1)[1:]) // as long, and other bytes

	otherManifest, err := get(t, dst.Driver, manifestB, 0)
	if err != nil {
		t.Fatal(err)
	}
	ownManifest, err := get(t, dst.Driver, manifestA, 0)
	if err != nil {
		t.Fatal(err)
	}
	dst.Alter(t, manifestA, otherManifest)
	if _, err := load(t, r, a); !errors.Is(err, storage.ErrForeign) {
		t.Errorf("another export's manifest: %v", err)
	}
	dst.Alter(t, manifestA, ownManifest)
	expectLoad(t, r, a, data)

	last := len(docA.Parts) - 1
	other, err := get(t, dst.Driver, docB.Parts[last].Ref, 0)
	if err != nil {
		t.Fatal(err)
	}
	dst.Alter(t, docA.Parts[last].Ref, other)
	if _, err := load(t, r, a); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("another export's part: %v", err)
	}
	if _, err := dst.Driver.Delete(background(t), docA.Parts[last].Ref); err != nil {
		t.Fatal(err)
	}
	if _, err := load(t, r, a); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("missing part: %v", err)
	}
	if err := r.Delete(background(t), a); err != nil {
		t.Errorf("delete a damaged export: %v", err)
	}
}

// repositoryDamage flips, cuts and lengthens stored bytes at random, and expects that reading the
// export detects each damage.
func repositoryDamage(t *testing.T, dst Destination, times int) {
	const key = "acme/r.1.sql"
	size := int64(3000)
	if limit := dst.Driver.Traits().MaxBlob; limit > 0 {
		size = 2*limit + 7
	}
	data := Bytes(size)
	manifest, doc := dst.recorded(t, key, data)
	r := dst.repository(t, nil)
	refs := []storage.Ref{manifest}
	for _, p := range doc.Parts {
		refs = append(refs, p.Ref)
	}
	original := map[storage.Ref][]byte{}
	for _, ref := range refs {
		b, err := get(t, dst.Driver, ref, 0)
		if err != nil {
			t.Fatal(err)
		}
		original[ref] = b
	}
	whole, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()                 //nolint:gosec // a test's randomness, printed below
	rng := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // the same
	for i := range times {
		ref := refs[rng.IntN(len(refs))]
		damaged, what := damage(rng, original[ref])
		dst.Alter(t, ref, damaged)
		got, err := load(t, r, key)
		if err == nil && ref == manifest {
			// White space between the manifest's tokens may change without an effect. The bytes read must be
			// the same.
			again, docErr := r.Manifest(background(t), key)
			b, jsonErr := json.Marshal(again)
			if docErr != nil || jsonErr != nil || !bytes.Equal(b, whole) || !bytes.Equal(got, data) {
				t.Fatalf("seed %d, round %d: manifest, %s: not found", seed, i, what)
			}
		} else if err == nil {
			t.Fatalf("seed %d, round %d: %s: not found", seed, i, what)
		}
		if code(err) == "" && err != nil {
			t.Fatalf("seed %d, round %d: %s: not a fault: %v", seed, i, what, err)
		}
		dst.Alter(t, ref, original[ref])
	}
	expectLoad(t, r, key, data)
}

func damage(rng *rand.Rand, b []byte) (damaged []byte, what string) {
	at := rng.IntN(len(b))
	switch rng.IntN(4) {
	case 0:
		return slices.Clone(b[:at]), fmt.Sprintf("cut at %d of %d", at, len(b))
	case 1:
		tail := strings.Repeat("x", 1+rng.IntN(100))
		return append(slices.Clone(b), tail...), fmt.Sprintf("longer by %d", len(tail))
	}
	bit := byte(1) << rng.IntN(8)
	c := slices.Clone(b)
	c[at] ^= bit
	return c, fmt.Sprintf("bit %d of byte %d of %d flipped", bit, at, len(b))
}
