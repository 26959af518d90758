package seal_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/seal"
)

var errBoom = errors.New("boom")

// sealed runs a dump through a Stream and returns all that could be read of it.
func sealed(t testing.TB, src io.Reader, o seal.Options) ([]byte, seal.Summary, error) {
	t.Helper()
	if o.Inspector == nil {
		o.Inspector = new(inspector)
	}
	s, err := seal.New(src, o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(s)
	if closeErr := s.Close(); closeErr != nil {
		t.Error(closeErr)
	}
	return b, s.Summary(), err
}

// endsReaders reports whether readers would mistake err for an end: they compare it.
func endsReaders(err error) bool {
	return err == io.EOF || err == io.ErrUnexpectedEOF //nolint:errorlint // as they do
}

func identity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// unseal opens an artifact, reads it to its end and inspects its content.
func unseal(b []byte, o seal.Options, ids ...age.Identity) ([]byte, error) {
	r, err := seal.Open(bytes.NewReader(b), o.Compression, ids)
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(r)
	if err == nil {
		err = inspect(plain)
	}
	return plain, errors.Join(err, r.Close())
}

// variants calls f for each compression and encryption.
func variants(t *testing.T, f func(t *testing.T, o seal.Options, ids []age.Identity)) {
	t.Helper()
	for _, c := range compressions {
		for _, encrypted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/encrypted=%t", c, encrypted), func(t *testing.T) {
				t.Parallel()
				o := seal.Options{Compression: c}
				var ids []age.Identity
				if encrypted {
					id := identity(t)
					o.Recipients, ids = []age.Recipient{id.Recipient()}, []age.Identity{id}
				}
				f(t, o, ids)
			})
		}
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	variants(t, func(t *testing.T, o seal.Options, ids []age.Identity) {
		plain, finished := some, 0
		o.Inspector = &inspector{verify: func() error { finished++; return nil }}
		o.MaxBytes = int64(len(plain))
		b, sum, err := sealed(t, iotest.DataErrReader(bytes.NewReader(plain)), o)
		if err != nil {
			t.Fatal(err)
		}
		if finished != 1 {
			t.Errorf("the inspector was asked %d times for its verdict", finished)
		}
		hash := sha256.Sum256(b)
		want := seal.Summary{
			PlainBytes: int64(len(plain)), StoredBytes: int64(len(b)),
			SHA256: hex.EncodeToString(hash[:]), CRC32C: crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)),
		}
		if fmt.Sprint(sum) != fmt.Sprint(want) {
			t.Errorf("summary %v, want %v", sum, want)
		}
		got, err := unseal(b, o, ids...)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, plain) {
			t.Error("the opened dump differs from the sealed one")
		}
		if o.Recipients == nil && o.Compression == seal.Plain && !bytes.Equal(b, plain) {
			t.Error("without compression and encryption the artifact is not the dump")
		}
	})
}

func TestFailingSourceIsNeverAnEnd(t *testing.T) {
	t.Parallel()
	// Errors that readers mistake for an end must not be returned unchanged.
	causes := []error{errBoom, io.ErrUnexpectedEOF, fmt.Errorf("connection lost: %w", io.EOF)}
	variants(t, func(t *testing.T, o seal.Options, ids []age.Identity) {
		plain := some
		o.Concurrency = 1
		for i := range 25 {
			cut := len(plain) * i / 24
			cause := causes[i%len(causes)]
			src := io.MultiReader(bytes.NewReader(plain[:cut]), iotest.ErrReader(cause))
			o.Inspector = &inspector{verify: func() error { t.Error("a failed dump was accepted as whole"); return nil }}
			b, sum, err := sealed(t, src, o)
			if !errors.Is(err, cause) || endsReaders(err) {
				t.Fatalf("cut at %d: error %v, want %v wrapped", cut, err, cause)
			}
			if _, err := unseal(b, o, ids...); err == nil {
				t.Fatalf("cut at %d: the rest decodes as a complete artifact", cut)
			}
			if sum.SHA256 != "" {
				t.Errorf("cut at %d: summary %+v", cut, sum)
			}
		}
	})
}

