package main

import (
	"context"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// notes is the ledger as the journal of one destination. While the ledger is unreachable
// it waits, as all of an attempt does.
type notes struct {
	ledger      *ledger.Ledger
	destination string
}

var _ storage.Journal = notes{}

// Note implements storage.Journal.
func (n notes) Note(ctx context.Context, key string, ref storage.Ref) error {
	return export.Retry(ctx, func(ctx context.Context) error {
		return n.ledger.Note(ctx, n.destination, key, string(ref))
	})
}

// Refs implements storage.Journal.
func (n notes) Refs(ctx context.Context, key string) ([]storage.Ref, error) {
	var refs []storage.Ref
	err := export.Retry(ctx, func(ctx context.Context) error {
		noted, err := n.ledger.Notes(ctx, n.destination, key)
		for _, ref := range noted {
			refs = append(refs, storage.Ref(ref))
		}
		return err
	})
	return refs, err
}

// Forget implements storage.Journal.
func (n notes) Forget(ctx context.Context, key string) error {
	return export.Retry(ctx, func(ctx context.Context) error {
		return n.ledger.ForgetNotes(ctx, n.destination, key)
	})
}
