package roundtrip_test

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// objectsSQL describes everything in the schemas except the rows, one line for each object, as the
// server prints it. A dump contains no owners and privileges, by design.
const objectsSQL = `
WITH s AS (SELECT oid, nspname FROM pg_namespace WHERE nspname = ANY ($1)),
rel AS (SELECT c.*, format('%I.%I', s.nspname, c.relname) AS name FROM pg_class c JOIN s ON s.oid = c.relnamespace)
SELECT concat('relation ', name, ' ', relkind, relpersistence, relreplident, relispartition, relrowsecurity, relforcerowsecurity, relispopulated, ' ', coalesce(reloptions::text, ''), ' ', coalesce(pg_get_expr(relpartbound, oid), ''), ' ', coalesce(pg_get_partkeydef(oid), '')) FROM rel
UNION ALL SELECT concat('column ', name, '.', a.attname, ' ', row_number() OVER (PARTITION BY rel.oid ORDER BY a.attnum), ' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attstorage, a.attstattarget, a.attislocal, a.attcollation::regcollation, ' ', coalesce(pg_get_expr(d.adbin, d.adrelid), ''))
    FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = rel.oid AND d.adnum = a.attnum
UNION ALL SELECT concat('view ', name, ' ', pg_get_viewdef(oid)) FROM rel WHERE relkind IN ('v', 'm')
UNION ALL SELECT concat('index ', name, ' ', pg_get_indexdef(rel.oid), i.indisclustered, i.indisvalid) FROM rel JOIN pg_index i ON i.indexrelid = rel.oid
UNION ALL SELECT concat('sequence ', name, ' ', q.seqtypid::regtype, ' ', q.seqstart, ' ', q.seqincrement, ' ', q.seqmin, ' ', q.seqmax, ' ', q.seqcache, q.seqcycle)
    FROM rel JOIN pg_sequence q ON q.seqrelid = rel.oid
UNION ALL SELECT concat('trigger ', name, ' ', pg_get_triggerdef(t.oid), t.tgenabled) FROM rel JOIN pg_trigger t ON t.tgrelid = rel.oid AND NOT t.tgisinternal
UNION ALL SELECT concat('rule ', name, ' ', pg_get_ruledef(r.oid)) FROM rel JOIN pg_rewrite r ON r.ev_class = rel.oid AND r.rulename <> '_RETURN'
UNION ALL SELECT concat('policy ', schemaname, '.', tablename, '.', policyname, permissive, roles::text, cmd, coalesce(qual, ''), coalesce(with_check, ''))
    FROM pg_policies WHERE schemaname = ANY ($1)
UNION ALL SELECT concat('inherits ', c.name, ' ', i.inhseqno, ' ', p.name) FROM pg_inherits i JOIN rel c ON c.oid = i.inhrelid JOIN rel p ON p.oid = i.inhparent
UNION ALL SELECT concat('constraint ', conrelid::regclass, ' ', contypid::regtype, ' ', conname, ' ', pg_get_constraintdef(c.oid), convalidated, condeferred)
    FROM pg_constraint c JOIN s ON s.oid = c.connamespace
UNION ALL SELECT concat('function ', p.oid::regprocedure, ' ', CASE WHEN prokind = 'a' THEN (SELECT aggtransfn::text || coalesce(agginitval, '') FROM pg_aggregate WHERE aggfnoid = p.oid) ELSE pg_get_functiondef(p.oid) END)
    FROM pg_proc p JOIN s ON s.oid = p.pronamespace
UNION ALL SELECT concat('type ', format_type(t.oid, NULL), ' ', t.typtype, t.typnotnull, ' ', coalesce(t.typdefault, ''), ' ', format_type(t.typbasetype, t.typtypmod), ' ', coalesce((SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid), ''))
    FROM pg_type t JOIN s ON s.oid = t.typnamespace
UNION ALL SELECT concat('operator ', o.oid::regoperator, ' ', o.oprcode) FROM pg_operator o JOIN s ON s.oid = o.oprnamespace
UNION ALL SELECT concat('collation ', o.collname, ' ', o.collcollate) FROM pg_collation o JOIN s ON s.oid = o.collnamespace
UNION ALL SELECT concat('statistics ', pg_get_statisticsobjdef(x.oid)) FROM pg_statistic_ext x JOIN s ON s.oid = x.stxnamespace
UNION ALL SELECT concat('text search ', c.cfgname, ' ', (SELECT count(*) FROM pg_ts_config_map m WHERE m.mapcfg = c.oid)) FROM pg_ts_config c JOIN s ON s.oid = c.cfgnamespace
UNION ALL SELECT concat('comment ', pg_describe_object(classoid, objoid, objsubid), ' ', description) FROM pg_description
    WHERE classoid <> 'pg_am'::regclass AND (pg_identify_object(classoid, objoid, objsubid)).identity ~ 'rich'`

// objects are the descriptions of everything in the schemas, sorted.
func objects(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	// Names are written in full, with any search path of the session.
	if _, err := conn.Exec(ctx, "SET search_path = ''"); err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, objectsSQL, schemas)
	if err != nil {
		return nil, fmt.Errorf("describe objects: %w", err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("describe objects: %w", err)
	}
	slices.Sort(lines)
	return lines, nil
}