func TestRefusedDumpHasNoEnd(t *testing.T) {
	t.Parallel()
	variants(t, func(t *testing.T, o seal.Options, ids []age.Identity) {
		plain := some
		for name, c := range map[string]struct {
			set  func(*seal.Options)
			dump []byte
			ok   func(error) bool
		}{
			"verify": {
				func(o *seal.Options) { o.Inspector = &inspector{verify: func() error { return errBoom }} }, plain,
				func(err error) bool { return errors.Is(err, errBoom) },
			},
			"cap": {
				func(o *seal.Options) { o.MaxBytes = int64(len(plain)) - 1 }, plain,
				func(err error) bool {
					limit, ok := errors.AsType[*seal.SizeLimitError](err)
					return ok && limit.Limit == int64(len(plain))-1
				},
			},
			"truncated": {
				func(*seal.Options) {}, plain[:len(plain)-1],
				func(err error) bool { return errors.Is(err, errNotWhole) },
			},
			"empty": {
				func(*seal.Options) {}, nil,
				func(err error) bool { return errors.Is(err, errNotWhole) },
			},
		} {
			refused := o
			c.set(&refused)
			b, sum, err := sealed(t, bytes.NewReader(c.dump), refused)
			if !c.ok(err) {
				t.Errorf("%s: error %v", name, err)
			}
			if _, err := unseal(b, o, ids...); err == nil {
				t.Errorf("%s: the rest decodes as a complete artifact", name)
			}
			if sum.SHA256 != "" {
				t.Errorf("%s: summary %+v", name, sum)
			}
		}
	})
}

// TestCapEndsASourceThatNeverEnds also shows that the cap works without an end.
func TestCapEndsASourceThatNeverEnds(t *testing.T) {
	t.Parallel()
	const limit = 10 << 20
	read := 0
	src := readerFunc(func(p []byte) (int, error) {
		n, err := endless(p)
		read += n
		return n, err
	})
	_, _, err := sealed(t, src, seal.Options{Compression: seal.Gzip, MaxBytes: limit})
	if _, ok := errors.AsType[*seal.SizeLimitError](err); !ok {
		t.Fatalf("error %v, want a SizeLimitError", err)
	}
	if read > limit+1100 {
		t.Errorf("%d bytes read, the cap is %d", read, limit)
	}
}

type readerFunc func([]byte) (int, error)

// endless is a dump without an end.
var endless = readerFunc(func(p []byte) (int, error) {
	return copy(p, strings.Repeat("-- endless\n", 100)), nil
})

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestErrorStays(t *testing.T) {
	t.Parallel()
	s, err := seal.New(iotest.TimeoutReader(bytes.NewReader(large)), seal.Options{Compression: seal.Zstd})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 3 { // the source itself fails once and continues
		if _, err := io.Copy(io.Discard, s); !errors.Is(err, iotest.ErrTimeout) {
			t.Errorf("error %v, want %v", err, iotest.ErrTimeout)
		}
	}
}

func TestSourceThatReturnsNothingIsGivenUp(t *testing.T) {
	t.Parallel()
	src := readerFunc(func([]byte) (int, error) { return 0, nil })
	if _, _, err := sealed(t, src, seal.Options{Compression: seal.Plain}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("error %v, want %v", err, io.ErrNoProgress)
	}
}

func TestProgressSaysHowFarTheStreamIs(t *testing.T) {
	t.Parallel()
	const at = 500_000
	pr, pw := io.Pipe()
	s, err := seal.New(pr, seal.Options{Compression: seal.Plain})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	writes := make(chan error, 1)
	go func() {
		_, err := pw.Write(large[:at])
		writes <- err
	}()
	if _, err := io.CopyN(io.Discard, s, at-70_000); err != nil {
		t.Fatal(err)
	}
	if p := s.Progress(); p.PlainBytes < at-70_000 || p.StoredBytes < at-70_000 {
		t.Errorf("progress %+v", p)
	}
	if err := pr.Close(); err != nil {
		t.Error(err)
	}
	if err := <-writes; err != nil && !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write: %v", err)
	}
}

func TestWithoutAnInspectorEverySourceThatEndsIsSealed(t *testing.T) {
	t.Parallel()
	s, err := seal.New(bytes.NewReader(large[:1000]), seal.Options{Compression: seal.Plain})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if b, err := io.ReadAll(s); err != nil || !bytes.Equal(b, large[:1000]) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestOptionsAreValidated(t *testing.T) {
	t.Parallel()
	ok := seal.Options{Compression: seal.Gzip}
	for name, change := range map[string]func(*seal.Options){
		"compression": func(o *seal.Options) { o.Compression = "lz4" },
		"cap":         func(o *seal.Options) { o.MaxBytes = -1 },
		"concurrency": func(o *seal.Options) { o.Concurrency = -1 },
	} {
		o := ok
		change(&o)
		if s, err := seal.New(strings.NewReader(""), o); err == nil {
			t.Errorf("%s: accepted, stream %v", name, s)
		}
	}
	if _, err := seal.New(nil, ok); err == nil {
		t.Error("no source: accepted")
	}
}
