package seal_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/seal"
)

func TestOpenNoticesWhatFollows(t *testing.T) {
	t.Parallel()
	variants(t, func(t *testing.T, o seal.Options, ids []age.Identity) {
		b, _, err := sealed(t, bytes.NewReader(tiny), o)
		if err != nil {
			t.Fatal(err)
		}
		for name, tail := range map[string][]byte{
			"a byte": {'x'}, "zeros": make([]byte, 10), "a block": bytes.Repeat([]byte("garbage "), 64),
			"the artifact again": b,
		} {
			if _, err := unseal(append(bytes.Clone(b), tail...), o, ids...); err == nil {
				t.Errorf("%s after the artifact: not noticed", name)
			}
		}
	})
}

func TestOpenNoticesEachFlippedByte(t *testing.T) {
	t.Parallel()
	variants(t, func(t *testing.T, o seal.Options, ids []age.Identity) {
		if o.Compression == seal.Plain && ids == nil {
			return // only the stored hash detects it
		}
		plain := tiny
		b, _, err := sealed(t, bytes.NewReader(plain), o)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(b); i += 7 {
			damaged := bytes.Clone(b)
			damaged[i] ^= 1 << (i % 8)
			got, err := unseal(damaged, o, ids...)
			// Some bits of a gzip header have no meaning: the content is right then.
			if err == nil && !bytes.Equal(got, plain) {
				t.Fatalf("byte %d of %d flipped: not noticed, and the dump differs", i, len(b))
			}
		}
	})
}

func TestOpenNeedsTheRightIdentity(t *testing.T) {
	t.Parallel()
	right, wrong := identity(t), identity(t)
	o := seal.Options{Compression: seal.Gzip, Recipients: []age.Recipient{right.Recipient()}}
	b, _, err := sealed(t, bytes.NewReader(tiny), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unseal(b, o); !errors.Is(err, seal.ErrEncrypted) {
		t.Errorf("no identity: %v, want ErrEncrypted", err)
	}
	_, err = unseal(b, o, wrong)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); !ok {
		t.Errorf("wrong identity: %v, want a NoIdentityMatchError", err)
	}
	if _, err := unseal(b, o, wrong, right); err != nil {
		t.Errorf("the right one among several: %v", err)
	}
	o.Recipients = nil
	if b, _, err = sealed(t, bytes.NewReader(tiny), o); err != nil {
		t.Fatal(err)
	}
	if _, err := unseal(b, o, right); err == nil {
		t.Error("an artifact that is not encrypted passed for one that is")
	}
}

func TestOpenPassesReadErrorsOn(t *testing.T) {
	t.Parallel()
	variants(t, func(t *testing.T, o seal.Options, ids []age.Identity) {
		b, _, err := sealed(t, bytes.NewReader(tiny), o)
		if err != nil {
			t.Fatal(err)
		}
		for _, cut := range []int{0, 1, len(b) / 2, len(b) - 1, len(b)} {
			for _, cause := range []error{errBoom, io.ErrUnexpectedEOF} {
				r, err := seal.Open(io.MultiReader(bytes.NewReader(b[:cut]), iotest.ErrReader(cause)), o.Compression, ids)
				if err == nil {
					_, err = io.Copy(io.Discard, r)
					if closeErr := r.Close(); closeErr != nil {
						t.Error(closeErr)
					}
				}
				if !errors.Is(err, cause) || endsReaders(err) {
					t.Errorf("cut at %d: error %v, want %v wrapped", cut, err, cause)
				}
			}
		}
	})
}

func TestOpenedIsClosedOnce(t *testing.T) {
	t.Parallel()
	variants(t, func(t *testing.T, o seal.Options, ids []age.Identity) {
		b, _, err := sealed(t, bytes.NewReader(tiny), o)
		if err != nil {
			t.Fatal(err)
		}
		r, err := seal.Open(bytes.NewReader(b), o.Compression, ids)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, seal.ErrClosed) {
			t.Errorf("read after close: %v, want ErrClosed", err)
		}
	})
}

func TestOpenRefusesAnUnknownCompression(t *testing.T) {
	t.Parallel()
	if _, err := seal.Open(bytes.NewReader([]byte("x")), "lz4", nil); err == nil {
		t.Error("accepted")
	}
}
