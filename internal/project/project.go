// Package project answers which schemas a project owns, with one configurable query
// against the control plane.
package project

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

// DefaultQuery is the query for a control plane with one schema for each project.
const DefaultQuery = `SELECT id::text, name, upper(status) = 'ACTIVE' AS active, ARRAY[schema_name] AS schemas FROM control_plane.projects WHERE id::text = $1`

// EachSchemaQuery is the query for a database in which every schema is a project of the same name.
const EachSchemaQuery = `SELECT nspname::text AS id, nspname::text AS name, true AS active, ARRAY[nspname::text] AS schemas FROM pg_catalog.pg_namespace WHERE nspname = $1 AND nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'pgcourier')`

// ErrQuery says that the project query is not what it must be: a fault of configuration.
var ErrQuery = errors.New("unusable project query")

// Projects looks projects up. It is safe for concurrent use.
type Projects struct{ of lookup[row] }

var _ export.Projects = (*Projects)(nil)

// New returns a Projects that asks query, or DefaultQuery when it is empty. The query
// is one SQL statement. Its parameter $1 is the project's id as text; it returns at most
// one row, with the columns (in any order, by name)
//
//	id       text     the project's id, the same as $1
//	name     text     for humans; may be null
//	active   boolean  false or null: suspended
//	schemas  text[]   the schemas it owns, exact names
//	role     text     optional: the role to dump as; null: the login itself
//	dsn      text     optional: the source database; null: the default source
//
//	retention          text    optional: retention rules of its own
//	recipients         text[]  optional: public keys to encrypt its exports to; null: none
//	compression_level  text    optional: fast, default or best; null: the worker's setting
//
// and no others. The caller closes pool, and calls Check at start.
func New(pool *pgxpool.Pool, query string) *Projects {
	if query == "" {
		query = DefaultQuery
	}
	return &Projects{lookup[row]{
		pool: pool, query: query, what: "project query", unfit: ErrQuery,
		columns: []column{
			{"id", "text", false}, {"name", "text", false}, {"active", "boolean", false}, {"schemas", "text[]", false},
			{"role", "text", true}, {"dsn", "text", true}, {"retention", "text", true}, {"recipients", "text[]", true}, {"compression_level", "text", true},
		},
	}}
}

// Check runs the query for an id that no project has and reports whether its shape, its
// rights and its tables are right. ErrQuery: they are not. ErrLedgerUnavailable: the
// control plane cannot be reached; check again later.
func (p *Projects) Check(ctx context.Context) error { return p.of.check(ctx) }

// row is what the query returns.
type row struct {
	ID      *string   `db:"id"`
	Name    *string   `db:"name"`
	Active  *bool     `db:"active"`
	Schemas []*string `db:"schemas"`
	Role    *string   `db:"role"`
	DSN     *string   `db:"dsn"`

	Retention  *string   `db:"retention"`
	Recipients []*string `db:"recipients"`
	Level      *string   `db:"compression_level"`
}

// Lookup implements export.Projects. An unknown and a suspended project get the very
// same Fault. An active one without schemas in its row is a Fault with SchemaNotFound,
// and one with several rows a Fault with InternalError: neither row is taken.
func (p *Projects) Lookup(ctx context.Context, id string) (export.Project, error) {
	rows, _, err := p.of.ask(ctx, id)
	if err != nil {
		return export.Project{}, fmt.Errorf("look up project %q: %w", id, err)
	}
	if len(rows) > 1 {
		return export.Project{}, &export.Fault{
			Code: codes.InternalError, Message: "the project query returned more than one row for this project",
			Err: fmt.Errorf("look up project %q: %w: it returned %d rows", id, ErrQuery, len(rows)),
		}
	}
	// The query may match without regard to case: a project with another id is not returned.
	if len(rows) == 0 || str(rows[0].ID) != id || rows[0].Active == nil || !*rows[0].Active {
		return export.Project{}, &export.Fault{
			Code: codes.ProjectNotFound, Message: "there is no active project with this id",
		}
	}
	r := rows[0]
	schemas, ok := r.schemas()
	if !ok {
		return export.Project{}, &export.Fault{
			Code: codes.SchemaNotFound, Message: "the control plane names no schema for this project",
			Err: fmt.Errorf("look up project %q: its list of schemas is null, empty or has such an element", id),
		}
	}
	return export.Project{
		ID: id, Name: str(r.Name), Schemas: schemas, Role: str(r.Role), DSN: export.Secret(str(r.DSN)), Recipients: r.recipients(),
		Level: export.Level(str(r.Level)),
	}, nil
}

// schemas returns each schema once. A null or empty element means that the control
// plane does not know the project's data: part of it must not pass for all of it.
func (r row) schemas() ([]string, bool) {
	var out []string
	for _, s := range r.Schemas {
		if str(s) == "" {
			return nil, false
		}
		if !slices.Contains(out, *s) {
			out = append(out, *s)
		}
	}
	return out, len(out) > 0
}

// recipients returns the public keys of the row. A null or empty one is kept, as empty: an
// export is not encrypted to fewer keys than the control plane has.
func (r row) recipients() []string {
	var out []string
	for _, key := range r.Recipients {
		out = append(out, str(key))
	}
	return out
}
