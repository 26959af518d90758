package restore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"time"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// Export is a stored export: its manifest and its bytes.
type Export struct {
	Manifest export.Manifest
	// Open returns the stored bytes from the beginning. It may be called several times. Errors of
	// the reader are wrapped in the errors of this package.
	Open func(ctx context.Context) (io.ReadCloser, error)
	// Identities decrypt an encrypted export; others ignore them.
	Identities []age.Identity
}

// Evidence is the result of the first pass, equal to the manifest.
type Evidence struct {
	StoredBytes int64
	SHA256      string // of the stored bytes, lower-case hex
	SizeBytes   int64
	DumpSHA256  string // of the dump itself, lower-case hex
	Contents    export.Contents
	Took        time.Duration
}

// Verify reads the whole export and compares it with its manifest. It calls progress, if not nil,
// with the number of stored bytes read, on the caller's goroutine. Errors wrap ErrUnverified or
// ErrIdentity, or are those of Open and its reader.
func (x Export) Verify(ctx context.Context, progress func(stored int64)) (Evidence, error) {
	begun := time.Now()
	p, err := x.open(ctx, progress)
	if err != nil {
		return Evidence{}, err
	}
	contents, err := archive.Check(p, x.Manifest.Artifact.Format)
	found, err := p.finish(err)
	if err != nil {
		return Evidence{}, err
	}
	found.Contents, found.Took = contents, time.Since(begun)
	return found, found.compare(*x.Manifest.Artifact)
}

// compare compares the evidence with the manifest.
func (e Evidence) compare(a export.Artifact) error {
	switch {
	case e.StoredBytes != a.StoredBytes:
		return unverified("%d bytes are stored, the manifest says %d", e.StoredBytes, a.StoredBytes)
	case e.SHA256 != a.SHA256:
		return unverified("the stored bytes have another hash than the manifest says")
	case e.SizeBytes != a.SizeBytes:
		return unverified("the dump has %d bytes, the manifest says %d", e.SizeBytes, a.SizeBytes)
	case len(e.Contents.Tables) != a.Tables:
		return unverified("the dump holds %d tables, the manifest says %d", len(e.Contents.Tables), a.Tables)
	case e.Contents.Rows() != a.Rows:
		return unverified("the dump holds %d rows, the manifest says %d", e.Contents.Rows(), a.Rows)
	}
	for t := range e.Contents.Tables {
		if !slices.Contains(a.Schemas, t.Schema) {
			return unverified("the dump holds table %q of a schema that the manifest does not name", t)
		}
	}
	return nil
}

// WritePlain writes the dump itself, decrypted and decompressed, to w. It follows Verify and must
// equal its evidence byte for byte.
func (x Export) WritePlain(ctx context.Context, w io.Writer, first Evidence, progress func(stored int64)) error {
	p, err := x.open(ctx, progress)
	if err != nil {
		return err
	}
	_, err = io.Copy(writer{w}, p)
	again, err := p.finish(err)
	if err != nil {
		return err
	}
	return again.same(first)
}

// writer wraps its errors in errSink.
type writer struct{ w io.Writer }

func (w writer) Write(b []byte) (int, error) {
	n, err := w.w.Write(b)
	if err != nil {
		err = fmt.Errorf("%w: %w", errSink, err)
	}
	return n, err
}

// same returns an error if a later pass read other bytes than the first.
func (e Evidence) same(first Evidence) error {
	if e.StoredBytes != first.StoredBytes || e.SHA256 != first.SHA256 || e.SizeBytes != first.SizeBytes || e.DumpSHA256 != first.DumpSHA256 {
		return unverified("the export has changed since it was checked")
	}
	return nil
}

// pass is one reading of an export. Read returns the plain dump. Its bytes are verified only when
// finish returns no error.
type pass struct {
	stored *measured
	source io.Closer
	plain  io.ReadCloser
	dump   measured
}

func (x Export) open(ctx context.Context, progress func(int64)) (*pass, error) {
	a := x.Manifest.Artifact
	if a == nil {
		return nil, unverified("the manifest describes no export")
	}
	identities := x.Identities
	if a.Encryption != seal.Age {
		identities = nil
	} else if len(identities) == 0 {
		return nil, fmt.Errorf("%w: it is encrypted: name an identity file", ErrIdentity)
	}
	source, err := x.Open(ctx)
	if err != nil {
		return nil, err
	}
	p := &pass{source: source, stored: &measured{ctx: ctx, r: source, hash: sha256.New(), progress: progress}}
	p.plain, err = seal.Open(p.stored, a.Compression, identities)
	if err != nil {
		// finish finds the cause, for instance a wrong hash.
		_, err = p.finish(err)
		return nil, err
	}
	p.dump = measured{ctx: ctx, r: p.plain, hash: sha256.New()}
	return p, nil
}

func (p *pass) Read(b []byte) (int, error) { return p.dump.Read(b) }

// finish reads the rest, closes, and returns the evidence of the pass. reading is the error of the
// reader's use.
func (p *pass) finish(reading error) (Evidence, error) {
	if !errors.Is(reading, errSink) { // after errSink the rest is not needed
		_, _ = io.Copy(io.Discard, p.stored) // stored keeps its error
	}
	stored := p.stored.err
	if p.stored.ctx.Err() != nil {
		stored = context.Cause(p.stored.ctx)
	}
	closing := p.source.Close()
	if p.plain != nil {
		closing = errors.Join(closing, p.plain.Close())
	}
	switch {
	case stored != nil: // an error of the storage
		return Evidence{}, fmt.Errorf("read the export: %w", stored)
	case reading != nil:
		return Evidence{}, decoding(reading)
	case closing != nil:
		return Evidence{}, fmt.Errorf("close the export: %w", closing)
	}
	return Evidence{
		StoredBytes: p.stored.n, SHA256: hex.EncodeToString(p.stored.hash.Sum(nil)),
		SizeBytes: p.dump.n, DumpSHA256: hex.EncodeToString(p.dump.hash.Sum(nil)),
	}, nil
}

// decoding classifies an error of decryption, decompression or the dump's structure.
func decoding(err error) error {
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	if errors.Is(err, errSink) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnverified, err)
}

// errSink marks an error of the consumer of the dump. It is not a fault of the export.
var errSink = errors.New("the dump could not be passed on")

// measured counts and hashes the bytes of a reader and keeps its error.
type measured struct {
	ctx      context.Context //nolint:containedctx // bound to one reading
	r        io.Reader
	hash     hash.Hash
	n        int64
	err      error // the first that is not io.EOF
	progress func(int64)
}

func (m *measured) Read(b []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.r.Read(b)
	_, _ = m.hash.Write(b[:n]) // never fails
	m.n += int64(n)
	if n > 0 && m.progress != nil {
		m.progress(m.n)
	}
	if err != nil && err != io.EOF && m.err == nil {
		m.err = err
	}
	return n, err
}
