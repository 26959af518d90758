package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pgcourier/pgcourier/internal/handover"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

// Files implements handover.Files over a set of destinations.
type Files struct {
	Set destinations.Set
	// Direct redirects links without a download limit to S3.
	Direct bool
}

var _ handover.Files = Files{}

// Open implements handover.Files: the first destination that has the export serves it.
func (f Files) Open(ctx context.Context, file handover.File, offset int64) (io.ReadCloser, error) {
	var faults []error
	for _, d := range f.Set {
		body, err := d.OpenExpected(ctx, file.Key, storage.Expected{SHA256: file.SHA256, CRC32C: file.CRC32C}, offset)
		if err == nil {
			return body, nil
		}
		if !errors.Is(err, storage.ErrNotFound) {
			faults = append(faults, fmt.Errorf("%s: %w", d.Name, err))
		}
	}
	if len(faults) == 0 {
		return nil, handover.ErrNoExport
	}
	return nil, errors.Join(faults...)
}

// Presign implements handover.Files. Only the primary destination presigns: others may lack the
// export.
func (f Files) Presign(ctx context.Context, file handover.File, ttl time.Duration) (string, error) {
	if !f.Direct || len(f.Set) == 0 {
		return "", nil
	}
	url, err := f.Set[0].Presign(ctx, file.Key, handover.Disposition(file.Name()), file.ContentType(), ttl)
	if errors.Is(err, storage.ErrNotFound) {
		return "", nil // another destination may have it
	}
	return url, err
}
