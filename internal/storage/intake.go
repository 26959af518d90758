package storage

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// intake is the stream on its way in. It counts and sums up, and it reports io.EOF only
// when the description asked for at the end fits the bytes: a driver that keeps its rule
// (nothing visible before io.EOF) can therefore never show bytes that do not fit. SHA-256 was
// computed where the bytes were sealed. Here a CRC-32C tells whether the same have arrived: from
// there to here is this process's memory, and a second SHA-256 would cost as much as all else
// that is done to an export without compression.
type intake struct {
	ctx      context.Context //nolint:containedctx // bound to one Put, checked between reads
	key      string
	src      io.Reader
	describe func() export.Manifest

	crc   uint32
	count int64
	err   error // sticky; io.EOF when all is well
	bad   error // what src itself returned
	man   export.Manifest
}

func newIntake(ctx context.Context, key string, src io.Reader, describe func() export.Manifest) *intake {
	return &intake{ctx: ctx, key: key, src: src, describe: describe}
}

func (i *intake) Read(p []byte) (int, error) {
	if i.err != nil {
		return 0, i.err
	}
	if err := i.ctx.Err(); err != nil {
		i.err = err
		if cause := context.Cause(i.ctx); !errors.Is(err, cause) {
			i.err = errors.Join(err, cause)
		}
		return 0, i.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := i.src.Read(p)
	i.crc = seal.CRC32C(i.crc, p[:n])
	i.count += int64(n)
	switch err { // io.EOF itself is the end; a wrapped one is a failure
	case nil:
		return n, nil
	case io.EOF:
		i.err = i.compare()
	default:
		i.bad, i.err = err, err
	}
	return n, i.err
}

// compare asks for the description and returns io.EOF when it fits.
func (i *intake) compare() error {
	m := i.describe()
	a := m.Artifact
	switch {
	case m.Version != documentVersion || m.Key != i.key || a == nil:
		return fmt.Errorf("%w: not a manifest of %s", ErrMismatch, i.key)
	case a.StoredBytes != i.count:
		return fmt.Errorf("%w: %d bytes described, %d read", ErrMismatch, a.StoredBytes, i.count)
	case a.CRC32C != i.crc:
		return fmt.Errorf("%w: the checksums differ", ErrMismatch)
	case !isSHA256(a.SHA256):
		return fmt.Errorf("%w: no SHA-256 is described", ErrMismatch)
	}
	i.man = m
	return io.EOF
}

// manifest is the description, once it was found to fit.
func (i *intake) manifest() (export.Manifest, bool) {
	return i.man, i.err == io.EOF //nolint:errorlint // io.EOF itself is the end; a wrapped one is a failure
}

// sourceError is what the stream itself failed with, if it did.
func (i *intake) sourceError() error { return i.bad }

// contextReader ends with the context between two reads.
type contextReader struct {
	ctx context.Context //nolint:containedctx // bound to one copy
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
