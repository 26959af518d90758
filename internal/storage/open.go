package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"iter"

	"github.com/pgcourier/pgcourier/internal/export"
)

// Manifest returns a complete export's manifest, checked to be whole and to belong to
// key. Errors are Faults: ErrNotFound in the chain when there is none (the export may be
// unfinished), ErrDamaged, ErrForeign or ErrVersion when it cannot be trusted. With
// ErrSealed, when no identity of the Config opens the description, the document holds all
// the rest.
func (r *Repository) Manifest(ctx context.Context, key string) (Document, error) {
	doc, _, err := r.lookup(ctx, key)
	if err == nil {
		doc, err = r.unseal(doc)
	}
	return doc, asFault(err)
}

func (r *Repository) unseal(doc Document) (Document, error) {
	doc, err := doc.Unseal(r.identities)
	if err != nil {
		return doc, fmt.Errorf("manifest of %s: %w", doc.Key, err)
	}
	return doc, nil
}

// Copy returns where a complete export lies, as Put did. Errors are Manifest's.
func (r *Repository) Copy(ctx context.Context, key string) (export.Copy, error) {
	doc, ref, err := r.lookup(ctx, key)
	if err != nil {
		return export.Copy{}, asFault(err)
	}
	_, err = r.receipt(ctx, doc, Receipt)
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrSealed) {
		return export.Copy{}, asFault(err)
	}
	return r.copy(key, ref, err == nil), nil
}

// Manifests yields the manifest of every complete export, for recovery. A manifest that
// is damaged, foreign or of another version is yielded as its key and the error, a sealed
// one as Manifest gives it, and the sequence goes on; any other error, with an empty key or the key it was met at, ends
// it. Files that are none of ours are passed over. Errors are Faults.
func (r *Repository) Manifests(ctx context.Context) iter.Seq2[Document, error] {
	return func(yield func(Document, error) bool) {
		for key, err := range r.catalog.keys(ctx) {
			if err != nil {
				yield(Document{}, asFault(fmt.Errorf("list: %w", err)))
				return
			}
			doc, _, err := r.lookup(ctx, key)
			if errors.Is(err, ErrNotFound) {
				continue // deleted since it was listed
			}
			if err != nil {
				doc = Document{Key: key}
			} else {
				doc, err = r.unseal(doc)
			}
			local := errors.Is(err, ErrDamaged) || errors.Is(err, ErrForeign) || errors.Is(err, ErrVersion) || errors.Is(err, ErrSealed)
			if !yield(doc, asFault(err)) || err != nil && !local {
				return
			}
		}
	}
}

func (r *Repository) lookup(ctx context.Context, key string) (Document, Ref, error) {
	if err := CheckKey(key); err != nil {
		return Document{}, "", err
	}
	ref, err := r.catalog.find(ctx, key)
	if err != nil {
		return Document{}, "", fmt.Errorf("look for %s: %w", key, err)
	}
	doc, err := r.document(ctx, key, ref)
	if err != nil {
		return Document{}, "", fmt.Errorf("manifest of %s: %w", key, err)
	}
	return doc, ref, nil
}

// document reads and checks one manifest.
func (r *Repository) document(ctx context.Context, key string, ref Ref) (doc Document, err error) {
	body, err := r.driver.Open(ctx, ref, 0)
	if err != nil {
		return Document{}, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	b, err := io.ReadAll(io.LimitReader(body, maxDocument+1))
	if err != nil {
		return Document{}, err
	}
	if len(b) > maxDocument {
		return Document{}, fmt.Errorf("%w: manifest larger than %d bytes", ErrDamaged, maxDocument)
	}
	if doc, err = DecodeDocument(b); err != nil {
		return Document{}, err
	}
	if doc.Key != key {
		return Document{}, fmt.Errorf("%w: the manifest is that of %s", ErrForeign, doc.Key)
	}
	return doc, nil
}

// Open returns the stored bytes of a complete export. Every part's and the whole's size
// and hash are checked while reading: Read returns io.EOF only when all of them fit, and
// otherwise an error with ErrDamaged (ErrNotFound for a part that is gone) in its chain.
// A caller that must not use unchecked bytes reads to io.EOF first. ctx bounds the whole
// reading. The caller closes the reader. Errors are Faults.
func (r *Repository) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	return r.OpenAt(ctx, key, 0)
}

// OpenAt is Open from a byte of the export on, to resume a download; an offset beyond its
// end is an error. Bytes before offset are not checked here: of the part that offset falls
// into only the size is checked, and the hash of the whole is not. The caller compares the
// joined pieces with the manifest's SHA256.
func (r *Repository) OpenAt(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	return r.openAt(ctx, key, nil, offset)
}

// Expected is what a record outside of the storage says of an export.
type Expected struct {
	SHA256 string // of the stored bytes, lower-case hex
	CRC32C uint32 // of the same; 0: not known
}

// OpenExpected is OpenAt for a record's export: ErrDamaged if the manifest describes other bytes. A
// read from the beginning compares the bytes by their CRC-32C, if it is known. It finds damage as
// SHA-256 does and costs a tenth. Neither protects from a writer with access to the storage,
// because that writer can replace the manifest too; the receiver compares the SHA-256 of the
// record.
func (r *Repository) OpenExpected(ctx context.Context, key string, e Expected, offset int64) (io.ReadCloser, error) {
	return r.openAt(ctx, key, &e, offset)
}

