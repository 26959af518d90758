package restore

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
)

// extension is an extension that an export needs, and its state in the target.
type extension struct {
	export.Extension
	home      string // its schema in the target; empty: not installed
	available bool   // the server has its files
	schema    bool   // Extension.Schema exists
}

// extensions returns the state of the wanted extensions in a database, in their order.
func extensions(ctx context.Context, ses *libpq.Session, want []export.Extension) ([]extension, error) {
	names, schemas := make([]string, len(want)), make([]string, len(want))
	for i, e := range want {
		names[i], schemas[i] = e.Name, e.Schema
	}
	rows, err := ses.Conn.Query(ctx, `
SELECT w.name, w.schema, coalesce(n.nspname::text, ''),
       EXISTS (SELECT FROM pg_catalog.pg_available_extensions a WHERE a.name = w.name),
       EXISTS (SELECT FROM pg_catalog.pg_namespace s WHERE s.nspname = w.schema)
  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (name, schema, place)
  LEFT JOIN pg_catalog.pg_extension e ON e.extname = w.name
  LEFT JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
 ORDER BY w.place`, pgx.QueryExecModeExec, names, schemas)
	if err != nil {
		return nil, fmt.Errorf("%w: look for extensions: %w", ErrTarget, err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e extension, err error) {
		return e, row.Scan(&e.Name, &e.Schema, &e.home, &e.available, &e.schema)
	})
	if err != nil {
		return nil, fmt.Errorf("%w: look for extensions: %w", ErrTarget, err)
	}
	return out, nil
}

// lacks returns what the target lacks of an extension, in words; empty: nothing.
func (e extension) lacks() string {
	switch {
	case e.home == e.Schema:
		return ""
	case e.home != "":
		return fmt.Sprintf("extension %s is in schema %s, the export needs it in %s", quoted(e.Name), quoted(e.home), quoted(e.Schema))
	case !e.available:
		return fmt.Sprintf("extension %s in schema %s, which the server does not have: install its package", quoted(e.Name), quoted(e.Schema))
	default:
		return fmt.Sprintf("extension %s in schema %s", quoted(e.Name), quoted(e.Schema))
	}
}

// creation returns the statements that create an extension, none if the server does not have it. A
// missing schema is created too and belongs to owner; empty: the login.
func (e extension) creation(owner string) []string {
	if e.home != "" || !e.available {
		return nil
	}
	schema := "CREATE SCHEMA IF NOT EXISTS " + quoted(e.Schema)
	if owner != "" {
		schema += " AUTHORIZATION " + quoted(owner)
	}
	create := "CREATE EXTENSION IF NOT EXISTS " + quoted(e.Name) + " WITH SCHEMA " + quoted(e.Schema) + ";"
	if e.schema {
		return []string{create}
	}
	return []string{schema + ";", create}
}

// need checks what the export needs, and with create adds the statements that create the extensions.
// A missing object may explain why the target refuses the export.
func (p *place) need(ctx context.Context, a export.Artifact, create bool) error {
	found, err := extensions(ctx, p.Session, a.Needs.Extensions)
	if err != nil {
		return err
	}
	for _, e := range found {
		statements := e.creation("")
		if !create || len(statements) == 0 {
			if lacks := e.lacks(); lacks != "" {
				p.missing = append(p.missing, lacks)
			}
			continue
		}
		p.prelude = append(p.prelude, statements...)
		if slices.Contains(a.Schemas, e.Schema) && !slices.Contains(p.kept, e.Schema) {
			p.kept = append(p.kept, e.Schema) // created before the script
		}
	}
	rows, err := p.Conn.Query(ctx, `SELECT w FROM unnest($1::text[]) AS w WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = w)`,
		pgx.QueryExecModeExec, a.Needs.Roles)
	if err != nil {
		return fmt.Errorf("%w: look for roles: %w", ErrTarget, err)
	}
	roles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("%w: look for roles: %w", ErrTarget, err)
	}
	for _, r := range roles {
		p.missing = append(p.missing, "role "+quoted(r))
	}
	if a.Needs.Encoding == "" {
		return nil
	}
	err = p.Conn.QueryRow(ctx, "SELECT pg_catalog.current_setting('server_encoding')", pgx.QueryExecModeExec).Scan(&p.encoding)
	if err != nil {
		return fmt.Errorf("%w: look for the encoding: %w", ErrTarget, err)
	}
	if p.encoding != a.Needs.Encoding {
		p.missing = append(p.missing, fmt.Sprintf("a database of encoding %s, this one is of %s", a.Needs.Encoding, p.encoding))
	}
	return nil
}

const utf8Name = "UTF8"

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }
