package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/minio/minio-go/v7"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// completeOptions hold the condition only: everything else was said at the start.
func (u *upload) completeOptions(conditional bool) minio.PutObjectOptions {
	var opts minio.PutObjectOptions
	if conditional {
		opts.SetMatchETagExcept("*")
	}
	return opts
}

// multipart stores what was read first and then the rest, reading one part ahead.
func (u *upload) multipart(ctx context.Context, body io.Reader, first []byte) (err error) {
	var user map[string]string
	if u.driver.checksum == CRC32C {
		user = map[string]string{"x-amz-checksum-algorithm": "CRC32C"}
	}
	err = u.driver.retryBusy(ctx, func() (err error) {
		u.id, err = u.driver.core.NewMultipartUpload(ctx, u.driver.bucket, u.object, u.options(user, false))
		return err
	})
	if err != nil {
		return u.driver.wrap(ctx, err)
	}
	completed := false
	defer func() { // also when the body panics
		if !completed {
			err = errors.Join(err, u.abort(ctx))
		}
	}()
	if err := u.sendAll(ctx, body, first); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	completed = true // from here on the outcome is settled by complete
	return u.complete(ctx)
}

// sendAll sends each part while it reads the next one into the other buffer.
func (u *upload) sendAll(ctx context.Context, body io.Reader, filled []byte) (err error) {
	sent := make(chan error, 1)
	flying := false
	defer func() {
		if flying {
			err = errors.Join(err, <-sent) // buffers and parts must not be touched any more
		}
	}()
	spare := make([]byte, len(filled))
	for ended := false; len(filled) > 0; {
		if flying {
			flying = false
			if err := <-sent; err != nil {
				return err
			}
		}
		flying = true
		go func(data []byte) { sent <- u.send(ctx, data) }(filled)
		if ended {
			break
		}
		next := spare[:cap(spare)]
		spare = filled[:cap(filled)]
		n, err := readPart(ctx, body, next)
		if err != nil && err != io.EOF { //nolint:errorlint // io.EOF itself is the end; a wrapped one is a failure
			return err
		}
		ended = err == io.EOF //nolint:errorlint // io.EOF itself is the end; a wrapped one is a failure
		filled = next[:n]
	}
	if !flying {
		return nil
	}
	flying = false
	return <-sent
}

func (u *upload) send(ctx context.Context, data []byte) error {
	number := len(u.parts) + 1
	if number > maxParts {
		return fmt.Errorf("%w: more than %d parts of %d bytes", storage.ErrFull, maxParts, u.driver.partSize)
	}
	s := sum(data)
	header := http.Header{}
	for k, v := range u.checksumHeaders(s) {
		header.Set(k, v)
	}
	var part minio.ObjectPart
	err := u.driver.retryBusy(ctx, func() (err error) {
		part, err = u.driver.core.PutObjectPart(ctx, u.driver.bucket, u.object, u.id, number, bytes.NewReader(data),
			int64(len(data)), minio.PutObjectPartOptions{
				Md5Base64: s.md5Base64, Sha256Hex: s.sha256Hex, DisableContentSha256: true,
				SSE: u.driver.sse, CustomHeader: header,
			})
		return err
	})
	if err != nil {
		return fmt.Errorf("part %d: %w", number, u.driver.wrap(ctx, err))
	}
	ok, err := s.confirms(part.ETag, part.ChecksumCRC32C)
	if err != nil {
		return fmt.Errorf("part %d: %w", number, err)
	}
	u.verified = u.verified && ok
	u.size += int64(len(data))
	u.parts = append(u.parts, minio.CompletePart{
		PartNumber: number, ETag: part.ETag, ChecksumCRC32C: part.ChecksumCRC32C,
	})
	return nil
}

// complete makes the object visible and looks at it.
func (u *upload) complete(ctx context.Context) error {
	err := u.driver.conditionally(ctx, func(conditional bool) error {
		_, err := u.driver.core.CompleteMultipartUpload(ctx, u.driver.bucket, u.object, u.id, u.parts,
			u.completeOptions(conditional))
		return err
	})
	if err != nil {
		if err = u.settle(ctx, err); err != nil {
			return errors.Join(err, u.abort(ctx))
		}
	}
	var info minio.ObjectInfo
	err = u.driver.retryBusy(ctx, func() (err error) {
		info, err = u.driver.stat(ctx, u.object)
		return err
	})
	if err == nil && info.Size != u.size {
		err = fmt.Errorf("%w: %d bytes sent, %d stored", storage.ErrDamaged, u.size, info.Size)
	}
	if err != nil {
		return errors.Join(err, u.undo(ctx))
	}
	return nil
}

// abort removes the parts of this upload.
func (u *upload) abort(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	return u.driver.abort(ctx, u.object, u.id)
}
