package restore

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// inTheWay is the SQLSTATE of a statement of the restore that found the schemas changed since
// [place.prepare]. PostgreSQL does not use its class.
const inTheWay = "PGC02"

// contentsSQL selects the objects of schemas, as (classid, objid), without extensions and their
// members, which a dump of the schemas does not contain. The verb is an expression of type name[],
// the schemas' names.
const contentsSQL = `
  SELECT d.classid, d.objid
    FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = n.oid
   WHERE n.nspname = ANY (%[1]s) AND d.deptype = 'n' AND d.classid <> 'pg_catalog.pg_extension'::regclass
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                      WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e')`

// dependentsSQL selects the objects outside of the schemas that DROP ... CASCADE of everything in them
// would drop. It follows dependencies as PostgreSQL's findDependentObjects does: down to the objects
// that depend on a dropped object, and up to the owner of a dropped part. An object without a schema,
// such as a cast or a publication's table, is outside, unless it is a part of an object inside, such
// as the cast from a range to its multirange. Parts of objects are not listed, such
// as the triggers of a foreign key from inside on the table that it references.
const dependentsSQL = `
WITH RECURSIVE own (classid, objid) AS (` + contentsSQL + `
), going (classid, objid, objsubid) AS (
  SELECT classid, objid, 0 FROM own
  UNION
  SELECT x.* FROM going g CROSS JOIN LATERAL (
    SELECT d.classid, d.objid, d.objsubid FROM pg_catalog.pg_depend d
     WHERE d.refclassid = g.classid AND d.refobjid = g.objid AND (g.objsubid = 0 OR d.refobjsubid = g.objsubid)
    UNION ALL
    SELECT d.refclassid, d.refobjid, d.refobjsubid FROM pg_catalog.pg_depend d
     WHERE d.classid = g.classid AND d.objid = g.objid AND (g.objsubid = 0 OR d.objsubid = g.objsubid)
       AND d.deptype IN ('i', 'e')
  ) x
), homes AS (
  SELECT g.*, CASE g.classid
    WHEN 'pg_catalog.pg_class'::regclass THEN (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = g.objid)
    WHEN 'pg_catalog.pg_type'::regclass THEN (SELECT typnamespace FROM pg_catalog.pg_type WHERE oid = g.objid)
    WHEN 'pg_catalog.pg_proc'::regclass THEN (SELECT pronamespace FROM pg_catalog.pg_proc WHERE oid = g.objid)
    WHEN 'pg_catalog.pg_constraint'::regclass THEN (SELECT connamespace FROM pg_catalog.pg_constraint WHERE oid = g.objid)
    WHEN 'pg_catalog.pg_attrdef'::regclass THEN (SELECT c.relnamespace FROM pg_catalog.pg_attrdef a JOIN pg_catalog.pg_class c ON c.oid = a.adrelid WHERE a.oid = g.objid)
    WHEN 'pg_catalog.pg_rewrite'::regclass THEN (SELECT c.relnamespace FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class WHERE r.oid = g.objid)
    WHEN 'pg_catalog.pg_trigger'::regclass THEN (SELECT c.relnamespace FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid WHERE t.oid = g.objid)
    WHEN 'pg_catalog.pg_policy'::regclass THEN (SELECT c.relnamespace FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid WHERE p.oid = g.objid)
    WHEN 'pg_catalog.pg_statistic_ext'::regclass THEN (SELECT stxnamespace FROM pg_catalog.pg_statistic_ext WHERE oid = g.objid)
    WHEN 'pg_catalog.pg_operator'::regclass THEN (SELECT oprnamespace FROM pg_catalog.pg_operator WHERE oid = g.objid)
    WHEN 'pg_catalog.pg_opclass'::regclass THEN (SELECT opcnamespace FROM pg_catalog.pg_opclass WHERE oid = g.objid)
    WHEN 'pg_catalog.pg_opfamily'::regclass THEN (SELECT opfnamespace FROM pg_catalog.pg_opfamily WHERE oid = g.objid)
    WHEN 'pg_catalog.pg_amop'::regclass THEN (SELECT f.opfnamespace FROM pg_catalog.pg_amop a JOIN pg_catalog.pg_opfamily f ON f.oid = a.amopfamily WHERE a.oid = g.objid)
    WHEN 'pg_catalog.pg_amproc'::regclass THEN (SELECT f.opfnamespace FROM pg_catalog.pg_amproc a JOIN pg_catalog.pg_opfamily f ON f.oid = a.amprocfamily WHERE a.oid = g.objid)
    WHEN 'pg_catalog.pg_collation'::regclass THEN (SELECT collnamespace FROM pg_catalog.pg_collation WHERE oid = g.objid)
    WHEN 'pg_catalog.pg_conversion'::regclass THEN (SELECT connamespace FROM pg_catalog.pg_conversion WHERE oid = g.objid)
    WHEN 'pg_catalog.pg_ts_config'::regclass THEN (SELECT cfgnamespace FROM pg_catalog.pg_ts_config WHERE oid = g.objid)
    WHEN 'pg_catalog.pg_ts_dict'::regclass THEN (SELECT dictnamespace FROM pg_catalog.pg_ts_dict WHERE oid = g.objid)
    WHEN 'pg_catalog.pg_ts_parser'::regclass THEN (SELECT prsnamespace FROM pg_catalog.pg_ts_parser WHERE oid = g.objid)
    WHEN 'pg_catalog.pg_ts_template'::regclass THEN (SELECT tmplnamespace FROM pg_catalog.pg_ts_template WHERE oid = g.objid)
    END AS home FROM going g
), outside AS (
  SELECT h.classid, h.objid, h.objsubid FROM homes h LEFT JOIN pg_catalog.pg_namespace n ON n.oid = h.home
   WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t
                      WHERE h.classid = 'pg_catalog.pg_trigger'::regclass AND t.oid = h.objid AND t.tgisinternal)
     AND CASE WHEN n.nspname IS NOT NULL THEN n.nspname <> ALL (%[1]s) AND n.nspname !~ '^pg_toast'
         ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN own ON own.classid = d.refclassid AND own.objid = d.refobjid
                           WHERE d.classid = h.classid AND d.objid = h.objid AND d.deptype = 'i') END
)
SELECT i.type || ' ' || i.identity AS object
  FROM outside o, pg_catalog.pg_identify_object(o.classid, o.objid, o.objsubid) i
 WHERE i.identity IS NOT NULL
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN outside p ON p.classid = d.refclassid AND p.objid = d.refobjid
                    WHERE d.classid = o.classid AND d.objid = o.objid AND d.deptype IN ('a', 'i', 'e', 'P', 'S')
                      AND (p.objsubid = 0 OR p.objsubid = d.refobjsubid))
   AND NOT (o.objsubid <> 0 AND EXISTS (SELECT FROM outside p WHERE p.classid = o.classid AND p.objid = o.objid AND p.objsubid = 0))
 ORDER BY 1`

