package storagetest

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// repositoryProbe checks that a probe leaves nothing, also when its object could not be read, and
// names the failed step.
func repositoryProbe(t *testing.T, dst Destination) {
	r := dst.repository(t, nil)
	save(t, r, someKey, []byte("an export"))
	before := len(dst.Remains(t))
	if err := r.Probe(background(t)); err != nil {
		t.Errorf("probe: %v", err)
	}
	dst.expectRemains(t, before)
	blind := dst.repository(t, refusing(dst.Driver, "read"))
	var failed *storage.ProbeError
	if err := blind.Probe(background(t)); !errors.As(err, &failed) || failed.Step != "read" || !errors.Is(err, storage.ErrRefused) {
		t.Errorf("a probe that cannot be read: %v", err)
	}
	dst.expectRemains(t, before)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Probe(over); !errors.As(err, &failed) || failed.Step != "write" {
		t.Errorf("a probe without time: %v", err)
	}
	dst.expectRemains(t, before)
	keeping := dst.repository(t, refusing(dst.Driver, "delete"))
	err := keeping.Probe(background(t))
	if !errors.As(err, &failed) || failed.Step != "delete" || !strings.Contains(err.Error(), "delete a probe") {
		t.Errorf("a probe that cannot be deleted: %v", err)
	}
	dst.expectRemains(t, before+1)
}

// refusing is a driver that refuses to read or to delete.
func refusing(d storage.Driver, step string) storage.Driver {
	if l, ok := d.(storage.Lister); ok {
		return refusingLister{l, step}
	}
	return refusingIndexer{d.(storage.Indexer), step}
}

type refusingLister struct {
	storage.Lister
	step string
}

func (r refusingLister) Open(ctx context.Context, ref storage.Ref, offset int64) (io.ReadCloser, error) {
	if r.step == "read" {
		return nil, storage.ErrRefused
	}
	return r.Lister.Open(ctx, ref, offset)
}

func (r refusingLister) Delete(ctx context.Context, ref storage.Ref) (storage.Deletion, error) {
	if r.step == "delete" {
		return storage.Absent, storage.ErrRefused
	}
	return r.Lister.Delete(ctx, ref)
}

type refusingIndexer struct {
	storage.Indexer
	step string
}

func (r refusingIndexer) Open(ctx context.Context, ref storage.Ref, offset int64) (io.ReadCloser, error) {
	if r.step == "read" {
		return nil, storage.ErrRefused
	}
	return r.Indexer.Open(ctx, ref, offset)
}

func (r refusingIndexer) Delete(ctx context.Context, ref storage.Ref) (storage.Deletion, error) {
	if r.step == "delete" {
		return storage.Absent, storage.ErrRefused
	}
	return r.Indexer.Delete(ctx, ref)
}
