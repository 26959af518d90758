package s3

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/pgcourier/pgcourier/internal/storage"
)

var _ storage.Presigner = (*Driver)(nil)

// Presign implements storage.Presigner.
func (d *Driver) Presign(ctx context.Context, ref storage.Ref, disposition, contentType string, ttl time.Duration) (string, error) {
	object, err := d.parse(ref)
	if err != nil {
		return "", err
	}
	u, err := d.core.PresignedGetObject(ctx, d.bucket, object, ttl, url.Values{
		"response-content-disposition": {disposition}, "response-content-type": {contentType},
	})
	if err != nil {
		return "", fmt.Errorf("presign %s: %w", ref, d.wrap(ctx, err))
	}
	return u.String(), nil
}
