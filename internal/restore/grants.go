package restore

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
)

// grantsSQL selects statements that repeat the grants on what was moved aside for the objects of the same
// name that were restored: on the schema, tables, columns, sequences and routines, and the default
// privileges. $1 and $2 are the OIDs of the old and the new schema, $3 tells whether the whole schema
// was moved. Owners have their rights anyway.
const grantsSQL = `
WITH given (old, new) AS (
  SELECT o.oid, n.oid FROM pg_class o JOIN pg_class n ON n.relname = o.relname
   WHERE o.relnamespace = $1 AND n.relnamespace = $2 AND o.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
), grants (place, privilege_type, target, grantee, is_grantable) AS (
  SELECT 1, a.privilege_type, format('SCHEMA %I', n.nspname), a.grantee, a.is_grantable
    FROM pg_namespace o JOIN pg_namespace n ON n.oid = $2, aclexplode(o.nspacl) a
   WHERE o.oid = $1 AND $3 AND a.grantee <> o.nspowner
  UNION ALL
  SELECT 2, a.privilege_type, format('%s %s', CASE n.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.oid::regclass), a.grantee, a.is_grantable
    FROM given g JOIN pg_class o ON o.oid = g.old JOIN pg_class n ON n.oid = g.new, aclexplode(o.relacl) a
   WHERE a.grantee <> o.relowner
  UNION ALL
  SELECT 3, format('%s (%I)', a.privilege_type, c.attname), format('TABLE %s', n.oid::regclass), a.grantee, a.is_grantable
    FROM given g JOIN pg_class o ON o.oid = g.old JOIN pg_class n ON n.oid = g.new
    JOIN pg_attribute c ON c.attrelid = o.oid AND NOT c.attisdropped
    JOIN pg_attribute m ON m.attrelid = n.oid AND m.attname = c.attname AND NOT m.attisdropped, aclexplode(c.attacl) a
  UNION ALL
  SELECT 4, a.privilege_type, format('ROUTINE %s', n.oid::regprocedure), a.grantee, a.is_grantable
    FROM pg_proc o JOIN pg_namespace os ON os.oid = o.pronamespace
    JOIN pg_proc n ON n.proname = o.proname JOIN pg_namespace ns ON ns.oid = n.pronamespace, aclexplode(o.proacl) a
   WHERE os.oid = $1 AND ns.oid = $2 AND $3 AND a.grantee NOT IN (0, o.proowner)
     AND replace(pg_get_function_identity_arguments(o.oid), quote_ident(os.nspname) || '.', quote_ident(ns.nspname) || '.')
       = pg_get_function_identity_arguments(n.oid)
)
SELECT place, format('GRANT %s ON %s TO %s%s', privilege_type, target,
         CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
  FROM grants
UNION ALL
SELECT 5, format('ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA %I GRANT %s ON %s TO %s%s', d.defaclrole::regrole, n.nspname, a.privilege_type,
         CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' ELSE 'TYPES' END,
         CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
  FROM pg_default_acl d JOIN pg_namespace n ON n.oid = $2, aclexplode(d.defaclacl) a
 WHERE d.defaclnamespace = $1 AND $3
ORDER BY 1, 2`

// repeatGrants repeats the grants on what was moved aside. A grant that is refused is a remark.
func (o old) repeatGrants(ctx context.Context, conn *pgx.Conn) (remarks []string, err error) {
	rows, err := conn.Query(ctx, grantsSQL, pgx.QueryExecModeExec, o.keptID, o.newID(ctx, conn), o.whole())
	if err != nil {
		return nil, err
	}
	grants, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s string, err error) {
		var place int
		return s, row.Scan(&place, &s)
	})
	if err != nil || len(grants) == 0 {
		return nil, err
	}
	refused, err := attempt(ctx, conn, strings.Join(grants, ";\n"))
	if err != nil || refused == nil {
		return nil, err
	}
	for _, grant := range grants { // one of them was refused
		refused, err := attempt(ctx, conn, grant)
		if err != nil {
			return nil, err
		}
		if refused != nil {
			remarks = append(remarks, "not repeated: "+oneLine(grant)+": "+oneLine(refused.Error()))
		}
	}
	return remarks, nil
}

// newID returns the OID of the restored schema; 0: it cannot be read, and the next statement fails.
func (o old) newID(ctx context.Context, conn *pgx.Conn) (oid uint32) {
	_ = conn.QueryRow(ctx, "SELECT oid FROM pg_namespace WHERE nspname = $1", o.schema).Scan(&oid)
	return oid
}

// attempt runs statements in a savepoint. refused is the target's error about them, err every other.
func attempt(ctx context.Context, conn *pgx.Conn, statements string) (refused, err error) {
	if _, err := conn.Exec(ctx, "SAVEPOINT pgcourier_attempt"); err != nil {
		return nil, err
	}
	_, refused = conn.PgConn().Exec(ctx, statements).ReadAll()
	end := "RELEASE SAVEPOINT pgcourier_attempt"
	if state := sqlState(refused); refused != nil {
		if state == "" || transient(state) && state != lockNotAvailable {
			return nil, refused
		}
		end = "ROLLBACK TO SAVEPOINT pgcourier_attempt; " + end
	}
	_, err = conn.PgConn().Exec(ctx, end).ReadAll()
	return refused, err
}
