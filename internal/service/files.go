package service

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	Log    *slog.Logger
}

var _ handover.Files = Files{}

// Open implements handover.Files: the first destination with a readable export serves it.
func (f Files) Open(ctx context.Context, file handover.File, offset int64) (io.ReadCloser, error) {
	var faults []error
	for _, d := range f.Set {
		body, err := openAt(ctx, d, file, offset)
		if err == nil {
			if len(faults) > 0 {
				f.fellBack(ctx, file, errors.Join(faults...))
			}
			return body, nil
		}
		if !errors.Is(err, handover.ErrNoExport) {
			faults = append(faults, fmt.Errorf("%s: %w", d.Name, err))
		}
	}
	if len(faults) == 0 {
		return nil, handover.ErrNoExport
	}
	return nil, errors.Join(faults...)
}

// begun is an open export with its first bytes.
type begun struct {
	*bufio.Reader
	io.Closer
}

// openAt opens an export in one destination and reads its first bytes, because the manifest can be there
// without the export. handover.ErrNoExport: the destination has no manifest of it.
func openAt(ctx context.Context, d *destinations.Destination, file handover.File, offset int64) (io.ReadCloser, error) {
	body, err := d.OpenExpected(ctx, file.Key, storage.Expected{SHA256: file.SHA256, CRC32C: file.CRC32C}, offset)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, handover.ErrNoExport
	}
	if err != nil {
		return nil, err
	}
	b := begun{bufio.NewReader(body), body}
	if offset < file.Bytes {
		if _, err := b.Peek(1); err != nil {
			return nil, errors.Join(err, body.Close())
		}
	}
	return b, nil
}

// Presign implements handover.Files. Only the primary destination presigns: others may lack the
// export. If it fails and there are other destinations, the URL is empty: Open tries them all.
func (f Files) Presign(ctx context.Context, file handover.File, ttl time.Duration) (string, error) {
	if !f.Direct || len(f.Set) == 0 {
		return "", nil
	}
	url, err := f.Set[0].Presign(ctx, file.Key, handover.Disposition(file.Name()), file.ContentType(), ttl)
	if errors.Is(err, storage.ErrNotFound) {
		return "", nil
	}
	if err != nil && len(f.Set) > 1 {
		f.fellBack(ctx, file, fmt.Errorf("%s: %w", f.Set[0].Name, err))
		return "", nil
	}
	return url, err
}

// fellBack logs the destinations that did not serve an export which another one may serve.
func (f Files) fellBack(ctx context.Context, file handover.File, err error) {
	if ctx.Err() == nil { // else the client has gone
		f.Log.WarnContext(ctx, "a destination does not serve an export, another one is tried", "project_id", file.Project, "request_id", file.Request, "error", err)
	}
}
