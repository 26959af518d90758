package ledger

import "context"

const (
	findStorage = `SELECT storage, lies_on FROM pgcourier.storages WHERE place = $1`

	noteStorage = `INSERT INTO pgcourier.storages (place, storage, lies_on) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`

	replaceStorage = `
INSERT INTO pgcourier.storages (place, storage, lies_on) VALUES ($1, $2, $3)
ON CONFLICT (place) DO UPDATE SET storage = excluded.storage, lies_on = excluded.lies_on, marked_at = clock_timestamp()`

	// The newest ones are selected before their outcomes are read.
	storedAt = `
SELECT n.object FROM (
    SELECT r.outcome, r.finished_at, a.object
    FROM pgcourier.requests r
    JOIN pgcourier.attempts a ON a.project_id = r.project_id AND a.request_id = r.request_id AND a.result = 'completed'
    LEFT JOIN pgcourier.expiries e ON e.project_id = r.project_id AND e.request_id = r.request_id
    WHERE ` + stored + ` AND e.deleting_at IS NULL AND a.object <> ''
    ORDER BY r.finished_at DESC LIMIT 1000) n
WHERE EXISTS (
    SELECT FROM json_array_elements(CASE json_typeof(n.outcome #> '{artifact,copies}') WHEN 'array' THEN n.outcome #> '{artifact,copies}' END) c
    WHERE c ->> 'destination' = $1 AND coalesce(c ->> 'status', '') IN ('', 'stored'))
ORDER BY n.finished_at DESC LIMIT $2`

	storedUnder = `
SELECT EXISTS (
    SELECT FROM pgcourier.requests r
    CROSS JOIN LATERAL json_array_elements(CASE json_typeof(r.outcome #> '{artifact,copies}') WHEN 'array' THEN r.outcome #> '{artifact,copies}' END) c
    JOIN unnest($1::text[]) b (beginning) ON starts_with(c ->> 'uri', b.beginning)
    WHERE ` + stored + ` AND coalesce(c ->> 'status', '') IN ('', 'stored'))`
)

// StorageAt returns the name in the marker of the storage at a place, and the file system of the
// storage when it was recorded. Empty name: no storage is recorded.
func (l *Ledger) StorageAt(ctx context.Context, place string) (storage, liesOn string, err error) {
	type row struct {
		Storage string `db:"storage"`
		LiesOn  string `db:"lies_on"`
	}
	rows, err := read[row](ctx, l, "look for the storage of a place", findStorage, place)
	if err != nil || len(rows) == 0 {
		return "", "", err
	}
	return rows[0].Storage, rows[0].LiesOn, nil
}

// NoteStorage records the storage at a place unless one is recorded, and returns the recorded one.
func (l *Ledger) NoteStorage(ctx context.Context, place, storage, liesOn string) (recorded string, err error) {
	if err := l.note(ctx, "note the storage of a place", nil, noteStorage, place, storage, liesOn); err != nil {
		return "", err
	}
	recorded, _, err = l.StorageAt(ctx, place)
	return recorded, err
}

// ReplaceStorage records that another storage is at a place from now on.
func (l *Ledger) ReplaceStorage(ctx context.Context, place, storage, liesOn string) error {
	return l.note(ctx, "replace the storage of a place", nil, replaceStorage, place, storage, liesOn)
}

// StoredUnder reports whether an export is recorded as stored with a URI that has one of these beginnings.
func (l *Ledger) StoredUnder(ctx context.Context, beginnings []string) (found bool, err error) {
	err = l.call(ctx, "look for exports at an address", func(ctx context.Context) error {
		return l.pool.QueryRow(ctx, storedUnder, beginnings).Scan(&found)
	})
	return found, err
}

// StoredAt returns at most limit keys of exports that are recorded as stored at a destination and
// are not being deleted, newest first. It reads the newest 1,000 exports only.
func (l *Ledger) StoredAt(ctx context.Context, destination string, limit int) ([]string, error) {
	type row struct {
		Object string `db:"object"`
	}
	rows, err := read[row](ctx, l, "list what is stored at "+destination, storedAt, destination, limit)
	keys := make([]string, len(rows))
	for i, r := range rows {
		keys[i] = r.Object
	}
	return keys, err
}
