package pgdump

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
)

// leftSQL selects objects that belong to the schemas' objects but are in no schema or another one, so
// that a dump of the schemas leaves them out. $1 are the schemas, $2 and $3 their own objects, $4 and
// $5 the objects that they need.
const leftSQL = `
WITH own (classid, objid) AS (
  SELECT * FROM unnest($2::bigint[]::oid[], $3::bigint[]::oid[])
), near (classid, objid) AS (
  SELECT * FROM own UNION ALL SELECT * FROM unnest($4::bigint[]::oid[], $5::bigint[]::oid[])
)
SELECT 'transform', 'FOR ' || format_type(t.trftype, NULL) || ' LANGUAGE ' || quote_ident(l.lanname)
  FROM pg_transform t JOIN pg_language l ON l.oid = t.trflang
 WHERE t.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_transform'::regclass AND e.objid = t.oid AND e.deptype = 'e')
   AND (t.trftype IN (SELECT objid FROM near WHERE classid = 'pg_type'::regclass)
        OR t.trffromsql::oid IN (SELECT objid FROM own WHERE classid = 'pg_proc'::regclass)
        OR t.trftosql::oid IN (SELECT objid FROM own WHERE classid = 'pg_proc'::regclass))
UNION ALL
-- Members of an operator class are dumped with it, the others with their family.
SELECT 'family member', i.identity
  FROM own o JOIN pg_depend d ON d.refclassid = o.classid AND d.refobjid = o.objid
   AND d.classid IN ('pg_amop'::regclass, 'pg_amproc'::regclass)
 CROSS JOIN pg_identify_object(d.classid, d.objid, 0) i
 WHERE NOT EXISTS (SELECT FROM pg_depend c WHERE c.classid = d.classid AND c.objid = d.objid
                      AND c.refclassid IN ('pg_opclass'::regclass, 'pg_opfamily'::regclass)
                      AND (c.refclassid, c.refobjid) IN (SELECT classid, objid FROM own))
UNION ALL
SELECT 'event trigger', quote_ident(evtname) FROM pg_event_trigger
 WHERE evtfoid IN (SELECT objid FROM own WHERE classid = 'pg_proc'::regclass)
UNION ALL
SELECT 'label', provider FROM pg_seclabel
 WHERE NOT ` + maskedSQL + `
   AND (classoid = 'pg_namespace'::regclass AND objoid = ANY ($1::bigint[]::oid[])
        OR (classoid, objoid) IN (SELECT classid, objid FROM own))
UNION ALL
SELECT 'private', 'ROUTINE ' || p.oid::regprocedure::text
  FROM own o JOIN pg_proc p ON o.classid = 'pg_proc'::regclass AND p.oid = o.objid
 WHERE p.proacl IS NOT NULL AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
   AND NOT EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')
UNION ALL
SELECT 'private', 'TYPE ' || format_type(t.oid, NULL)
  FROM own o JOIN pg_type t ON o.classid = 'pg_type'::regclass AND t.oid = o.objid
 WHERE t.typacl IS NOT NULL
   AND NOT EXISTS (SELECT FROM aclexplode(t.typacl) a WHERE a.grantee = 0 AND a.privilege_type = 'USAGE')
UNION ALL
SELECT 'statistics', format('%I.%I', n.nspname, s.stxname)
  FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
 WHERE s.stxrelid IN (SELECT objid FROM own WHERE classid = 'pg_class'::regclass) AND s.stxnamespace <> ALL ($1::bigint[]::oid[])
UNION ALL
SELECT 'publication', i.identity
  FROM own o JOIN pg_depend d ON d.refclassid = o.classid AND d.refobjid = o.objid AND d.classid = 'pg_publication_rel'::regclass
 CROSS JOIN pg_identify_object(d.classid, d.objid, 0) i
UNION ALL
SELECT 'publication', i.identity
  FROM pg_depend d CROSS JOIN pg_identify_object(d.classid, d.objid, 0) i
 WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = ANY ($1::bigint[]::oid[])
   AND d.classid = to_regclass('pg_catalog.pg_publication_namespace')
UNION ALL
SELECT 'subscription', srrelid::regclass::text FROM pg_subscription_rel
 WHERE srrelid IN (SELECT objid FROM own WHERE classid = 'pg_class'::regclass)
 ORDER BY 1, 2`

// castsSQL selects the casts of the schemas' types and functions. An array type that PostgreSQL creates
// with a type belongs to the type.
const castsSQL = `
WITH near (classid, objid) AS (
  SELECT * FROM unnest($1::bigint[]::oid[], $2::bigint[]::oid[])
)
SELECT format_type(c.castsource, NULL), format_type(c.casttarget, NULL),
       CASE WHEN c.castfunc <> 0 THEN c.castfunc::regprocedure::text ELSE '' END, c.castmethod = 'i',
       CASE c.castcontext WHEN 'a' THEN 'AS ASSIGNMENT' WHEN 'i' THEN 'AS IMPLICIT' ELSE '' END
  FROM pg_cast c
 WHERE c.oid >= 16384
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_cast'::regclass AND e.objid = c.oid AND e.deptype IN ('e', 'i'))
   AND (c.castsource IN (SELECT objid FROM near WHERE classid = 'pg_type'::regclass)
        OR c.casttarget IN (SELECT objid FROM near WHERE classid = 'pg_type'::regclass)
        OR c.castfunc IN (SELECT objid FROM near WHERE classid = 'pg_proc'::regclass))
 ORDER BY 1, 2`

// leftOut adds the objects that belong to the schemas and that a dump of them leaves out.
func (s *session) leftOut(ctx context.Context, v *survey, own, needed objects, out *references) error {
	// A nested loop would scan the list of own objects for each member of an extension's operator
	// families.
	if err := s.script(ctx, "SET LOCAL enable_hashjoin = on"); err != nil {
		return err
	}
	rows, err := s.conn.Query(ctx, leftSQL, v.schemas, own.classes, own.oids, needed.classes, needed.oids)
	if err != nil {
		return err
	}
	out.left = map[string][]string{}
	var kind, name string
	_, err = pgx.ForEachRow(rows, []any{&kind, &name}, func() error {
		if of := out.left[kind]; len(of) == 0 || of[len(of)-1] != name {
			out.left[kind] = append(of, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	out.needs.Private, out.needs.Labels = out.left["private"], out.left["label"]
	near := objects{append(own.classes, needed.classes...), append(own.oids, needed.oids...)}
	if rows, err = s.conn.Query(ctx, castsSQL, near.classes, near.oids); err != nil {
		return err
	}
	out.needs.Casts, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c export.Cast, err error) {
		return c, row.Scan(&c.Source, &c.Target, &c.Function, &c.InOut, &c.Context)
	})
	return err
}
