package storagetest

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// spy records the bytes that are read through it.
type spy struct {
	storage.Driver
	keep func([]byte)
}

func (s spy) Open(ctx context.Context, ref storage.Ref, offset int64) (io.ReadCloser, error) {
	body, err := s.Driver.Open(ctx, ref, offset)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	s.keep(b)
	return io.NopCloser(bytes.NewReader(b)), nil
}

type spyLister struct {
	storage.Lister
	spy spy
}

func (s spyLister) Open(ctx context.Context, ref storage.Ref, offset int64) (io.ReadCloser, error) {
	return s.spy.Open(ctx, ref, offset)
}

type spyIndexer struct {
	storage.Indexer
	spy spy
}

func (s spyIndexer) Open(ctx context.Context, ref storage.Ref, offset int64) (io.ReadCloser, error) {
	return s.spy.Open(ctx, ref, offset)
}
