package restore

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pgcourier/pgcourier/internal/export"
)

// wrongCount is the SQLSTATE for a table that holds other rows than the export. PostgreSQL does not
// use its class.
const wrongCount = "PGC01"

// settings apply to the restorer's statements before the dump; the dump has its own. The names in
// these statements are UTF-8 in every locale.
const settings = "SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\nSET client_min_messages = warning;\n"

// begin opens the transaction and runs the prelude.
func begin(w io.Writer, prelude []string) error {
	_, err := io.WriteString(w, settings+"BEGIN;\nSET LOCAL search_path = pg_catalog;\n"+strings.Join(prelude, "\n")+"\n")
	return err
}

// commit writes the statements after the dump: closing, the counts and COMMIT. A table that holds
// other rows than the export raises an error, and psql stops before COMMIT.
func commit(w io.Writer, a export.Artifact, want export.Contents) error {
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	for _, statement := range append(closing(a), counts(want, countBatch)...) {
		if _, err := io.WriteString(w, statement+"\n"); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "COMMIT;\n")
	return err
}

// countBatch is how many tables one block counts in the restore's transaction, which has all locks
// already. One block for each table would cost a plan each time; one for all could be a statement of
// many megabytes. countApart is the number for blocks that are transactions of their own, because a
// table and each of its indexes take a lock.
const (
	countBatch = 500
	countApart = 20
)

// countSQL is the body of a block that counts tables. The verbs are arrays: the tables' quoted
// names, and how many rows each must hold.
//
// Two kinds of tables may differ. Rows of a partition by hash can be in another partition than in the
// source if the hash depends on OIDs; pg_dump then loads them through the root. A setting holds the
// difference of each root for the last block, which requires a sum of zero. And an extension fills
// its own tables, to which the dump adds rows.
//
// Tables that this login may not count are left out: those with row-level security forced on the
// owner. The planner inlines the functions of a table's expression statistics with an empty
// search_path, where they may fail. COPY counts such a table, because it plans nothing; a login
// without the right to write files on the server leaves it out.
//
// The common case has one subtransaction for all tables: one for each costs the square of their
// number.
const countSQL = `
DECLARE
  names CONSTANT text[] := %[1]s;
  rows CONSTANT bigint[] := %[2]s;
  moved jsonb := coalesce(nullif(pg_catalog.current_setting('` + movedSetting + `', true), ''), '{}');
  counted bigint[];
  t regclass;
  n bigint;
  root oid;
  hashed boolean;
BEGIN
  BEGIN
    FOR i IN 1 .. pg_catalog.cardinality(names) LOOP
      n := NULL;
      IF NOT pg_catalog.row_security_active(names[i]::regclass) AND pg_catalog.has_table_privilege(names[i]::regclass, 'SELECT') THEN
        EXECUTE 'SELECT pg_catalog.count(*) FROM ONLY ' || names[i] INTO n;
      END IF;
      counted[i] := n;
    END LOOP;
  EXCEPTION WHEN others THEN
    IF pg_catalog.left(SQLSTATE, 2) NOT IN ('42', '22', 'P0', '0A') THEN
      RAISE;
    END IF;
    counted := NULL;
  END;
  FOR i IN 1 .. pg_catalog.cardinality(names) LOOP
    t := names[i]::regclass;
    IF counted IS NULL THEN
      CONTINUE WHEN pg_catalog.row_security_active(t) OR NOT pg_catalog.has_table_privilege(t, 'SELECT');
      BEGIN
        EXECUTE 'SELECT pg_catalog.count(*) FROM ONLY ' || names[i] INTO n;
      EXCEPTION WHEN others THEN
        CONTINUE WHEN NOT pg_catalog.pg_has_role('pg_write_server_files', 'USAGE');
        EXECUTE 'COPY ' || names[i] || ' TO ''/dev/null''';
        GET DIAGNOSTICS n = ROW_COUNT;
      END;
    ELSE
      n := counted[i];
    END IF;
    CONTINUE WHEN n IS NULL OR n = rows[i];
    WITH RECURSIVE up (oid, depth) AS (
      SELECT t::oid, 0
      UNION ALL
      SELECT i.inhparent, depth + 1 FROM up JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.oid
    )
    SELECT (pg_catalog.array_agg(p.partrelid ORDER BY up.depth DESC))[1], pg_catalog.bool_or(p.partstrat = 'h') INTO root, hashed
      FROM up JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = up.oid;
    IF hashed THEN
      moved := moved || pg_catalog.jsonb_build_object(root::text, coalesce((moved ->> root::text)::bigint, 0) + n - rows[i]);
    ELSIF n < rows[i] OR NOT EXISTS (SELECT FROM pg_catalog.pg_depend
                                      WHERE classid = 'pg_catalog.pg_class'::regclass AND objid = t AND deptype = 'e') THEN
      RAISE EXCEPTION USING ERRCODE = '` + wrongCount + `', MESSAGE = pg_catalog.format('pgcourier: %%s holds %%s rows, the export %%s', names[i], n, rows[i]);
    END IF;
  END LOOP;
  PERFORM pg_catalog.set_config('` + movedSetting + `', moved::text, false);
END`

// movedSetting holds the surplus of rows of each root of partitions by hash.
const movedSetting = "pgcourier.moved"

// rootsSQL is the body of the last block.
const rootsSQL = `
DECLARE
  root record;
BEGIN
  FOR root IN SELECT key::oid::regclass AS name, value FROM pg_catalog.jsonb_each_text(pg_catalog.current_setting('` + movedSetting + `')::jsonb) WHERE value <> '0' LOOP
    RAISE EXCEPTION USING ERRCODE = '` + wrongCount + `', MESSAGE = pg_catalog.format('pgcourier: %s and its partitions hold %s rows more than the export', root.name, root.value);
  END LOOP;
END`

// counts returns the statements that compare every table with the export. A difference raises
// wrongCount.
func counts(want export.Contents, batch int) []string {
	if len(want.Tables) == 0 {
		return nil
	}
	out := []string{"SET standard_conforming_strings = on;"}
	tables := slices.SortedFunc(maps.Keys(want.Tables), compareTables)
	for some := range slices.Chunk(tables, batch) {
		names, rows := make([]string, len(some)), make([]string, len(some))
		for i, t := range some {
			names[i], rows[i] = identifier(t), strconv.FormatInt(want.Tables[t], 10)
		}
		out = append(out, block(fmt.Sprintf(countSQL, textArray(names, "text"), "ARRAY["+strings.Join(rows, ", ")+"]::bigint[]")))
	}
	return append(out, block(rootsSQL))
}

func compareTables(a, b export.Table) int {
	if c := strings.Compare(a.Schema, b.Schema); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}
