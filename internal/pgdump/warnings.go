package pgdump

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
)

// referenceWait bounds the search for references in a schema of very many objects.
var referenceWait = "5s"

// notes holds what a dump leaves out.
type notes struct {
	warnings []string // for people
	needs    export.Needs
}

// notes finds what a dump of these schemas leaves out without a message of pg_dump. docs/contents.md
// lists it for every catalogue.
func (s *session) notes(ctx context.Context, v *survey) (notes, error) {
	var out notes
	warn := func(text string, names []string) {
		out.warnings = append(out.warnings, lines(text, names)...)
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
	out.needs = found.needs
	warn("partitions of tables in other schemas need those to be restored", found.needs.Parents)
	warn("objects of other schemas are needed and left out", found.needs.Objects)
	named := slices.DeleteFunc(slices.Clone(found.needs.Extensions), func(e export.Extension) bool { return slices.Contains(found.called, e) })
	warn("extensions are needed and left out", homes(named))
	warn("bodies of functions call what these extensions hold", homes(found.called))
	warn("roles are named in policies and left out", showAll(found.needs.Roles))
	for _, l := range leftOut {
		warn(l.text, showAll(found.left[l.kind]))
	}
	casts := make([]string, len(found.needs.Casts))
	for i, c := range found.needs.Casts {
		casts[i] = printable(c.String())
	}
	warn("casts belong to no schema and are left out", casts)
	warn("bodies of functions name other schemas, where nothing was looked for", showAll(found.schemas))
	if v.encoding == noEncoding {
		out.needs.Encoding = noEncoding
		out.warnings = append(out.warnings, "the source has no encoding (SQL_ASCII): only a database without one takes all its bytes")
	}
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

// unattachable lists the partitioned tables that PostgreSQL cannot restore from a dump. It never treats
// two exclusion indexes as equal (CompareIndexInfo in src/backend/catalog/index.c), so it refuses to
// attach those of the partitions. Seen up to version 18.
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

// leftOut are the warnings for the kinds of leftSQL.
var leftOut = []struct{ kind, text string }{
	{"label", "security labels need their providers where they are restored"},
	{"private", "every role may use these after a restore without pgcourier, but not in the source"},
	{"transform", "transforms belong to no schema and are left out"},
	{"family member", "what these schemas add to operator families elsewhere is left out"},
	{"event trigger", "event triggers belong to the database and are left out"},
	{"statistics", "extended statistics in other schemas are left out"},
	{"publication", "publications are left out"},
	{"subscription", "subscriptions that fill these tables are left out"},
}

// homes returns the names of extensions with their schemas.
func homes(extensions []export.Extension) []string {
	out := make([]string, len(extensions))
	for i, e := range extensions {
		out[i] = printable(e.Name) + " in schema " + printable(e.Schema)
	}
	return out
}

// showAll makes names safe to print.
func showAll(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = printable(n)
	}
	return out
}
