package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
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
	checksum  Checksum
	partSize  int64
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
	d := &Driver{bucket: c.Bucket, sse: sse, checksum: c.Checksum, partSize: c.PartSize}
	if c.Prefix != "" {
		d.prefix = c.Prefix + "/"
	}
	secure := endpoint.Scheme == "https"
	transport := c.Transport
	if transport == nil {
		if d.transport, err = minio.DefaultTransport(secure); err != nil {
			return nil, fmt.Errorf("s3: make a transport: %w", err)
		}
		transport = d.transport
	}
	if c.Around != nil {
		transport = c.Around(transport)
	}
	lookup := minio.BucketLookupAuto
	if c.PathStyle {
		lookup = minio.BucketLookupPath
	}
	d.core, err = minio.NewCore(endpoint.Host, &minio.Options{
		Creds: c.Credentials, Secure: secure, Transport: transport, Region: c.Region,
		BucketLookup: lookup, MaxRetries: maxRetries,
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

// Check asks whether the bucket can be reached with these credentials. Its errors are
// Put's.
func (d *Driver) Check(ctx context.Context) error {
	ok, err := d.core.BucketExists(ctx, d.bucket)
	if err != nil {
		return fmt.Errorf("look for the bucket: %w", wrap(ctx, err))
	}
	if !ok {
		return errNoBucket
	}
	return nil
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
		return nil, fmt.Errorf("get %s: %w", ref, wrap(ctx, err))
	}
	r := &blobReader{ctx: ctx, body: body}
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
}

func (r *blobReader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // io.EOF itself is the end; a wrapped one is a failure
		err = wrap(r.ctx, err)
	}
	return n, err
}

func (r *blobReader) Close() error { return r.body.Close() }

// stat looks at an object; storage.ErrNotFound when there is none.
func (d *Driver) stat(ctx context.Context, object string) (minio.ObjectInfo, error) {
	info, err := d.core.StatObject(ctx, d.bucket, object, minio.StatObjectOptions{})
	return info, wrap(ctx, err)
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
	if err := d.core.RemoveObject(ctx, d.bucket, object, minio.RemoveObjectOptions{}); err != nil {
		return storage.Absent, fmt.Errorf("delete: %w", wrap(ctx, err))
	}
	return storage.Deleted, nil
}

// errNoBucket is a Fault, so that the operator reads what is wrong in the outcome.
var errNoBucket = &export.Fault{
	Code: codes.StorageRefused, Message: "the storage bucket does not exist", Err: storage.ErrRefused,
}

// wrap classes an error of the server or of the way to it.
func wrap(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("%w: %w", ctxErr, err)
	}
	switch r := minio.ToErrorResponse(err); r.Code {
	case minio.NoSuchKey, "NotFound":
		return fmt.Errorf("%w: %w", storage.ErrNotFound, err)
	case minio.NoSuchBucket:
		return fmt.Errorf("%w: %w", errNoBucket, err)
	case minio.PreconditionFailed:
		return fmt.Errorf("%w: %w", storage.ErrExists, err)
	case minio.AccessDenied, "InvalidAccessKeyId", "SignatureDoesNotMatch":
		return fmt.Errorf("%w: %w", &export.Fault{
			Code: codes.StorageRefused, Message: "the storage refuses the worker's credentials", Err: storage.ErrRefused,
		}, err)
	case "XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage":
		return fmt.Errorf("%w: %w", storage.ErrFull, err)
	default:
		if r.StatusCode == http.StatusInsufficientStorage {
			return fmt.Errorf("%w: %w", storage.ErrFull, err)
		}
	}
	return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
}
