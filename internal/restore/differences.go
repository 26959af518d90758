package restore

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
)

// difference is a table that holds other rows than the export.
type difference struct {
	table   export.Table // of partitions by hash: none
	missing bool         // it does not exist, or cannot be read
	text    string
}

// differences returns the tables that hold other rows than the export. Partitions by hash are
// compared as the sum over their root, because a row may be in another partition than in the source.
func (e Evidence) differences(ctx context.Context, conn *pgx.Conn, schemas []string) ([]difference, error) {
	roots, err := hashRoots(ctx, conn, schemas)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "SET row_security = off"); err != nil {
		return nil, err
	}
	var out []difference
	moved := map[string]int64{}
	for _, t := range slices.SortedFunc(maps.Keys(e.Contents.Tables), compareTables) {
		var there, member bool
		err := conn.QueryRow(ctx, `
SELECT c.oid IS NOT NULL AND NOT row_security_active(c.oid) AND has_table_privilege(c.oid, 'SELECT'),
       EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  FROM (SELECT to_regclass($1)::oid AS oid) c`, identifier(t)).Scan(&there, &member)
		if err != nil {
			return nil, err
		}
		want := e.Contents.Tables[t]
		if !there {
			out = append(out, difference{t, true, fmt.Sprintf("table %s is missing or cannot be read, the export has %d rows of it", t, want)})
			continue
		}
		n, err := countRows(ctx, conn, t)
		if err != nil {
			return nil, err
		}
		switch root, hashed := roots[t]; {
		case hashed:
			moved[root] += n - want
		case n < want, n > want && !member:
			out = append(out, difference{t, false, fmt.Sprintf("table %s holds %d rows, the export %d", t, n, want)})
		}
	}
	for _, root := range slices.Sorted(maps.Keys(moved)) {
		if moved[root] != 0 {
			out = append(out, difference{text: fmt.Sprintf("%s and its partitions hold %+d rows against the export", root, moved[root])})
		}
	}
	return out, nil
}

// countRows counts a table. If count(*) cannot be planned, it uses COPY: the planner inlines the
// functions of expression statistics, which may need another search_path. The failure does not abort
// an open transaction.
func countRows(ctx context.Context, conn *pgx.Conn, t export.Table) (n int64, err error) {
	begin, end, undo := "", "", ""
	if conn.PgConn().TxStatus() == 'T' {
		begin, end, undo = "SAVEPOINT count", "RELEASE SAVEPOINT count", "ROLLBACK TO SAVEPOINT count"
	}
	if _, err := conn.Exec(ctx, begin); err != nil {
		return 0, err
	}
	if err = conn.QueryRow(ctx, "SELECT pg_catalog.count(*) FROM ONLY "+identifier(t)).Scan(&n); err == nil {
		_, err = conn.Exec(ctx, end)
		return n, err
	}
	if _, err := conn.Exec(ctx, undo); err != nil {
		return 0, err
	}
	tag, err := conn.PgConn().CopyTo(ctx, io.Discard, "COPY "+identifier(t)+" TO STDOUT")
	return tag.RowsAffected(), err
}

// hashRoots returns the root of each partition below a table that is partitioned by hash.
func hashRoots(ctx context.Context, conn *pgx.Conn, schemas []string) (map[export.Table]string, error) {
	rows, err := conn.Query(ctx, `
WITH RECURSIVE up (leaf, oid, depth) AS (
  SELECT c.oid, c.oid, 0 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = ANY ($1::text[]::name[]) AND c.relispartition AND c.relkind IN ('r', 'p')
  UNION ALL
  SELECT leaf, i.inhparent, depth + 1 FROM up JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.oid
)
SELECT n.nspname::text, c.relname::text, (array_agg(p.partrelid::regclass::text ORDER BY up.depth DESC))[1]
  FROM up JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = up.oid
  JOIN pg_catalog.pg_class c ON c.oid = up.leaf JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 GROUP BY 1, 2 HAVING bool_or(p.partstrat = 'h')`, pgx.QueryExecModeExec, schemas)
	if err != nil {
		return nil, err
	}
	out := map[export.Table]string{}
	var t export.Table
	var root string
	_, err = pgx.ForEachRow(rows, []any{&t.Schema, &t.Name, &root}, func() error {
		out[t] = root
		return nil
	})
	return out, err
}
