package ledger

import "context"

const (
	addNote = `
INSERT INTO pgcourier.storage_notes (destination, key, ref) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`

	readNotes = `
SELECT ref FROM pgcourier.storage_notes WHERE destination = $1 AND key = $2 ORDER BY note_id`

	dropNotes = `
DELETE FROM pgcourier.storage_notes WHERE destination = $1 AND key = $2`
)

// Note records that a destination accepted a part of the object key under the reference ref, so
// that any worker can delete it. Repeating it changes nothing. The rows stay when the request's row
// is deleted, because they describe what is in the storage.
func (l *Ledger) Note(ctx context.Context, destination, key, ref string) error {
	return l.call(ctx, "note a part of "+key, func(ctx context.Context) error {
		_, err := l.pool.Exec(ctx, addNote, destination, key, ref)
		return err
	})
}

// Notes returns the references under key, in the order of recording.
func (l *Ledger) Notes(ctx context.Context, destination, key string) ([]string, error) {
	type row struct {
		Ref string `db:"ref"`
	}
	rows, err := read[row](ctx, l, "read the parts of "+key, readNotes, destination, key)
	if err != nil {
		return nil, err
	}
	refs := make([]string, len(rows))
	for i, r := range rows {
		refs[i] = r.Ref
	}
	return refs, nil
}

// ForgetNotes deletes all notes under key, because its export is complete or deleted.
func (l *Ledger) ForgetNotes(ctx context.Context, destination, key string) error {
	return l.call(ctx, "forget the parts of "+key, func(ctx context.Context) error {
		_, err := l.pool.Exec(ctx, dropNotes, destination, key)
		return err
	})
}
