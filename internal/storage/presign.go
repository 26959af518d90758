package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Presigner is a Driver with blobs that clients can fetch without it.
type Presigner interface {
	// Presign returns a URL that opens the blob until ttl is over, with these headers in the
	// answer. It asks the destination nothing.
	Presign(ctx context.Context, ref Ref, disposition, contentType string, ttl time.Duration) (string, error)
}

// Presign returns a URL with which a client fetches a complete export from the destination
// itself. Empty: the destination has no such URLs, or the export lies there in parts. It reads
// the last byte of the export first. Errors are Manifest's and those of reading.
func (r *Repository) Presign(ctx context.Context, key, disposition, contentType string, ttl time.Duration) (string, error) {
	signer, ok := r.driver.(Presigner)
	if !ok {
		return "", nil
	}
	doc, _, err := r.lookup(ctx, key)
	if err != nil {
		return "", asFault(err)
	}
	if len(doc.Parts) != 1 {
		return "", nil
	}
	if err := r.reaches(ctx, doc.Parts[0]); err != nil {
		return "", asFault(fmt.Errorf("presign %s: %w", key, err))
	}
	url, err := signer.Presign(ctx, doc.Parts[0].Ref, disposition, contentType, ttl)
	return url, asFault(err)
}

// reaches reads the last byte of a part.
func (r *Repository) reaches(ctx context.Context, p Part) error {
	last := max(p.Bytes-1, 0)
	body, err := r.driver.Open(ctx, p.Ref, last)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, body)
	if err := errors.Join(err, body.Close()); err != nil {
		return err
	}
	if last+n != p.Bytes {
		return fmt.Errorf("%w: its size differs from the manifest's", ErrDamaged)
	}
	return nil
}
