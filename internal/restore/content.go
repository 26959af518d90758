package restore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/export"
)

// TableContent is what a table holds.
type TableContent struct {
	export.Table
	Rows int64 `json:"rows"`
	// Hash is the sum of the 64-bit hashes of all rows as text, in decimal. It does not depend on the
	// order of the rows. Empty: the server is older than 11, or the table could not be read as a whole.
	Hash string `json:"hash,omitempty"`
}

// textSettings fix how values are written as text, for hashes that can be compared between servers.
const textSettings = "SET LOCAL search_path = " + trustedPath + "; SET LOCAL row_security = off; SET LOCAL datestyle = 'ISO, YMD'; " +
	"SET LOCAL intervalstyle = 'postgres'; SET LOCAL timezone = 'UTC'; SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 3; " +
	"SET LOCAL lc_monetary = 'C'; SET LOCAL client_encoding = 'UTF8'"

// hashing is the first major version with 64-bit hash functions.
const hashing = 11

// readContents returns the contents of the tables, in their order, in conn's transaction. Row-level
// security that is forced on the owner, and functions that cannot be planned, leave tables out of the
// result. Such a failure does not abort the transaction. asking makes the statement that answers a query:
// to plan it, the server evaluates expressions of indexes, which are code of the export.
func readContents(ctx context.Context, conn *pgx.Conn, major int, tables []export.Table, asking func(string) (string, [][]byte, []uint32)) (out []TableContent, left []string, err error) {
	if _, err := conn.PgConn().Exec(ctx, textSettings).ReadAll(); err != nil {
		return nil, nil, err
	}
	hash := ""
	if major >= hashing { // ::text would call a cast of the export
		hash = ` || coalesce(sum(hashtextextended(textin(record_out(pgcourier_row.*)) COLLATE "C", 0)::numeric), 0)`
	}
	for _, t := range tables {
		batch := &pgconn.Batch{}
		batch.ExecParams("SAVEPOINT pgcourier_count", nil, nil, nil, nil)
		sql, values, types := asking("SELECT count(*) || ' '" + hash + " FROM ONLY " + identifier(t) + " pgcourier_row")
		batch.ExecParams(sql, values, types, nil, nil)
		batch.ExecParams("RELEASE SAVEPOINT pgcourier_count", nil, nil, nil, nil)
		results, err := conn.PgConn().ExecBatch(ctx, batch).ReadAll()
		if err == nil {
			c, err := contentOf(t, results)
			if err != nil {
				return nil, nil, err
			}
			out = append(out, c)
			continue
		}
		if state := sqlState(err); state == "" || transient(state) {
			return nil, nil, err
		}
		left = append(left, fmt.Sprintf("the content of table %s could not be hashed: %s", identifier(t), oneLine(err.Error())))
		if _, err := conn.PgConn().Exec(ctx, "ROLLBACK TO SAVEPOINT pgcourier_count; RELEASE SAVEPOINT pgcourier_count").ReadAll(); err != nil {
			return nil, nil, err
		}
	}
	return out, left, nil
}

// contentOf decodes the answer of the second of three statements.
func contentOf(t export.Table, results []*pgconn.Result) (TableContent, error) {
	if len(results) != 3 || len(results[1].Rows) != 1 {
		return TableContent{}, tampered()
	}
	count, hash, _ := strings.Cut(string(results[1].Rows[0][0]), " ")
	rows, err := strconv.ParseInt(count, 10, 64)
	return TableContent{Table: t, Rows: rows, Hash: hash}, err
}

// sameContents returns, in words, the tables whose rows or hashes differ.
func sameContents(want, got []TableContent) (differences []string) {
	found := map[export.Table]TableContent{}
	for _, c := range got {
		found[c.Table] = c
	}
	for _, w := range want {
		g, ok := found[w.Table]
		switch {
		case !ok:
		case g.Rows != w.Rows:
			differences = append(differences, fmt.Sprintf("table %s holds %d rows, want %d", identifier(w.Table), g.Rows, w.Rows))
		case g.Hash != w.Hash && g.Hash != "" && w.Hash != "":
			differences = append(differences, fmt.Sprintf("the rows of table %s have another hash", identifier(w.Table)))
		}
	}
	return differences
}

// counted reports whether each table was read and holds the rows of the export.
func (e Evidence) counted(found []TableContent) bool {
	n := 0
	for _, c := range found {
		if rows, ok := e.Contents.Tables[c.Table]; ok && rows == c.Rows {
			n++
		}
	}
	return n == len(e.Contents.Tables)
}

func sortedTables(c export.Contents) []export.Table {
	return slices.SortedFunc(maps.Keys(c.Tables), compareTables)
}
