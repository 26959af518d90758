package pgdump

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
)

// referenceWait bounds the search for references in a schema of very many objects.
const referenceWait = "5s"

// notes say what a dump leaves out.
type notes struct {
	warnings []string // for a human
	needs    export.Needs
}

// notes finds what a dump of these schemas leaves out although pg_dump says nothing of it.
// Bodies of functions written as strings are not looked into: PostgreSQL
// does not either.
func (s *session) notes(ctx context.Context, v *survey) (notes, error) {
	var out notes
	warn := func(text string, names []string) {
		if len(names) > 0 {
			out.warnings = append(out.warnings, text+": "+showList(names))
		}
	}
	var foreign, unlogged []string
	for _, r := range v.relations {
		switch {
		case r.kind == "f":
			foreign = append(foreign, r.show())
		case r.kind == "r" && v.standby && r.unlogged:
			unlogged = append(unlogged, r.show())
		}
	}
	warn("the rows of foreign tables are left out", foreign)
	warn("the source is a standby, which has no rows of unlogged tables", unlogged)

	partitions, children, err := s.childrenElsewhere(ctx, v)
	if err != nil {
		return notes{}, err
	}
	warn("partitions in other schemas are left out with their rows", partitions)
	warn("tables in other schemas that inherit from these are left out with their rows", children)
	refused, err := s.unattachable(ctx, v)
	if err != nil {
		return notes{}, err
	}
	warn("PostgreSQL refuses to restore partitioned tables with an exclusion constraint or WITHOUT OVERLAPS", refused)

	var found references
	err = s.aside(ctx, "statement_timeout = '"+referenceWait+"'", func() (err error) {
		found, err = s.references(ctx, v)
		return err
	})
	switch {
	case err != nil && ctx.Err() == nil && !s.conn.IsClosed():
		out.warnings = append(out.warnings, "what the schemas need of other schemas and extensions could not be listed in time")
	case err != nil:
		return notes{}, fail(ctx, fmt.Errorf("look for references: %w", err))
	}
	warn("partitions of tables in other schemas need those to be restored", found.parents)
	warn("objects of other schemas are needed and left out", found.objects)
	if len(found.extensions) > 0 { // each of them has to be made, so none is cut off
		names := make([]string, len(found.extensions))
		for i, e := range found.extensions {
			names[i] = printable(e.Name) + " in schema " + printable(e.Schema)
		}
		out.warnings = append(out.warnings, "extensions are needed and left out: "+strings.Join(names, ", "))
	}
	warn("roles are named in policies and left out", showAll(found.roles))
	out.needs = export.Needs{Extensions: found.extensions, Roles: found.roles, Objects: append(found.parents, found.objects...)}
	if v.blobs {
		out.warnings = append(out.warnings, "the database holds large objects, which a dump of schemas leaves out")
	}
	return out, nil
}

// childrenElsewhere lists the tables of other schemas that hold rows of tables here: partitions,
// and children by INHERITS, as TimescaleDB's chunks are. A query of the parent returns their rows.
func (s *session) childrenElsewhere(ctx context.Context, v *survey) (partitions, children []string, err error) {
	rows, err := s.conn.Query(ctx, `
SELECT n.nspname::text, c.relname::text, p.relkind = 'p'
  FROM pg_class p
  JOIN pg_inherits i ON i.inhparent = p.oid
  JOIN pg_class c ON c.oid = i.inhrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE p.relnamespace = ANY ($1::bigint[]::oid[]) AND p.relkind IN ('p', 'r', 'f')
   AND c.relnamespace <> ALL ($1::bigint[]::oid[])
 ORDER BY 1, 2`, v.schemas)
	if err != nil {
		return nil, nil, fail(ctx, fmt.Errorf("look for partitions: %w", err))
	}
	var schema, name string
	var partition bool
	_, err = pgx.ForEachRow(rows, []any{&schema, &name, &partition}, func() error {
		if partition {
			partitions = append(partitions, showName(schema, name))
		} else {
			children = append(children, showName(schema, name))
		}
		return nil
	})
	return partitions, children, fail(ctx, wrap("look for partitions", err))
}

// unattachable lists the partitioned tables that PostgreSQL does not restore from a dump: it never
// takes two indexes with exclusion for equal (CompareIndexInfo in src/backend/catalog/index.c),
// so that it refuses to attach the partitions' ones. Seen up to version 18.
func (s *session) unattachable(ctx context.Context, v *survey) ([]string, error) {
	var oids []int64
	names := map[int64]string{}
	for _, r := range v.relations {
		if r.kind == "p" {
			oids, names[r.oid] = append(oids, r.oid), r.show()
		}
	}
	if len(oids) == 0 {
		return nil, nil
	}
	rows, err := s.conn.Query(ctx, `
SELECT DISTINCT i.indrelid::bigint
  FROM pg_index i JOIN pg_inherits p ON p.inhparent = i.indexrelid
 WHERE i.indrelid = ANY ($1::bigint[]::oid[]) AND i.indisexclusion ORDER BY 1`, oids)
	if err != nil {
		return nil, fail(ctx, fmt.Errorf("look for exclusion constraints: %w", err))
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var oid int64
		err := row.Scan(&oid)
		return names[oid], err
	})
	return found, fail(ctx, wrap("look for exclusion constraints", err))
}

// showAll makes names safe to show.
func showAll(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = printable(n)
	}
	return out
}
