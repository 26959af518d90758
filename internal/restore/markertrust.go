package restore

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/libpq"
)

// markerFaultsSQL selects, in words, why the place of the markers cannot be trusted. $1 is the owner of
// what is restored, or empty. Nothing there may execute code when the login reads or writes: no rule,
// trigger, policy, default or check but the ones that markerSQL makes. And no other role than the login,
// the owner of the database or an administrator may change it. For a superuser the owner can be another
// login that restores.
const markerFaultsSQL = `
WITH made (what, oid, owner) AS (
  SELECT 'table pgcourier_restore.' || c.relname, c.oid, c.relowner FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = 'pgcourier_restore' AND c.relname IN ('markers', 'kept')
), everything (what, oid, owner) AS (
  SELECT * FROM made UNION ALL SELECT 'schema pgcourier_restore', oid, nspowner FROM pg_catalog.pg_namespace WHERE nspname = 'pgcourier_restore'
), owner (oid, name) AS (
  SELECT oid, rolname FROM pg_catalog.pg_roles WHERE rolname = $1::text AND rolname <> session_user AND NOT rolsuper
)
SELECT e.what || ' belongs to role ' || r.rolname FROM everything e JOIN pg_catalog.pg_roles r ON r.oid = e.owner
 WHERE NOT (r.rolname = session_user OR r.rolsuper OR r.rolcreaterole OR pg_catalog.current_setting('is_superuser')::bool
            OR r.oid = (SELECT datdba FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
UNION ALL
SELECT 'role ' || o.name || ', which owns what is restored, has rights on ' || e.what FROM everything e, owner o
 WHERE CASE WHEN pg_catalog.pg_has_role(o.oid, e.owner, 'MEMBER') THEN true
            WHEN e.what LIKE 'schema %' THEN pg_catalog.has_schema_privilege(o.oid, e.oid, 'USAGE, CREATE')
            ELSE pg_catalog.has_table_privilege(o.oid, e.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
              OR pg_catalog.has_any_column_privilege(o.oid, e.oid, 'SELECT, INSERT, UPDATE, REFERENCES') END
UNION ALL
SELECT m.what || ' is no ordinary table' FROM made m JOIN pg_catalog.pg_class c USING (oid)
 WHERE c.relkind <> 'r' OR c.relpersistence <> 'p' OR c.relispartition OR EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE m.oid IN (i.inhrelid, i.inhparent))
UNION ALL
SELECT m.what || ' has a rule' FROM made m WHERE EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = m.oid)
UNION ALL
SELECT m.what || ' has a trigger' FROM made m WHERE EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = m.oid)
UNION ALL
SELECT m.what || ' has row security' FROM made m JOIN pg_catalog.pg_class c USING (oid) WHERE c.relrowsecurity OR c.relforcerowsecurity
UNION ALL
SELECT m.what || ' has an index on an expression' FROM made m
 WHERE EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = m.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL))
UNION ALL
SELECT m.what || ' has a column of a type that is not PostgreSQL''s' FROM made m
 WHERE EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = m.oid AND a.attnum > 0 AND a.atttypid >= 16384)
UNION ALL
SELECT m.what || ' has a default or a check that calls a function' FROM made m
 WHERE EXISTS (SELECT FROM (SELECT d.adbin::text FROM pg_catalog.pg_attrdef d WHERE d.adrelid = m.oid
                            UNION ALL SELECT k.conbin::text FROM pg_catalog.pg_constraint k WHERE k.conrelid = m.oid) x (tree),
                    pg_catalog.regexp_matches(x.tree, ':(?:funcid|opfuncid) ([0-9]+)', 'g') f (ids) LEFT JOIN pg_catalog.pg_proc p ON p.oid = f.ids[1]::oid
                WHERE (p.oid < 16384 AND (p.provolatile = 'i' OR p.proname IN ('now', 'clock_timestamp'))) IS NOT TRUE)
 ORDER BY 1`

// MarkerFaults returns, in words, why restores into a target are refused with ErrMarkers: its schema
// pgcourier_restore is not as restores make it. owner is the role that is to own what is restored;
// empty: none, or the login.
func MarkerFaults(ctx context.Context, target *libpq.Source, owner string) ([]string, error) {
	ses, err := open(ctx, target)
	if err != nil {
		return nil, err
	}
	defer ses.Close()
	faults, err := strs(ctx, ses.Conn, markerFaultsSQL, owner)
	return faults, ofTargetError(err, "look at the schema pgcourier_restore")
}

// trustMarkers returns ErrMarkers if the place of the markers is not as it was made. In a transaction,
// lock keeps it so until the end.
func trustMarkers(ctx context.Context, conn *pgx.Conn, owner string, lock bool) error {
	faults, err := strs(ctx, conn, markerFaultsSQL, owner)
	if err == nil && len(faults) == 0 && lock {
		if _, err := conn.Exec(ctx, "LOCK TABLE pgcourier_restore.markers, pgcourier_restore.kept IN ROW EXCLUSIVE MODE"); err != nil {
			return err
		}
		faults, err = strs(ctx, conn, markerFaultsSQL, owner)
	}
	if err != nil || len(faults) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s", ErrMarkers, strings.Join(faults, "; "))
}
