package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
)

// lockSchemasSQL and lockTablesSQL select statements that lock what is moved aside against every other
// session: the tables of schemas, or single tables.
const (
	lockSchemasSQL = `
SELECT format('LOCK TABLE ONLY %I.%I IN ACCESS EXCLUSIVE MODE', n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.oid = ANY ($1::oid[]) AND c.relkind IN ('r', 'p') AND pg_has_role(c.relowner, 'USAGE') ORDER BY c.oid`
	lockTablesSQL = `
SELECT format('LOCK TABLE ONLY %I.%I IN ACCESS EXCLUSIVE MODE', n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = ANY ($1::oid[]) ORDER BY c.oid`
)

// tableDependentsSQL selects the objects that depend on tables and are no part of them: views, foreign
// keys, children and partitions, functions, policies, defaults and publications, and the parent of a
// partition. $1 are the tables, $2 the schemas of which objects do not count. Parts of a table depend on it automatically or internally; a child, a
// partition and a publication's entry do too, but are objects of their own.
const tableDependentsSQL = `
WITH RECURSIVE inside (classid, objid) AS (
  SELECT 'pg_class'::regclass::oid, t FROM unnest($1::oid[]) t
  UNION
  SELECT d.classid, d.objid FROM inside i JOIN pg_depend d ON d.refclassid = i.classid AND d.refobjid = i.objid
   WHERE d.deptype IN ('a', 'i') AND d.classid <> 'pg_publication_rel'::regclass
     AND NOT (d.classid = 'pg_class'::regclass AND EXISTS (
           SELECT FROM pg_class c WHERE c.oid = d.objid AND c.relkind NOT IN ('i', 'I', 'S', 't', 'c')))
), outside (classid, objid, objsubid) AS (
  SELECT d.classid, d.objid, d.objsubid FROM inside i JOIN pg_depend d ON d.refclassid = i.classid AND d.refobjid = i.objid
   WHERE d.deptype IN ('n', 'a', 'i') AND NOT EXISTS (SELECT FROM inside o WHERE o.classid = d.classid AND o.objid = d.objid)
  UNION
  SELECT 'pg_class'::regclass, i.inhparent, 0 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
   WHERE i.inhrelid = ANY ($1::oid[]) AND i.inhparent <> ALL ($1::oid[]) AND c.relispartition
)
SELECT DISTINCT i.type || ' ' || i.identity
  FROM outside o LEFT JOIN pg_rewrite r ON o.classid = 'pg_rewrite'::regclass AND r.oid = o.objid, -- of a view
       pg_identify_object(CASE WHEN r.oid IS NULL THEN o.classid ELSE 'pg_class'::regclass END, coalesce(r.ev_class, o.objid), o.objsubid) i
 WHERE i.identity IS NOT NULL AND NOT EXISTS (
   SELECT FROM pg_namespace n WHERE n.nspname = ANY ($2::text[]::name[]) AND n.oid = CASE o.classid
     WHEN 'pg_class'::regclass THEN (SELECT relnamespace FROM pg_class WHERE oid = o.objid)
     WHEN 'pg_type'::regclass THEN (SELECT typnamespace FROM pg_type WHERE oid = o.objid)
     WHEN 'pg_proc'::regclass THEN (SELECT pronamespace FROM pg_proc WHERE oid = o.objid)
     WHEN 'pg_constraint'::regclass THEN (SELECT connamespace FROM pg_constraint WHERE oid = o.objid)
     WHEN 'pg_rewrite'::regclass THEN (SELECT c.relnamespace FROM pg_class c WHERE c.oid = r.ev_class)
     WHEN 'pg_attrdef'::regclass THEN (SELECT c.relnamespace FROM pg_attrdef a JOIN pg_class c ON c.oid = a.adrelid WHERE a.oid = o.objid)
     WHEN 'pg_trigger'::regclass THEN (SELECT c.relnamespace FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.oid = o.objid)
     WHEN 'pg_policy'::regclass THEN (SELECT c.relnamespace FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE p.oid = o.objid)
     WHEN 'pg_statistic_ext'::regclass THEN (SELECT stxnamespace FROM pg_statistic_ext WHERE oid = o.objid) END)
 ORDER BY 1`

// old is what a placement moves aside: whole schemas, or single tables of one schema.
type old struct {
	schema string // its name in the target
	oid    uint32 // of the schema
	tables []uint32
	names  []string // of the tables, qualified
	// extensions in the schema move to the restored one.
	extensions []string
	kept       string // the schema that holds it after the move
	keptID     uint32
}

