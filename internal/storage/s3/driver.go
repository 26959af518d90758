package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"github.com/pgcourier/pgcourier/internal/storage"
)

var (
	_ storage.Lister = (*Driver)(nil)
	_ storage.Marked = (*Driver)(nil)
)

const (
	scheme = "s3"
	// cleanupTimeout bounds the abort of a failed upload; it runs also when Put's context
	// has ended.
	cleanupTimeout = 30 * time.Second
)

// Driver keeps blobs in one bucket. It is safe for concurrent use.
type Driver struct {
	core      *minio.Core
	transport *http.Transport // to be closed; nil when it is the caller's
	bucket    string
	prefix    string // with a slash at its end, or empty
	sse       encrypt.ServerSide
	class     string // of storage; "": the bucket's own
	checksum  Checksum
	partSize  int64

	credentials *credentials.Credentials
	served      atomic.Pointer[clock] // of the last answer; nil: none told the time
	sleep       func(context.Context, time.Duration) error
	log         *slog.Logger
}

// New makes a Driver and touches nothing; Check does. The caller closes the Driver.
func New(c Config) (*Driver, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	return build(c.withDefaults())
}

func build(c Config) (*Driver, error) {
	endpoint, err := url.Parse(c.Endpoint)
	if err != nil {
		return nil, errors.New("s3: the endpoint cannot be parsed")
	}
	sse, err := c.encryption()
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	if err := c.checkProfile(); err != nil {
		return nil, err
	}
	d := &Driver{bucket: c.bucket(), sse: sse, class: c.StorageClass, checksum: c.Checksum, partSize: c.PartSize, credentials: c.Credentials, sleep: c.sleep, log: c.Logger}
	if c.Prefix != "" {
		d.prefix = c.Prefix + "/"
	}
	secure := endpoint.Scheme == "https"
	transport := c.Transport
	if transport == nil {
		if d.transport, err = newTransport(secure, c.CA); err != nil {
			return nil, fmt.Errorf("s3: %w", err)
		}
		transport = d.transport
	}
	if c.Around != nil {
		transport = c.Around(transport)
	}
	transport = watch{transport, d}
	if at := strings.TrimSuffix(endpoint.Path, "/"); at != "" {
		transport = below{transport, at, c.Credentials, &credentials.CredContext{Client: &http.Client{Timeout: metadataTimeout}}}
	}
	lookup := minio.BucketLookupAuto
	if c.PathStyle || c.Tenant != "" || strings.TrimSuffix(endpoint.Path, "/") != "" || strings.Contains(c.Bucket, "_") {
		lookup = minio.BucketLookupPath
	}
	d.core, err = minio.NewCore(endpoint.Host, &minio.Options{
		Creds: c.Credentials, Secure: secure, Transport: transport, Region: c.Region,
		BucketLookup: lookup, MaxRetries: c.tries,
	})
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	return d, nil
}

// Close releases idle connections. Blobs being read stay open until they are closed.
func (d *Driver) Close() error {
	if d.transport != nil {
		d.transport.CloseIdleConnections()
	}
	return nil
}

// Check asks whether the prefix can be listed with these credentials, which may be limited to it.
// Its errors are Put's.
func (d *Driver) Check(ctx context.Context) error {
	if err := d.listOne(ctx); err != nil {
		return fmt.Errorf("list the prefix: %w", d.wrap(ctx, err))
	}
	return nil
}

// Keeping is what a bucket keeps of a deleted object.
type Keeping struct {
	// Versions: the object stays as a version.
	Versions bool
	// Locked: a version can have a lock. Until it ends, nothing can delete the version.
	Locked bool
	// Lock is the lock of each new object, such as "30 days (COMPLIANCE)". Empty: it has none.
	Lock string
}

