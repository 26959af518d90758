// Package contents compares what two databases hold, table by table: the proof that a
// restored export is the source.
package contents

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Table is the content of one table, materialized view or sequence.
type Table struct {
	Rows int64
	// Hash is the sum of the rows' hashes as numeric text: it does not depend on their
	// order, and each row counts as often as it is there.
	Hash string
}

// Read returns the contents of all tables, materialized views and sequences of the
// schemas, by quoted name, in one snapshot of conn's database.
func Read(ctx context.Context, conn *pgx.Conn, schemas []string) (map[string]Table, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	rows, err := tx.Query(ctx, `
		SELECT format('%I.%I', n.nspname, c.relname), c.relkind = 'S' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = ANY ($1) AND c.relkind IN ('r', 'm', 'S') ORDER BY 1`, schemas)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	relations, err := pgx.CollectRows(rows, pgx.RowToStructByPos[relation])
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	out := make(map[string]Table, len(relations))
	for _, r := range relations {
		var t Table
		columns := "*"
		if r.Sequence {
			columns = "last_value, is_called" // log_cnt is no content
		}
		sql := `SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM (SELECT ` + columns + ` FROM ONLY ` + r.Name + `) t`
		if err := tx.QueryRow(ctx, sql).Scan(&t.Rows, &t.Hash); err != nil {
			return nil, fmt.Errorf("read %s: %w", r.Name, err)
		}
		out[r.Name] = t
	}
	return out, nil
}

// relation is what Read looks at.
type relation struct {
	Name     string // quoted by the server
	Sequence bool
}

// Compare returns one line for each table that differs; none means equal contents.
func Compare(want, got map[string]Table) []string {
	var diffs []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		w := want[name]
		g, ok := got[name]
		switch {
		case !ok:
			diffs = append(diffs, name+": missing")
		case g.Rows != w.Rows:
			diffs = append(diffs, fmt.Sprintf("%s: %d rows, want %d", name, g.Rows, w.Rows))
		case g.Hash != w.Hash:
			diffs = append(diffs, fmt.Sprintf("%s: other contents in %d rows", name, g.Rows))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			diffs = append(diffs, name+": not expected")
		}
	}
	return diffs
}