func (r *Repository) openAt(ctx context.Context, key string, e *Expected, offset int64) (io.ReadCloser, error) {
	doc, _, err := r.lookup(ctx, key)
	if err != nil {
		return nil, asFault(err)
	}
	if offset < 0 || offset > doc.Bytes {
		return nil, asFault(fmt.Errorf("open %s at byte %d of %d: %w", key, offset, doc.Bytes, ErrMismatch))
	}
	if e != nil && doc.SHA256 != e.SHA256 {
		return nil, asFault(fmt.Errorf("open %s: %w: its manifest is of other bytes than the record", key, ErrDamaged))
	}
	rd := &reader{ctx: ctx, driver: r.driver, doc: doc, hashParts: true}
	switch {
	case offset > 0:
	case e != nil && e.CRC32C != 0:
		rd.whole, rd.want, rd.hashParts = crc32.New(crc32.MakeTable(crc32.Castagnoli)), fmt.Sprintf("%08x", e.CRC32C), false
	default:
		rd.whole, rd.want = sha256.New(), doc.SHA256
		rd.hashParts = len(doc.Parts) != 1 || doc.Parts[0].SHA256 != doc.SHA256 // else it is the hash of the whole
	}
	for rd.next < len(doc.Parts) && offset >= doc.Parts[rd.next].Bytes && offset > 0 {
		offset -= doc.Parts[rd.next].Bytes
		rd.next++
	}
	rd.skip = offset
	return rd, nil
}

// reader joins the parts and checks them in passing.
type reader struct {
	ctx    context.Context //nolint:containedctx // bound to one reading
	driver Driver
	doc    Document

	hashParts bool // each part by itself

	next  int           // the next part to be opened
	skip  int64         // bytes of the next part that are not wanted
	body  io.ReadCloser // the part being read, if any
	part  hash.Hash     // nil: the part was not read from its beginning
	count int64         // read of this part, or passed over
	whole hash.Hash     // nil: the export was not read from its beginning
	want  string        // what whole must come to, in hex
	err   error         // sticky
}

func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 && r.err == nil {
		return 0, nil
	}
	for r.err == nil {
		if r.body == nil {
			r.err = r.advance()
			continue
		}
		n, err := r.read(p)
		switch {
		case err == io.EOF: //nolint:errorlint // io.EOF itself is the end; a wrapped one is a failure
			r.err = r.endPart()
		case err != nil:
			r.err = fmt.Errorf("part %d of %s: %w", r.next, r.doc.Key, err)
		}
		if n > 0 {
			return n, nil
		}
	}
	if r.err == io.EOF { //nolint:errorlint // io.EOF itself is the end; a wrapped one is a failure
		return 0, io.EOF
	}
	return 0, asFault(r.err)
}

// read reads of the current part and never gives out more bytes than it should have.
func (r *reader) read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	if over := r.count + int64(n) - r.doc.Parts[r.next-1].Bytes; over > 0 {
		return 0, fmt.Errorf("%w: longer than recorded", ErrDamaged)
	}
	r.count += int64(n)
	for _, h := range []hash.Hash{r.part, r.whole} {
		if h != nil {
			_, _ = h.Write(p[:n]) // a hash never fails
		}
	}
	return n, err
}

// advance opens the next part, or compares the whole when there is none.
func (r *reader) advance() error {
	if r.next == len(r.doc.Parts) {
		if r.whole != nil && hex.EncodeToString(r.whole.Sum(nil)) != r.want {
			return fmt.Errorf("%w: %s: the hash of the whole differs", ErrDamaged, r.doc.Key)
		}
		return io.EOF
	}
	body, err := r.driver.Open(r.ctx, r.doc.Parts[r.next].Ref, r.skip)
	if err != nil {
		return fmt.Errorf("part %d of %s: %w", r.next+1, r.doc.Key, err)
	}
	r.next++
	r.body, r.count, r.part = body, r.skip, nil
	if r.skip == 0 && r.hashParts {
		r.part = sha256.New()
	}
	r.skip = 0
	return nil
}

func (r *reader) endPart() error {
	want := r.doc.Parts[r.next-1]
	body := r.body
	r.body = nil
	if err := body.Close(); err != nil {
		return fmt.Errorf("part %d of %s: %w", r.next, r.doc.Key, err)
	}
	if r.count != want.Bytes || r.part != nil && hex.EncodeToString(r.part.Sum(nil)) != want.SHA256 {
		return fmt.Errorf("%w: part %d of %s: its size or hash differs", ErrDamaged, r.next, r.doc.Key)
	}
	return nil
}

// Close releases what is open. It is idempotent and says nothing of the bytes.
func (r *reader) Close() error {
	if r.err == nil || r.err == io.EOF { //nolint:errorlint // io.EOF itself is the end; a wrapped one is a failure
		r.err = errors.New("read after close")
	}
	if r.body == nil {
		return nil
	}
	body := r.body
	r.body = nil
	return body.Close()
}