// Keeps says whether the bucket keeps what is deleted. ok is false where the server or the credentials
// do not let one see it.
func (d *Driver) Keeps(ctx context.Context) (k Keeping, ok bool) {
	v, err := d.core.GetBucketVersioning(ctx, d.bucket)
	if err != nil {
		return k, false
	}
	k.Versions = v.Status == minio.Enabled
	lock, mode, validity, unit, err := d.core.GetObjectLockConfig(ctx, d.bucket)
	k.Locked = err == nil && lock == "Enabled"
	if k.Locked && mode != nil && validity != nil && unit != nil {
		k.Lock = fmt.Sprintf("%d %s (%s)", *validity, strings.ToLower(string(*unit)), *mode)
	}
	return k, true
}

// Traits implements storage.Driver: parts are the driver's own matter.
func (d *Driver) Traits() storage.Traits { return storage.Traits{Scheme: scheme} }

// URI implements storage.Driver: "s3://bucket/prefix/key".
func (d *Driver) URI(key string, _ storage.Ref) string {
	return scheme + "://" + d.bucket + "/" + d.prefix + key
}

func (d *Driver) object(n storage.Name) string { return d.prefix + n.String() }

// parse returns the object a reference stands for.
func (d *Driver) parse(ref storage.Ref) (string, error) {
	n, err := storage.ParseName(string(ref))
	if err != nil {
		return "", fmt.Errorf("%w: %w", storage.ErrForeign, err)
	}
	return d.object(n), nil
}

// Open implements storage.Driver.
func (d *Driver) Open(ctx context.Context, ref storage.Ref, offset int64) (io.ReadCloser, error) {
	object, err := d.parse(ref)
	if err != nil {
		return nil, err
	}
	var opts minio.GetObjectOptions
	if offset > 0 {
		if err := opts.SetRange(offset, 0); err != nil {
			return nil, fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
		}
	}
	body, _, header, err := d.core.GetObject(ctx, d.bucket, object, opts)
	if err != nil {
		if minio.ToErrorResponse(err).Code == minio.InvalidRange {
			return http.NoBody, nil
		}
		return nil, fmt.Errorf("get %s: %w", ref, d.wrap(ctx, err))
	}
	r := &blobReader{ctx: ctx, body: body, driver: d}
	if offset > 0 && !strings.HasPrefix(header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)) {
		return nil, errors.Join(fmt.Errorf("%w: the server ignores ranges", storage.ErrUnavailable), r.Close())
	}
	return r, nil
}

// blobReader classes the errors of a body. A connection that ends early is
// io.ErrUnexpectedEOF there, because the answer has a length.
type blobReader struct {
	ctx  context.Context //nolint:containedctx // bound to one reading
	body io.ReadCloser

	driver *Driver
}

func (r *blobReader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // io.EOF itself is the end; a wrapped one is a failure
		err = r.driver.wrap(r.ctx, err)
	}
	return n, err
}

func (r *blobReader) Close() error { return r.body.Close() }

// stat looks at an object; storage.ErrNotFound when there is none.
func (d *Driver) stat(ctx context.Context, object string) (minio.ObjectInfo, error) {
	info, err := d.core.StatObject(ctx, d.bucket, object, minio.StatObjectOptions{})
	if err != nil {
		return info, d.wrap(ctx, d.ask(ctx, err))
	}
	return info, nil
}

// Delete implements storage.Driver.
func (d *Driver) Delete(ctx context.Context, ref storage.Ref) (storage.Deletion, error) {
	object, err := d.parse(ref)
	if err != nil {
		return storage.Absent, err
	}
	switch _, err := d.stat(ctx, object); {
	case errors.Is(err, storage.ErrNotFound):
		return storage.Absent, nil
	case err != nil:
		return storage.Absent, fmt.Errorf("look for %s: %w", ref, err)
	}
	return d.remove(ctx, object)
}

func (d *Driver) remove(ctx context.Context, object string) (storage.Deletion, error) {
	ctx, hidden := noteHidden(ctx)
	if err := d.core.RemoveObject(ctx, d.bucket, object, minio.RemoveObjectOptions{}); err != nil {
		return storage.Absent, fmt.Errorf("delete: %w", d.wrap(ctx, err))
	}
	if *hidden {
		return storage.Hidden, nil
	}
	return storage.Deleted, nil
}
