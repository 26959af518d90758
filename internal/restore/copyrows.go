package restore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// copyInto is a COPY of pg_dump, taken apart. It is written again for the target, so that nothing else
// can be in its text.
type copyInto struct {
	export.Table
	columns []string // nil: none are named
}

func parseCopy(statement string) (c copyInto, ok bool) {
	rest := archive.Tokens(bare(statement))
	if len(rest) == 0 || !rest[0].Is("COPY") {
		return c, false
	}
	if c.Schema, c.Name, rest, ok = archive.Qualified(rest[1:]); !ok {
		return c, false
	}
	if len(rest) > 0 && rest[0].Is("(") {
		if c.columns, rest, ok = nameList(rest); !ok {
			return c, false
		}
	}
	return c, len(rest) == 3 && rest[0].Is("FROM") && rest[1].Is("stdin") && rest[2].Is(";")
}

// nameList takes a list of names in parentheses apart.
func nameList(tokens []archive.Token) (names []string, rest []archive.Token, ok bool) {
	if len(tokens) == 0 || !tokens[0].Is("(") {
		return nil, nil, false
	}
	for i := 1; i+1 < len(tokens); i += 2 {
		name, next := tokens[i], tokens[i+1]
		if !name.Quoted && (name.Text == "" || !nameByte(name.Text[0])) {
			return nil, nil, false
		}
		switch names = append(names, name.Text); {
		case next.Is(")"):
			return names, tokens[i+2:], true
		case !next.Is(","):
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// quotedList returns names in parentheses; nil: nothing.
func quotedList(names []string) string {
	if names == nil {
		return ""
	}
	quotedNames := make([]string, len(names))
	for i, name := range names {
		quotedNames[i] = quoted(name)
	}
	return " (" + strings.Join(quotedNames, ", ") + ")"
}

// codeSQL tells for each table of the schemas in $1 whether COPY into it can call code of the export: by
// a check of it, of its partitions or of a domain, by a generated column, the key of a partition, the
// canonical function of a range, the subtype_diff of a range in an index, a trigger or an expression of an
// index; and which of its columns have a default that can, which COPY calls for the columns that it does
// not name. The verb is the condition of a generated column.
//
// An expression cannot if it calls only functions of PostgreSQL that are immutable or about times, or
// immutable ones in C of an extension. The others include set_config and query_to_xml. Objects of
// PostgreSQL itself have OIDs below 16384.
const codeSQL = `
WITH RECURSIVE base (oid, schema, name) AS (
  SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = ANY ($1::text[]::name[]) AND c.relkind IN ('r', 'p')
), up (leaf, oid) AS (
  SELECT oid, oid FROM base
  UNION
  SELECT u.leaf, i.inhparent FROM up u JOIN pg_class c ON c.oid = u.oid AND c.relispartition JOIN pg_inherits i ON i.inhrelid = u.oid
), root (leaf, oid) AS (
  SELECT u.leaf, u.oid FROM up u JOIN pg_class c ON c.oid = u.oid WHERE NOT c.relispartition
), member (root, oid) AS (
  SELECT oid, oid FROM root
  UNION
  SELECT m.root, i.inhrelid FROM member m JOIN pg_inherits i ON i.inhparent = m.oid JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition
), used (typ, oid) AS (
  SELECT a.atttypid, a.atttypid FROM member m JOIN pg_attribute a ON a.attrelid = m.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384
  UNION
  SELECT u.typ, x.oid FROM used u JOIN pg_type t ON t.oid = u.oid CROSS JOIN LATERAL (
    SELECT t.typbasetype UNION ALL SELECT t.typelem UNION ALL SELECT g.rngsubtype FROM pg_range g WHERE g.rngtypid = t.oid
    UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = t.typrelid AND t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped
  ) x (oid) WHERE x.oid >= 16384
), tree (rel, typ, col, text) AS (
  SELECT k.conrelid, 0::oid, NULL::name, k.conbin::text FROM pg_constraint k WHERE k.contype = 'c' AND k.conrelid IN (SELECT oid FROM member)
  UNION ALL SELECT 0, k.contypid, NULL, k.conbin::text FROM pg_constraint k WHERE k.contypid IN (SELECT oid FROM used)
  UNION ALL SELECT d.adrelid, 0, CASE WHEN %s THEN NULL ELSE a.attname END, d.adbin::text
    FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE d.adrelid IN (SELECT oid FROM member)
  UNION ALL SELECT p.partrelid, 0, NULL, p.partexprs::text FROM pg_partitioned_table p WHERE p.partexprs IS NOT NULL AND p.partrelid IN (SELECT oid FROM member)
), code (rel, typ, col) AS (
  SELECT rel, typ, col FROM tree WHERE text ~ '[{]ROWCOMPARE'
      OR EXISTS (SELECT FROM regexp_matches(text, ':(?:funcid|opfuncid) ([0-9]+)', 'g') f (ids)
                   LEFT JOIN pg_proc p ON p.oid = f.ids[1]::oid LEFT JOIN pg_type r ON r.oid = p.prorettype
                  WHERE (p.provolatile = 'i' AND (p.oid < 16384
                           OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
                          AND EXISTS (SELECT FROM pg_language l WHERE l.oid = p.prolang AND l.lanname IN ('c', 'internal')))
                     OR p.provolatile = 's' AND p.oid < 16384 AND r.typcategory IN ('D', 'T', 'S', 'N', 'B') AND NOT EXISTS (
                           SELECT FROM unnest(p.proargtypes::oid[]) a (oid) JOIN pg_type t ON t.oid = a.oid WHERE t.typcategory NOT IN ('D', 'T', 'S'))
                        ) IS NOT TRUE)
      OR EXISTS (SELECT FROM regexp_matches(text, ':[A-Za-z_]*(?:type|typeid|typeId) ([0-9]+)', 'g') f (ids)
                   LEFT JOIN pg_type t ON t.oid = f.ids[1]::oid LEFT JOIN pg_type e ON e.oid = t.typelem
                  WHERE f.ids[1]::oid >= 16384 AND (t.typtype = 'e' OR t.typtype = 'b' AND (t.typelem = 0 OR e.typtype IN ('b', 'e'))) IS NOT TRUE)
), coded (root) AS (
  SELECT DISTINCT m.root FROM member m
   WHERE m.oid IN (SELECT rel FROM code WHERE col IS NULL) OR m.oid IN (SELECT tgrelid FROM pg_trigger)
      OR m.oid IN (SELECT indrelid FROM pg_index WHERE indexprs IS NOT NULL OR indpred IS NOT NULL)
      OR m.oid IN (SELECT oid FROM pg_class WHERE relkind NOT IN ('r', 'p'))
      OR EXISTS (SELECT FROM pg_attribute a JOIN used u ON u.typ = a.atttypid JOIN pg_type t ON t.oid = u.oid LEFT JOIN pg_range g ON g.rngtypid = t.oid
                  WHERE a.attrelid = m.oid AND a.attnum > 0 AND NOT a.attisdropped
                    AND (t.oid IN (SELECT typ FROM code) OR t.typtype = 'm' OR g.rngcanonical::oid >= 16384
                      OR g.rngsubdiff::oid >= 16384 AND m.oid IN (SELECT indrelid FROM pg_index)))
)
SELECT b.schema::text, b.name::text, EXISTS (SELECT FROM root r JOIN coded k ON k.root = r.oid WHERE r.leaf = b.oid),
  ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = b.oid AND a.attnum > 0 AND NOT a.attisdropped AND (
          EXISTS (SELECT FROM code x WHERE x.rel = b.oid AND x.col = a.attname)
       OR EXISTS (SELECT FROM used u JOIN pg_type t ON t.oid = u.oid WHERE u.typ = a.atttypid AND t.typdefaultbin IS NOT NULL)))
  FROM base b`

// generatedColumns is the first major version with generated columns.
const generatedColumns = 12

// codes says of each table how COPY into it can call code of the export.
type codes map[export.Table]code

type code struct {
	always   bool
	defaults []string // columns
}

// findCodes reads the codes of the placement's schemas.
func (pl *placing) findCodes(ctx context.Context) error {
	generated := "a.attgenerated <> ''"
	if pl.at.Major() < generatedColumns {
		generated = "false"
	}
	sql := strings.ReplaceAll(codeSQL, "%s", generated)
	rows, err := pl.at.Conn.Query(ctx, sql, pgx.QueryExecModeExec, pl.schemas)
	if err != nil {
		return err
	}
	found := codes{}
	var t export.Table
	var always bool
	var defaults []string
	_, err = pgx.ForEachRow(rows, []any{&t.Schema, &t.Name, &always, &defaults}, func() error {
		found[t] = code{always, slices.Clone(defaults)}
		return nil
	})
	pl.codes = found
	return err
}

// copyRows executes a COPY of the export. The server executes COPY outside of every function, where code
// of the export could take the rights of the login. Tables with such code get their rows by INSERT.
func (pl *placing) copyRows(ctx context.Context, statement string, rows io.Reader) error {
	c, ok := parseCopy(statement)
	if !ok {
		return foreign(statement)
	}
	if pl.codes == nil && pl.apart {
		if err := pl.findCodes(ctx); err != nil {
			return err
		}
	}
	about, known := pl.codes[c.Table]
	missing := c.columns != nil && slices.ContainsFunc(about.defaults, func(name string) bool { return !slices.Contains(c.columns, name) })
	if pl.apart && (!known || about.always || missing) {
		return pl.insertRows(ctx, c, rows)
	}
	_, err := pl.at.Conn.PgConn().CopyFrom(ctx, rows, "COPY "+identifier(c.Table)+quotedList(c.columns)+" FROM STDIN")
	return err
}

// insertBytes is the size of the rows of one INSERT.
const insertBytes = 1 << 20

// insertRows makes INSERT statements of the rows, as pg_dump --inserts does.
func (pl *placing) insertRows(ctx context.Context, c copyInto, rows io.Reader) error {
	head := "INSERT INTO " + identifier(c.Table) + quotedList(c.columns) + " OVERRIDING SYSTEM VALUE VALUES "
	in := bufio.NewReaderSize(rows, 64<<10)
	pl.codes = nil // the code can make more of it
	var values []byte
	flush := func() error {
		if len(values) == 0 {
			return nil
		}
		err := pl.confined.run(ctx, head+string(values))
		values = values[:0]
		return err
	}
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return flush()
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		if c.columns == nil && len(line) == 0 { // a table without columns
			if err := pl.confined.run(ctx, "INSERT INTO "+identifier(c.Table)+" DEFAULT VALUES"); err != nil {
				return err
			}
			continue
		}
		if len(values) > 0 {
			values = append(values, ',')
		}
		values = appendValues(values, line)
		if len(values) >= insertBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}

// appendValues appends a row of COPY's text form as a row of VALUES.
func appendValues(out, line []byte) []byte {
	out = append(out, '(')
	for i, field := range bytes.Split(line, []byte("\t")) {
		if i > 0 {
			out = append(out, ',')
		}
		if string(field) == `\N` {
			out = append(out, "NULL"...)
			continue
		}
		// In E'...' a backslash escapes as in COPY's rows, except before v, and octal and hexadecimal
		// digits, of which the server writes only \v.
		out = append(out, "E'"...)
		for j := 0; j < len(field); j++ {
			switch b := field[j]; {
			case b == '\'':
				out = append(out, "''"...)
			case b == '\\' && j+1 < len(field) && field[j+1] == 'v':
				out = append(out, '\v')
				j++
			case b == '\\' && j+1 < len(field) && field[j+1] != '\'':
				out = append(out, b, field[j+1])
				j++
			case b == '\\': // before a quote it has no meaning in COPY
			default:
				out = append(out, b)
			}
		}
		out = append(out, '\'')
	}
	return append(out, ')')
}