// whole reports whether the whole schema is moved.
func (o old) whole() bool { return len(o.tables) == 0 }

// text returns what is moved, in words.
func (o old) text() []string {
	if o.whole() {
		return []string{"schema " + quoted(o.schema)}
	}
	return o.names
}

// strs collects one column of a query.
func strs(ctx context.Context, conn *pgx.Conn, sql string, args ...any) ([]string, error) {
	rows, err := conn.Query(ctx, sql, append([]any{pgx.QueryExecModeExec}, args...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// dependents returns the objects outside that depend on what is moved aside. What was moved aside
// earlier does not count: it goes on referring to the same objects.
func (o old) dependents(ctx context.Context, conn *pgx.Conn, all []old) ([]string, error) {
	names, err := keptNames(ctx, conn)
	if err != nil {
		return nil, err
	}
	if !o.whole() {
		return strs(ctx, conn, tableDependentsSQL, o.tables, append([]string{}, names...))
	}
	// All of them, because they may depend on each other.
	for _, other := range all {
		name := other.schema
		if other.keptID != 0 {
			name = other.kept
		}
		names = append(names, name)
	}
	return strs(ctx, conn, fmt.Sprintf(dependentsSQL, "$1::text[]::name[]"), names)
}

// guard locks what is moved aside against every other session and checks that nothing outside depends
// on it. Without held the locks are released again.
func guard(ctx context.Context, conn *pgx.Conn, all []old, held bool) error {
	if len(all) == 0 {
		return nil
	}
	if _, err := conn.Exec(ctx, "SAVEPOINT pgcourier_guard"); err != nil {
		return err
	}
	for _, o := range all {
		sql, oids := lockTablesSQL, o.tables
		if o.whole() {
			sql, oids = lockSchemasSQL, []uint32{o.oid}
		}
		locks, err := strs(ctx, conn, sql, oids)
		if err != nil {
			return err
		}
		for _, lock := range locks {
			if _, err := conn.Exec(ctx, lock); err != nil {
				if sqlState(err) == lockNotAvailable {
					return inUse(ctx, conn, o, err)
				}
				return err
			}
		}
	}
	var dependents []string
	for _, o := range all {
		found, err := o.dependents(ctx, conn, all)
		if err != nil {
			return err
		}
		dependents = append(dependents, found...)
	}
	if len(dependents) > 0 {
		slices.Sort(dependents)
		return &DependentsError{Objects: slices.Compact(dependents), replaced: true}
	}
	end := "ROLLBACK TO SAVEPOINT pgcourier_guard; RELEASE SAVEPOINT pgcourier_guard"
	if held {
		end = "RELEASE SAVEPOINT pgcourier_guard"
	}
	_, err := conn.PgConn().Exec(ctx, end).ReadAll()
	return err
}

// holdersSQL describes the sessions that hold locks on tables: $1 are schemas, $2 tables.
const holdersSQL = `
SELECT DISTINCT format('session %s of %s (%s, %s)', a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'no application name'),
         coalesce(a.state, 'state not shown'))
  FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a ON a.pid = l.pid
 WHERE l.locktype = 'relation' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND (c.relnamespace = ANY ($1::oid[]) OR c.oid = ANY ($2::oid[])) AND l.pid <> pg_backend_pid()
 ORDER BY 1 LIMIT 5`

// inUse returns ErrInUse with the sessions that hold locks on what is moved aside.
func inUse(ctx context.Context, conn *pgx.Conn, o old, cause error) error {
	if _, err := conn.Exec(ctx, "ROLLBACK TO SAVEPOINT pgcourier_guard"); err != nil {
		return err
	}
	schemas := []uint32{}
	if o.whole() {
		schemas = append(schemas, o.oid)
	}
	holders, err := strs(ctx, conn, holdersSQL, schemas, append([]uint32{}, o.tables...))
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %s: %s: %w", ErrInUse, strings.Join(o.text(), ", "), strings.Join(holders, ", "), cause)
}

// moveAside moves a schema, or single tables, into the kept schema.
func (o *old) moveAside(ctx context.Context, conn *pgx.Conn) error {
	statements := []string{fmt.Sprintf("ALTER SCHEMA %s RENAME TO %s", quoted(o.schema), quoted(o.kept))}
	if !o.whole() {
		statements = []string{"CREATE SCHEMA " + quoted(o.kept)}
		for _, name := range o.names {
			statements = append(statements, fmt.Sprintf("ALTER TABLE %s SET SCHEMA %s", name, quoted(o.kept)))
		}
		// Extended statistics stay when their table moves.
		statistics, err := strs(ctx, conn, `SELECT format('ALTER STATISTICS %I.%I SET SCHEMA %I', n.nspname, s.stxname, $2::text)
			FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.stxrelid = ANY ($1::oid[]) ORDER BY s.oid`, o.tables, o.kept)
		if err != nil {
			return err
		}
		statements = append(statements, statistics...)
	}
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return conn.QueryRow(ctx, "SELECT oid FROM pg_namespace WHERE nspname = $1", o.kept).Scan(&o.keptID)
}

// owner returns the owner of what is moved aside, of several tables that of the first. Empty: it is the
// login itself, or a role of which the login is no member.
func (o old) owner(ctx context.Context, conn *pgx.Conn) (name string, err error) {
	sql, oid := "SELECT nspowner FROM pg_namespace WHERE oid = $1", o.oid
	if !o.whole() {
		sql, oid = "SELECT relowner FROM pg_class WHERE oid = $1", o.tables[0]
	}
	err = conn.QueryRow(ctx, "SELECT coalesce((SELECT rolname::text FROM pg_roles WHERE oid = ("+sql+
		") AND rolname <> current_user AND rolname <> 'pg_database_owner' AND pg_has_role(oid, 'MEMBER')), '')", oid).Scan(&name)
	return name, err
}

// findExtensions finds the extensions in a schema. stuck are those that cannot be moved to another one:
// ones that are tied to their schema, and for a login other than a superuser all, because the objects of
// an extension that it has created can belong to a superuser.
func (o *old) findExtensions(ctx context.Context, conn *pgx.Conn) (stuck []string, err error) {
	if !o.whole() {
		return nil, nil
	}
	const sql = "SELECT extname::text FROM pg_extension WHERE extnamespace = $1 AND (extrelocatable AND current_setting('is_superuser')::bool) = $2 ORDER BY oid"
	if o.extensions, err = strs(ctx, conn, sql, o.oid, true); err != nil {
		return nil, err
	}
	return strs(ctx, conn, sql, o.oid, false)
}

// findOld returns what the target holds of the schemas, or of the chosen tables in them.
func findOld(ctx context.Context, conn *pgx.Conn, schemas []string, tables []export.Table) ([]old, error) {
	var out []old
	for _, name := range schemas {
		o := old{schema: name}
		err := conn.QueryRow(ctx, "SELECT oid FROM pg_namespace WHERE nspname = $1", name).Scan(&o.oid)
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if tables != nil {
			if err := o.findTables(ctx, conn, tables); err != nil {
				return nil, err
			}
			if len(o.tables) == 0 {
				continue
			}
		}
		out = append(out, o)
	}
	return out, nil
}

func (o *old) findTables(ctx context.Context, conn *pgx.Conn, tables []export.Table) error {
	var names []string
	for _, t := range tables {
		if t.Schema == o.schema {
			names = append(names, t.Name)
		}
	}
	rows, err := conn.Query(ctx, `SELECT c.oid, format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.oid = $1 AND c.relname = ANY ($2::text[]::name[]) ORDER BY c.oid`, pgx.QueryExecModeExec, o.oid, names)
	if err != nil {
		return err
	}
	var oid uint32
	var name string
	_, err = pgx.ForEachRow(rows, []any{&oid, &name}, func() error {
		o.tables, o.names = append(o.tables, oid), append(o.names, name)
		return nil
	})
	return err
}

// emptySchemas returns an error if one of the schemas holds objects other than extensions.
func emptySchemas(ctx context.Context, conn *pgx.Conn, schemas []string) error {
	occupied, err := strs(ctx, conn, `
SELECT quote_ident(nspname) FROM pg_namespace n WHERE nspname = ANY ($1::text[]::name[])
   AND EXISTS (SELECT FROM pg_depend d JOIN (`+fmt.Sprintf(contentsSQL, "$1::text[]::name[]")+`) own USING (classid, objid)
                WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid) ORDER BY 1`, schemas)
	if err != nil || len(occupied) == 0 {
		return err
	}
	return fmt.Errorf("%w: it holds objects in %s", ErrOccupied, strings.Join(occupied, ", "))
}
