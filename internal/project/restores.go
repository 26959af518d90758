package project

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/restore/operation"
)

// ErrRestoreQuery says that the restore query is not what it must be: a fault of configuration.
var ErrRestoreQuery = errors.New("unusable restore query")

// Restores looks up where the restores of a project go. It is safe for concurrent use.
type Restores struct{ of lookup[targetRow] }

var _ operation.Targets = (*Restores)(nil)

// NewRestores returns a Restores that asks query; empty: restores by event are disabled. The query is
// one SQL statement. Its parameter $1 is the id of the project to restore into, as text; it returns
// at most one row, with the columns (in any order, by name)
//
//	dsn            text     the target database; null: that of the control plane
//	schema         text     name of the schema there; null: the export's own schemas
//	owner          text     role that owns what is restored; null: the login
//	allow_from     text[]   other projects whose exports may be restored there; null: none
//	allow_replace  boolean  whether what the schema holds may be replaced; null: no
//	id             text     optional: the project's id; a row with another id than $1 is no answer
//
// and no others. The caller closes pool, and calls Check at start.
func NewRestores(pool *pgxpool.Pool, query string) *Restores {
	return &Restores{lookup[targetRow]{
		pool: pool, query: query, what: "restore query", unfit: ErrRestoreQuery,
		columns: []column{
			{"dsn", "text", false}, {"schema", "text", false}, {"owner", "text", false}, {"allow_from", "text[]", false}, {"allow_replace", "boolean", false},
			{"id", "text", true},
		},
	}}
}

// targetRow is what the query returns.
type targetRow struct {
	ID           *string   `db:"id"`
	DSN          *string   `db:"dsn"`
	Schema       *string   `db:"schema"`
	Owner        *string   `db:"owner"`
	AllowFrom    []*string `db:"allow_from"`
	AllowReplace *bool     `db:"allow_replace"`
}

// Check runs the query for an id that no project has and reports whether its shape, its rights and its
// tables are right. ErrRestoreQuery, and ErrLedgerUnavailable as Projects.Check.
func (r *Restores) Check(ctx context.Context) error {
	if r.of.query == "" {
		return nil
	}
	return r.of.check(ctx)
}

// Lookup implements operation.Targets. A project without a row is a Fault with ProjectNotFound; one
// with several rows is a Fault with InternalError, and none of them is taken.
func (r *Restores) Lookup(ctx context.Context, id string) (operation.Target, error) {
	if r.of.query == "" {
		return operation.Target{}, &export.Fault{Code: codes.RestoreDisabled, Message: "restores by event are not set up here"}
	}
	rows, _, err := r.of.ask(ctx, id)
	switch {
	case err != nil:
		return operation.Target{}, fmt.Errorf("look up the target of project %q: %w", id, err)
	// The query may match without regard to case: the target of another id is not returned.
	case len(rows) == 0, len(rows) == 1 && rows[0].ID != nil && *rows[0].ID != id:
		return operation.Target{}, &export.Fault{Code: codes.ProjectNotFound, Message: "the restore query has no row for this project"}
	case len(rows) > 1:
		return operation.Target{}, &export.Fault{
			Code: codes.InternalError, Message: "the restore query returned more than one row for this project",
			Err: fmt.Errorf("look up the target of project %q: %w: it returned %d rows", id, ErrRestoreQuery, len(rows)),
		}
	}
	row := rows[0]
	t := operation.Target{
		DSN: export.Secret(str(row.DSN)), Schema: str(row.Schema), Owner: str(row.Owner), AllowReplace: row.AllowReplace != nil && *row.AllowReplace,
	}
	for _, from := range row.AllowFrom {
		if from != nil && *from != "" {
			t.AllowFrom = append(t.AllowFrom, *from)
		}
	}
	return t, nil
}
