package pgdump

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
)

// references are what the schemas need and a dump of them does not hold.
type references struct {
	parents    []string // partitioned tables elsewhere
	objects    []string
	extensions []export.Extension // what others require comes first
	roles      []string           // that policies name
}

// references follows pg_depend: from each schema to what is in it, on to its parts
// (constraints, defaults, rules, triggers, policies, row types, indexes), and from all of
// these to what lies elsewhere. Extensions installed in the schemas count as well, and those
// that an extension requires. Hash and merge joins are off, because with many tenants they
// read all of pg_depend, where each step needs a few entries of its indexes.
func (s *session) references(ctx context.Context, v *survey) (references, error) {
	var out references
	if err := s.script(ctx, "SET LOCAL enable_hashjoin = off", "SET LOCAL enable_mergejoin = off"); err != nil {
		return out, err
	}
	rows, err := s.conn.Query(ctx, `
WITH RECURSIVE own (classid, objid) AS (
  SELECT d.classid, d.objid FROM pg_depend d
   WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = ANY ($1::bigint[]::oid[])
     AND d.deptype = 'n' AND d.classid <> 'pg_extension'::regclass
     AND NOT EXISTS (SELECT FROM pg_depend e
                      WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e')
  UNION
  SELECT d.classid, d.objid FROM own o
    JOIN pg_depend d ON d.refclassid = o.classid AND d.refobjid = o.objid AND d.deptype IN ('a', 'i')
   WHERE d.classid <> 'pg_class'::regclass
      OR EXISTS (SELECT FROM pg_class c
                  WHERE c.oid = d.objid AND c.relnamespace = ANY ($1::bigint[]::oid[]))
), referred AS (
  SELECT DISTINCT d.refclassid AS classid, d.refobjid AS objid
    FROM own o JOIN pg_depend d ON d.classid = o.classid AND d.objid = o.objid
   WHERE d.refobjid >= 16384 AND d.deptype <> 'e' AND d.refclassid <> 'pg_namespace'::regclass
     AND NOT EXISTS (SELECT FROM own x WHERE x.classid = d.refclassid AND x.objid = d.refobjid)
), needed AS (
  -- An array type is a part of its element's type, and no member of an extension.
  SELECT DISTINCT coalesce(d.refclassid, r.classid) AS classid, coalesce(d.refobjid, r.objid) AS objid
    FROM referred r LEFT JOIN pg_depend d ON r.classid = 'pg_type'::regclass
     AND d.classid = r.classid AND d.objid = r.objid AND d.deptype = 'i' AND d.refclassid = r.classid
), asked (oid, depth) AS (
  SELECT d.refobjid, 0
    FROM needed n JOIN pg_depend d ON d.classid = n.classid AND d.objid = n.objid AND d.deptype = 'e'
  UNION
  SELECT oid, 0 FROM pg_extension WHERE extnamespace = ANY ($1::bigint[]::oid[])
  UNION
  SELECT d.refobjid, a.depth + 1
    FROM asked a JOIN pg_depend d ON d.classid = 'pg_extension'::regclass AND d.objid = a.oid
     AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'n'
), named AS (
  SELECT max(a.depth) AS depth, e.extname::text AS extension, n.nspname::text AS home, NULL AS kind, NULL AS identity
    FROM asked a JOIN pg_extension e ON e.oid = a.oid JOIN pg_namespace n ON n.oid = e.extnamespace
   GROUP BY e.extname, n.nspname
  UNION
  SELECT 0, NULL, NULL, (SELECT c.relkind::text FROM pg_class c
                          WHERE n.classid = 'pg_class'::regclass AND c.oid = n.objid),
         i.type || ' ' || i.identity
    FROM needed n, pg_identify_object(n.classid, n.objid, 0) i
   WHERE i.type <> 'index' -- the one a foreign key points to; its table is listed
     AND NOT EXISTS (SELECT FROM pg_depend d
                      WHERE d.classid = n.classid AND d.objid = n.objid AND d.deptype = 'e')
)
SELECT coalesce(extension, ''), coalesce(home, ''), coalesce(kind, ''), coalesce(identity, '')
  FROM named ORDER BY depth DESC, extension, identity`, v.schemas)
	if err != nil {
		return out, err
	}
	var extension, home, kind, identity string
	_, err = pgx.ForEachRow(rows, []any{&extension, &home, &kind, &identity}, func() error {
		switch {
		case extension != "":
			out.extensions = append(out.extensions, export.Extension{Name: extension, Schema: home})
		case kind == "p":
			out.parents = append(out.parents, printable(identity))
		case identity != "": // an object that was just dropped has none
			out.objects = append(out.objects, printable(identity))
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	rows, err = s.conn.Query(ctx, `
SELECT DISTINCT r.rolname::text
  FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_roles r ON r.oid = ANY (p.polroles)
 WHERE c.relnamespace = ANY ($1::bigint[]::oid[]) AND r.oid >= 16384 ORDER BY 1`, v.schemas)
	if err != nil {
		return out, err
	}
	out.roles, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return out, err
}