// emptySQL is the body of a block that fails if the schemas are no longer empty. The verbs are the
// schemas' names, and contentsSQL of them.
const emptySQL = `
DECLARE
  schemas CONSTANT name[] := %[1]s;
BEGIN
  IF EXISTS (%[2]s) THEN
    RAISE EXCEPTION USING ERRCODE = '` + inTheWay + `', MESSAGE = 'the schemas hold objects now';
  END IF;
END`

// cleanSQL is the body of a block that drops everything in the schemas except extensions. It fails if
// an object outside depends on them. The schemas stay, with their rights. The locks prevent other
// sessions from adding a view, a foreign key or a child table between the check and the drop.
// The verbs are the schemas' names, contentsSQL and dependentsSQL of them.
const cleanSQL = `
DECLARE
  schemas CONSTANT name[] := %[1]s;
  command text;
  commands text[];
  dependents text;
BEGIN
  FOR command IN
    SELECT pg_catalog.format('LOCK TABLE ONLY %%I.%%I IN ACCESS EXCLUSIVE MODE', n.nspname, c.relname)
      FROM (%[2]s) own
      JOIN pg_catalog.pg_class c ON own.classid = 'pg_catalog.pg_class'::regclass AND c.oid = own.objid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
  LOOP
    EXECUTE command;
  END LOOP;
  SELECT pg_catalog.string_agg(object, ', ') INTO dependents FROM (%[3]s) x;
  IF dependents IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '` + inTheWay + `', MESSAGE = 'these would be dropped too now: ' || dependents;
  END IF;
  SELECT pg_catalog.array_agg(pg_catalog.format('DROP %%s IF EXISTS %%s CASCADE',
           CASE i.type
             WHEN 'composite type' THEN 'TYPE'
             WHEN 'statistics object' THEN 'STATISTICS'
             WHEN 'function' THEN 'ROUTINE' WHEN 'procedure' THEN 'ROUTINE' WHEN 'aggregate' THEN 'ROUTINE'
             ELSE pg_catalog.upper(i.type) END, i.identity)
           ORDER BY own.classid <> 'pg_catalog.pg_class'::regclass, own.objid)
    INTO commands
    FROM (%[2]s) own, pg_catalog.pg_identify_object(own.classid, own.objid, 0) i
   WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = own.classid AND d.objid = own.objid AND d.objsubid = 0 AND d.deptype = 'i');
  FOREACH command IN ARRAY coalesce(commands, '{}') LOOP
    EXECUTE command;
  END LOOP;
END`

