package project

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/restore/operation"
)

// ErrRestoreQuery says that the restore query is not what it must be: a fault of configuration.
var ErrRestoreQuery = errors.New("unusable restore query")

// Restores looks up where the restores of a project go. It is safe for concurrent use.
type Restores struct {
	pool  *pgxpool.Pool
	query string
}

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
	return &Restores{pool: pool, query: query}
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
	if r.query == "" {
		return nil
	}
	const none = "" // ids are never empty
	rows, fields, err := r.ask(ctx, none)
	if err == nil {
		err = targetShape(fields)
	}
	if err == nil && len(rows) > 0 {
		err = errors.New("it returns a target for an empty id: it must compare with $1")
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, export.ErrUnavailable) || ctx.Err() != nil:
		return fmt.Errorf("check restore query: %w", err)
	default:
		return fmt.Errorf("%w: %w", ErrRestoreQuery, err)
	}
}

// targetShape reports each column that is missing, unknown, twice there or of the wrong type.
func targetShape(fields []pgconn.FieldDescription) error {
	columns := map[string]string{"id": "text", "dsn": "text", "schema": "text", "owner": "text", "allow_from": "text[]", "allow_replace": "boolean"}
	var errs []error
	var names []string
	for _, f := range fields {
		if slices.Contains(names, f.Name) {
			errs = append(errs, fmt.Errorf("column %q is there twice", f.Name))
		}
		names = append(names, f.Name)
		want, known := columns[f.Name]
		fits := map[string]bool{"text": isText(f.DataTypeOID), "text[]": isTextArray(f.DataTypeOID), "boolean": f.DataTypeOID == pgtype.BoolOID}
		switch {
		case !known:
			errs = append(errs, fmt.Errorf("column %q is unknown; known are dsn, schema, owner, allow_from, allow_replace and id", f.Name))
		case !fits[want]:
			errs = append(errs, fmt.Errorf("column %q must be of type %s: cast it", f.Name, want))
		}
	}
	for _, c := range []string{"dsn", "schema", "owner", "allow_from", "allow_replace"} {
		if !slices.Contains(names, c) {
			errs = append(errs, fmt.Errorf("column %q is missing", c))
		}
	}
	return errors.Join(errs...)
}

// Lookup implements operation.Targets. A project without a row is a Fault with ProjectNotFound; one
// with several rows is a Fault with InternalError, and none of them is taken.
func (r *Restores) Lookup(ctx context.Context, id string) (operation.Target, error) {
	if r.query == "" {
		return operation.Target{}, &export.Fault{Code: codes.RestoreDisabled, Message: "restores by event are not set up here"}
	}
	rows, _, err := r.ask(ctx, id)
	switch {
	case err != nil:
		return operation.Target{}, fmt.Errorf("look up the target of project %q: %w", id, err)
	// A query that compares loosely must not hand out the target of a project of another spelling.
	case len(rows) == 0, len(rows) == 1 && rows[0].ID != nil && *rows[0].ID != id:
		return operation.Target{}, &export.Fault{Code: codes.ProjectNotFound, Message: "there is no project with this id that can be restored into"}
	case len(rows) > 1:
		return operation.Target{}, &export.Fault{
			Code: codes.InternalError, Message: "the control plane's target of this project is ambiguous",
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

// ask runs the query.
func (r *Restores) ask(ctx context.Context, id string) ([]targetRow, []pgconn.FieldDescription, error) {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for first := true; ; first = false {
		rows, err := r.pool.Query(bounded, r.query, id)
		var found []targetRow
		var fields []pgconn.FieldDescription
		if err == nil {
			fields = slices.Clone(rows.FieldDescriptions())
			found, err = pgx.CollectRows(rows, pgx.RowToStructByNameLax[targetRow])
		}
		if stale(err) && first {
			continue
		}
		return found, fields, classify(ctx, err)
	}
}
