package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/minio/minio-go/v7"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// markName is the metadata field of the mark, in the form in which the client gives it
// back.
const markName = "Pgcourier-Upload"

// Put implements storage.Driver. The reference is the name's path.
func (d *Driver) Put(ctx context.Context, b storage.Blob) (storage.Stored, error) {
	if err := b.Name.Check(); err != nil {
		return storage.Stored{}, err
	}
	object := d.object(b.Name)
	err := d.retryBusy(ctx, func() error {
		_, err := d.stat(ctx, object)
		return err
	})
	switch {
	case err == nil:
		return storage.Stored{}, fmt.Errorf("%s: %w", b.Name, storage.ErrExists)
	case !errors.Is(err, storage.ErrNotFound):
		return storage.Stored{}, fmt.Errorf("look for %s: %w", b.Name, err)
	}
	u := &upload{driver: d, object: object, mark: rand.Text(), verified: true}
	if err := u.run(ctx, b); err != nil {
		return storage.Stored{}, fmt.Errorf("upload %s: %w", b.Name, err)
	}
	return storage.Stored{Ref: storage.Ref(b.Name.String()), Verified: u.verified}, nil
}

// upload is one Put at work.
type upload struct {
	driver   *Driver
	object   string
	mark     string // random, in the object's metadata: tells our object from another's
	id       string // of the multipart upload, once there is one
	parts    []minio.CompletePart
	size     int64
	verified bool
}

// run reads the first part; what ends within it is one PUT, the rest is multipart.
func (u *upload) run(ctx context.Context, b storage.Blob) error {
	size := u.driver.partSize
	if b.Size >= 0 {
		size = min(size, b.Size+1) // one more, to see the end
	}
	buf := make([]byte, size)
	n, err := readPart(ctx, b.Body, buf)
	if err == io.EOF { //nolint:errorlint // io.EOF itself is the end; a wrapped one is a failure
		if b.Size >= 0 && int64(n) != b.Size {
			return fmt.Errorf("%w: %d bytes announced, %d came", storage.ErrMismatch, b.Size, n)
		}
		return u.single(ctx, buf[:n])
	}
	if err != nil {
		return err
	}
	if err := u.multipart(ctx, b.Body, buf); err != nil {
		return err
	}
	if b.Size >= 0 && u.size != b.Size {
		return errors.Join(fmt.Errorf("%w: %d bytes announced, %d came", storage.ErrMismatch, b.Size, u.size), u.undo(ctx))
	}
	return nil
}

// readPart fills buf. io.EOF means that the body ended before buf was full. Errors of the
// body stay as they are.
func readPart(ctx context.Context, body io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		m, err := body.Read(buf[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// options of an object. headers are further "x-amz-" headers, which the client takes as
// metadata; conditional asks to replace nothing.
func (u *upload) options(headers map[string]string, conditional bool) minio.PutObjectOptions {
	user := map[string]string{markName: u.mark}
	maps.Copy(user, headers)
	opts := minio.PutObjectOptions{
		ServerSideEncryption: u.driver.sse, UserMetadata: user,
		DisableContentSha256: true, // the SHA-256 is given, so nothing is signed in chunks
		StorageClass:         u.driver.class,
	}
	if conditional {
		opts.SetMatchETagExcept("*")
	}
	return opts
}

// conditionally calls write with the condition, and without it on a server that does not
// know conditions: it says NotImplemented, or that the request is a bad one. One that is bad for
// another reason is refused again.
func (d *Driver) conditionally(ctx context.Context, write func(conditional bool) error) error {
	err := d.retryBusy(ctx, func() error { return write(true) })
	if e := minio.ToErrorResponse(err); e.Code == minio.NotImplemented || e.StatusCode == http.StatusBadRequest && !slices.Contains(transfers, e.Code) {
		return d.retryBusy(ctx, func() error { return write(false) })
	}
	return err
}

func (u *upload) single(ctx context.Context, data []byte) error {
	s := sum(data)
	var info minio.UploadInfo
	err := u.driver.conditionally(ctx, func(conditional bool) (err error) {
		info, err = u.driver.core.PutObject(ctx, u.driver.bucket, u.object, bytes.NewReader(data), int64(len(data)),
			s.md5Base64, s.sha256Hex, u.options(u.checksumHeaders(s), conditional))
		return err
	})
	if err != nil {
		return u.settle(ctx, err)
	}
	u.verified, err = s.confirms(info.ETag, info.ChecksumCRC32C)
	if err != nil {
		return errors.Join(err, u.undo(ctx))
	}
	return nil
}

// settle finds out what became of a write that failed. A reply can be lost after the
// server did its work, and the client's repetition is then refused: if the object is
// there with our mark, it is ours. It stays when the server refused only the repetition,
// and goes otherwise.
func (u *upload) settle(ctx context.Context, cause error) error {
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	err := u.driver.wrap(ctx, cause)
	info, statErr := u.driver.stat(detached, u.object)
	if statErr != nil || info.UserMetadata[markName] != u.mark {
		return err
	}
	code := minio.ToErrorResponse(cause).Code
	if ctx.Err() == nil && (code == minio.PreconditionFailed || code == "NoSuchUpload") {
		return nil
	}
	_, removeErr := u.driver.remove(detached, u.object)
	return errors.Join(err, removeErr)
}

// undo removes the object of this upload.
func (u *upload) undo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	_, err := u.driver.remove(ctx, u.object)
	return err
}
