package storage

import (
	"context"
	"time"
)

// Presigner is a Driver with blobs that clients can fetch without it.
type Presigner interface {
	// Presign returns a URL that opens the blob until ttl is over, with these headers in the
	// answer. It asks the destination nothing.
	Presign(ctx context.Context, ref Ref, disposition, contentType string, ttl time.Duration) (string, error)
}

// Presign returns a URL with which a client fetches a complete export from the destination
// itself. Empty: the destination has no such URLs, or the export lies there in parts. Errors are
// Manifest's.
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
	url, err := signer.Presign(ctx, doc.Parts[0].Ref, disposition, contentType, ttl)
	return url, asFault(err)
}
