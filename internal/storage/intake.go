package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/pgcourier/pgcourier/internal/export"
)

// intake is the stream on its way in. It counts and hashes, and it reports io.EOF only
// when the description asked for at the end fits the bytes: a driver that keeps its rule
// (nothing visible before io.EOF) can therefore never show bytes that do not fit.
type intake struct {
	ctx      context.Context //nolint:containedctx // bound to one Put, checked between reads
	key      string
	src      io.Reader
	describe func() export.Manifest

	hash  hash.Hash
	count int64
	err   error // sticky; io.EOF when all is well
	bad   error // what src itself returned
	man   export.Manifest
}

func newIntake(ctx context.Context, key string, src io.Reader, describe func() export.Manifest) *intake {
	return &intake{ctx: ctx, key: key, src: src, describe: describe, hash: sha256.New()}
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
	_, _ = i.hash.Write(p[:n]) // a hash never fails
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
	case a.SHA256 != i.sum():
		return fmt.Errorf("%w: the hashes differ", ErrMismatch)
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

func (i *intake) sum() string { return hex.EncodeToString(i.hash.Sum(nil)) }

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
