package pgdump

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
)

// objects are rows of catalogues: the oid of each catalogue, and at the same index the oid of the row.
type objects struct{ classes, oids []int64 }

func (o *objects) add(class, oid int64) {
	o.classes, o.oids = append(o.classes, class), append(o.oids, oid)
}

// references holds what the schemas need and a dump of them does not contain.
type references struct {
	needs export.Needs
	// left has the objects that a dump of the schemas leaves out, by the kind of leftSQL.
	left map[string][]string
	// schemas and called are named in bodies of functions: other schemas, and extensions that nothing
	// else needs.
	schemas []string
	called  []export.Extension
}

// referencesSQL follows pg_depend from each schema to its objects, to their parts (constraints,
// defaults, rules, triggers, policies, row types, indexes), and from all of these to objects outside.
// Publications of a table or schema do not count. The look-ups in own use hashed subplans: a join would
// loop over all of it for each row.
const referencesSQL = `
WITH RECURSIVE own (classid, objid) AS (
  SELECT d.classid, d.objid FROM pg_depend d
   WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = ANY ($1::bigint[]::oid[])
     AND d.deptype = 'n' AND d.classid <> 'pg_extension'::regclass
     AND NOT EXISTS (SELECT FROM pg_depend e
                      WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e')
  UNION
  SELECT d.classid, d.objid FROM own o
    JOIN pg_depend d ON d.refclassid = o.classid AND d.refobjid = o.objid AND d.deptype IN ('a', 'i')
   WHERE CASE d.classid
         WHEN 'pg_class'::regclass THEN EXISTS (SELECT FROM pg_class c WHERE c.oid = d.objid AND c.relnamespace = ANY ($1::bigint[]::oid[]))
         WHEN 'pg_statistic_ext'::regclass THEN EXISTS (SELECT FROM pg_statistic_ext x WHERE x.oid = d.objid AND x.stxnamespace = ANY ($1::bigint[]::oid[]))
         WHEN 'pg_amop'::regclass THEN d.refclassid IN ('pg_opclass'::regclass, 'pg_opfamily'::regclass)
         WHEN 'pg_amproc'::regclass THEN d.refclassid IN ('pg_opclass'::regclass, 'pg_opfamily'::regclass)
         ELSE d.classid <> 'pg_publication_rel'::regclass END
), referred AS (
  SELECT DISTINCT d.refclassid AS classid, d.refobjid AS objid
    FROM own o JOIN pg_depend d ON d.classid = o.classid AND d.objid = o.objid
   WHERE d.refobjid >= 16384 AND d.deptype <> 'e'
     AND NOT (d.refclassid = 'pg_namespace'::regclass AND d.refobjid = ANY ($1::bigint[]::oid[]))
     AND (d.refclassid, d.refobjid) NOT IN (SELECT classid, objid FROM own)
)
SELECT false, classid::bigint, objid::bigint FROM own
UNION ALL
-- An array type is a part of its element's type, and no member of an extension.
SELECT DISTINCT true, coalesce(d.refclassid, r.classid)::bigint, coalesce(d.refobjid, r.objid)::bigint
  FROM referred r LEFT JOIN pg_depend d ON r.classid = 'pg_type'::regclass
   AND d.classid = r.classid AND d.objid = r.objid AND d.deptype = 'i' AND d.refclassid = r.classid`

// needsSQL describes the referenced objects. Extensions that are installed in the schemas, that
// functions call ($4), or that another extension requires, count too.
const needsSQL = `
WITH RECURSIVE needed (classid, objid) AS (
  SELECT * FROM unnest($2::bigint[]::oid[], $3::bigint[]::oid[])
), asked (oid, depth, called) AS (
  SELECT d.refobjid, 0, false
    FROM needed n JOIN pg_depend d ON d.classid = n.classid AND d.objid = n.objid AND d.deptype = 'e'
  UNION
  SELECT oid, 0, false FROM pg_extension WHERE extnamespace = ANY ($1::bigint[]::oid[])
  UNION
  SELECT unnest($4::bigint[]::oid[]), 0, true
  UNION
  SELECT d.refobjid, a.depth + 1, a.called
    FROM asked a JOIN pg_depend d ON d.classid = 'pg_extension'::regclass AND d.objid = a.oid
     AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'n'
)
SELECT CASE WHEN bool_and(a.called) THEN 'called extension' ELSE 'extension' END, e.extname::text, n.nspname::text, max(a.depth) AS depth
  FROM asked a JOIN pg_extension e ON e.oid = a.oid JOIN pg_namespace n ON n.oid = e.extnamespace
 GROUP BY e.extname, n.nspname
UNION ALL
SELECT DISTINCT CASE (SELECT c.relkind FROM pg_class c WHERE n.classid = 'pg_class'::regclass AND c.oid = n.objid)
                WHEN 'p' THEN 'parent' ELSE 'object' END, i.type || ' ' || i.identity, '', 0
  FROM needed n, pg_identify_object(n.classid, n.objid, 0) i
 WHERE i.type <> 'index' -- the one a foreign key points to; its table is listed
   AND i.identity IS NOT NULL -- else it was just dropped
   -- Constraints that a partition has from its parent come with that.
   AND NOT (n.classid = 'pg_constraint'::regclass AND EXISTS (SELECT FROM pg_constraint k
              WHERE k.oid = n.objid AND k.conrelid IN (SELECT objid FROM needed WHERE classid = 'pg_class'::regclass)))
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = n.classid AND d.objid = n.objid AND d.deptype = 'e')
UNION ALL
SELECT DISTINCT 'role', r.rolname::text, '', 0
  FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_roles r ON r.oid = ANY (p.polroles)
 WHERE c.relnamespace = ANY ($1::bigint[]::oid[]) AND r.oid >= 16384
 ORDER BY depth DESC, 2`

// references finds what the schemas need. Hash and merge joins are off: with many tenants they read all
// of pg_depend, while each step needs only a few entries of its indexes.
func (s *session) references(ctx context.Context, v *survey) (references, error) {
	var out references
	if err := s.script(ctx, "SET LOCAL enable_hashjoin = off", "SET LOCAL enable_mergejoin = off"); err != nil {
		return out, err
	}
	var own, needed objects
	rows, err := s.conn.Query(ctx, referencesSQL, v.schemas)
	if err != nil {
		return out, err
	}
	var elsewhere bool
	var class, oid int64
	_, err = pgx.ForEachRow(rows, []any{&elsewhere, &class, &oid}, func() error {
		if elsewhere {
			needed.add(class, oid)
		} else {
			own.add(class, oid)
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	found, err := s.bodies(ctx, v, own)
	if err != nil {
		return out, err
	}
	out.schemas = found.schemas
	if rows, err = s.conn.Query(ctx, needsSQL, v.schemas, needed.classes, needed.oids, found.extensions); err != nil {
		return out, err
	}
	var kind, name, home string
	var depth int
	_, err = pgx.ForEachRow(rows, []any{&kind, &name, &home, &depth}, func() error {
		switch kind {
		case "called extension":
			out.called = append(out.called, export.Extension{Name: name, Schema: home})
			fallthrough
		case "extension":
			out.needs.Extensions = append(out.needs.Extensions, export.Extension{Name: name, Schema: home})
		case "role":
			out.needs.Roles = append(out.needs.Roles, name)
		case "parent":
			out.needs.Parents = append(out.needs.Parents, printable(name))
		default:
			out.needs.Objects = append(out.needs.Objects, printable(name))
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	return out, s.leftOut(ctx, v, own, needed, &out)
}