// emptyBlock and cleanBlock are statements of the restore's own transaction.
func emptyBlock(schemas []string) string {
	return block(fmt.Sprintf(emptySQL, textArray(schemas, "name"), fmt.Sprintf(contentsSQL, "schemas")))
}

func cleanBlock(schemas []string) string {
	return block(fmt.Sprintf(cleanSQL, textArray(schemas, "name"), fmt.Sprintf(contentsSQL, "schemas"), fmt.Sprintf(dependentsSQL, "schemas")))
}

// block returns a DO statement. Its random tag keeps the body from ending it early.
func block(body string) string {
	tag := "$b" + strings.ToLower(rand.Text()) + "$"
	return "DO " + tag + body + tag + ";"
}

// textArray returns an array literal of the type, for standard_conforming_strings = on.
func textArray(values []string, of string) string {
	literals := make([]string, len(values))
	for i, v := range values {
		literals[i] = "'" + strings.ReplaceAll(v, "'", "''") + "'"
	}
	return "ARRAY[" + strings.Join(literals, ", ") + "]::" + of + "[]"
}

// prepare checks which of the schemas exist in the target, and prepares the statement that leaves
// only extensions in them. It changes nothing.
func (p *place) prepare(ctx context.Context, schemas []string, clean bool) error {
	const verb = "$1::text[]::name[]"
	rows, err := p.Conn.Query(ctx, `
SELECT nspname::text, EXISTS (SELECT FROM pg_depend d JOIN (`+fmt.Sprintf(contentsSQL, verb)+`) own USING (classid, objid)
                               WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid)
  FROM pg_namespace n WHERE nspname = ANY (`+verb+`) ORDER BY nspname`, pgx.QueryExecModeExec, schemas)
	if err != nil {
		return fmt.Errorf("%w: look for schemas: %w", ErrTarget, err)
	}
	var occupied []string
	var name string
	var holds bool
	_, err = pgx.ForEachRow(rows, []any{&name, &holds}, func() error {
		p.kept = append(p.kept, name)
		if holds {
			occupied = append(occupied, pgx.Identifier{name}.Sanitize())
		}
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("%w: look for schemas: %w", ErrTarget, err)
	case len(p.kept) == 0:
		return nil
	case len(occupied) == 0:
		p.prelude = []string{emptyBlock(p.kept)}
		return nil
	case !clean:
		return fmt.Errorf("%w: it holds objects in %s", ErrOccupied, strings.Join(occupied, ", "))
	}
	rows, err = p.Conn.Query(ctx, fmt.Sprintf(dependentsSQL, verb), pgx.QueryExecModeExec, p.kept)
	if err != nil {
		return fmt.Errorf("%w: look for dependent objects: %w", ErrTarget, err)
	}
	dependents, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("%w: look for dependent objects: %w", ErrTarget, err)
	}
	if len(dependents) > 0 {
		return &DependentsError{Objects: dependents}
	}
	p.prelude = []string{cleanBlock(p.kept)}
	return nil
}
