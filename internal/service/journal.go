package service

import (
	"context"
	"log/slog"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// Journal implements storage.Journal for one destination over the ledger. Its methods wait while
// the ledger is unreachable.
type Journal struct {
	ledger      *ledger.Ledger
	destination string
	log         *slog.Logger
}

var _ storage.Journal = Journal{}

// NewJournal returns the journal of a destination. Its name must be the same in every worker.
func NewJournal(l *ledger.Ledger, destination string, log *slog.Logger) Journal {
	return Journal{l, destination, log}
}

// Note implements storage.Journal.
func (j Journal) Note(ctx context.Context, key string, ref storage.Ref) error {
	return export.Retry(ctx, export.Wait{For: "the ledger", Log: j.log}, func(ctx context.Context) error {
		return j.ledger.Note(ctx, j.destination, key, string(ref))
	})
}

// Refs implements storage.Journal.
func (j Journal) Refs(ctx context.Context, key string) ([]storage.Ref, error) {
	var refs []storage.Ref
	err := export.Retry(ctx, export.Wait{For: "the ledger", Log: j.log}, func(ctx context.Context) error {
		noted, err := j.ledger.Notes(ctx, j.destination, key)
		for _, ref := range noted {
			refs = append(refs, storage.Ref(ref))
		}
		return err
	})
	return refs, err
}

// Forget implements storage.Journal.
func (j Journal) Forget(ctx context.Context, key string) error {
	return export.Retry(ctx, export.Wait{For: "the ledger", Log: j.log}, func(ctx context.Context) error {
		return j.ledger.ForgetNotes(ctx, j.destination, key)
	})
}
