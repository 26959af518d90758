package pgdump

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

// survey is the result of the preflight, in the transaction of the snapshot.
type survey struct {
	encoding  string // of the server
	standby   bool
	blobs     bool    // the database holds large objects
	schemas   []int64 // oids
	relations []relation
	// followed: there are too many tables to lock in this session. It waits for pg_dump's locks
	// instead.
	followed bool
}

// relation is a table, sequence or the like in one of the chosen schemas.
type relation struct {
	oid        int64
	schema     string
	name       string
	kind       string // pg_class.relkind
	unlogged   bool
	pages      int64 // its own and its TOAST table's, as of the last VACUUM or ANALYZE
	unmeasured bool  // no VACUUM or ANALYZE yet
	readable   bool
	hidden     bool    // row-level security would hide rows
	owned      bool    // by a role that gains nothing by code in a plan: ownedSQL
	coded      bool    // a plan may call code: codedSQL
	extension  bool    // belongs to an extension
	condition  *string // of an extension's configuration table: the rows that are dumped
}

func (r relation) show() string { return showName(r.schema, r.name) }

func (r relation) table() export.Table { return export.Table{Schema: r.schema, Name: r.name} }

func (r relation) quoted() string { return pgx.Identifier{r.schema, r.name}.Sanitize() }

// dumped reports whether pg_dump dumps the relation itself. Objects of an extension come with the
// extension, except its configuration tables.
func (r relation) dumped() bool { return !r.extension || r.condition != nil }

// locked reports whether pg_dump locks the relation.
func (r relation) locked() bool { return r.dumped() && (r.kind == "r" || r.kind == "p") }

// counted reports whether the relation has a data section in the dump.
func (r relation) counted(standby bool) bool {
	return r.dumped() && r.kind == "r" && (!standby || !r.unlogged)
}

// counted returns the tables with a data section in the dump.
func (v *survey) counted() []relation {
	return filter(v.relations, func(r relation) bool { return r.counted(v.standby) })
}

// examine checks whether the source can be dumped as requested. It takes no locks.
func (s *session) examine(ctx context.Context, schemas []string) (*survey, error) {
	v, err := s.facts(ctx)
	if err != nil {
		return nil, err
	}
	found, err := s.findSchemas(ctx, schemas)
	if err != nil {
		return nil, err
	}
	if v.schemas, err = pick(found, schemas); err != nil {
		return nil, err
	}
	if err := s.findRelations(ctx, v); err != nil {
		return nil, err
	}
	return v, refuse(v.relations)
}

// facts returns a survey without schemas and relations.
func (s *session) facts(ctx context.Context) (*survey, error) {
	v := &survey{}
	// A view that replaces a table could run a tenant's code; recent servers can refuse that.
	const facts = `
SELECT current_setting('server_encoding'), pg_is_in_recovery(),
       EXISTS (SELECT FROM pg_largeobject_metadata),
       CASE WHEN current_setting('restrict_nonsystem_relation_kind', true) IS NOT NULL
            THEN set_config('restrict_nonsystem_relation_kind', 'view, foreign-table', true) END`
	var restricted *string
	if err := s.conn.QueryRow(ctx, facts).Scan(&v.encoding, &v.standby, &v.blobs, &restricted); err != nil {
		return nil, fail(ctx, fmt.Errorf("look at the source: %w", err))
	}
	return v, nil
}

// schema is a schema of the source.
type schema struct {
	oid    int64
	usable bool
}

// findSchemas returns the schemas that exist in the source, by name.
func (s *session) findSchemas(ctx context.Context, names []string) (map[string]schema, error) {
	rows, err := s.conn.Query(ctx, `
SELECT oid::bigint, nspname::text, has_schema_privilege(oid, 'USAGE')
  FROM pg_namespace WHERE nspname = ANY ($1::text[]::name[])`, names)
	if err != nil {
		return nil, fail(ctx, fmt.Errorf("look for schemas: %w", err))
	}
	found := map[string]schema{}
	var name string
	var is schema
	_, err = pgx.ForEachRow(rows, []any{&is.oid, &name, &is.usable}, func() error {
		found[name] = is
		return nil
	})
	return found, fail(ctx, wrap("look for schemas", err))
}

// pick returns the oids of the named schemas. Each must exist and be usable.
func pick(found map[string]schema, names []string) (oids []int64, err error) {
	for _, name := range names {
		switch sch, ok := found[name]; {
		case !ok:
			return nil, newFault(codes.SchemaNotFound, "the source has no schema "+printable(quotePattern(name)), nil)
		case !sch.usable:
			return nil, newFault(codes.SourceForbidden, "no right to use schema "+printable(quotePattern(name)), nil)
		default:
			oids = append(oids, sch.oid)
		}
	}
	return oids, nil
}

// findRelations lists the relations that pg_dump will read. It uses the catalogue only: a size function
// would wait behind an ACCESS EXCLUSIVE lock.
func (s *session) findRelations(ctx context.Context, v *survey) error {
	rows, err := s.conn.Query(ctx, `
WITH`+trustedSQL+`
SELECT c.oid::bigint, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence = 'u',
       greatest(c.relpages, 0)::bigint + greatest(coalesce(t.relpages, 0), 0),
       c.relkind = 'r' AND c.relpages <= 0 AND c.reltuples <= 0,
       has_table_privilege(c.oid, 'SELECT'),
       c.relrowsecurity AND row_security_active(c.oid),
       c.relkind = 'r' AND `+ownedSQL+`, c.relkind = 'r' AND `+codedSQL+`,
       EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype = 'e'),
       (SELECT coalesce(e.extcondition[array_position(e.extconfig, c.oid)], '')
          FROM pg_extension e WHERE c.oid = ANY (e.extconfig) LIMIT 1)
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
 WHERE c.relnamespace = ANY ($1::bigint[]::oid[]) AND c.relkind IN ('r', 'p', 'S', 'f')
 ORDER BY c.oid`, v.schemas)
	if err != nil {
		return fail(ctx, fmt.Errorf("list tables: %w", err))
	}
	var r relation
	_, err = pgx.ForEachRow(rows, []any{
		&r.oid, &r.schema, &r.name, &r.kind, &r.unlogged, &r.pages, &r.unmeasured,
		&r.readable, &r.hidden, &r.owned, &r.coded, &r.extension, &r.condition,
	}, func() error {
		v.relations = append(v.relations, r)
		return nil
	})
	return fail(ctx, wrap("list tables", err))
}

// refuse returns a fault for missing rights, and for row-level security that would hide rows.
func refuse(relations []relation) error {
	var unreadable, hidden []string
	for _, r := range relations {
		switch {
		case !r.dumped() || r.kind == "f": // the rows of a foreign table are not dumped
		case !r.readable:
			unreadable = append(unreadable, r.show())
		case r.hidden && r.kind == "r":
			hidden = append(hidden, r.show())
		}
	}
	if len(unreadable) > 0 {
		return newFault(codes.SourceForbidden, "no right to read "+showList(unreadable), nil)
	}
	if len(hidden) > 0 {
		return newFault(codes.RowLevelSecurity, "row-level security would hide rows of "+showList(hidden), nil)
	}
	return nil
}

func filter(relations []relation, keep func(relation) bool) []relation {
	return slices.DeleteFunc(slices.Clone(relations), func(r relation) bool { return !keep(r) })
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
