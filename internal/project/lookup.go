package project

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgcourier/pgcourier/internal/export"
)

// timeout bounds one lookup, waiting for a connection included. A lookup reads one row
// by its key; past this the control plane is as good as down.
const timeout = 10 * time.Second

// lookup asks a configured query for an id. Row has a field for each of columns.
type lookup[Row any] struct {
	pool    *pgxpool.Pool
	query   string
	columns []column
	what    string // the query, in errors
	unfit   error  // says that the query is not what it must be
}

// column is one that a query returns, in any order.
type column struct {
	name     string
	kind     string // text, text[] or boolean
	optional bool
}

// ask runs the query.
func (l lookup[Row]) ask(ctx context.Context, id string) ([]Row, []pgconn.FieldDescription, error) {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for first := true; ; first = false {
		rows, err := l.pool.Query(bounded, l.query, id)
		var found []Row
		var fields []pgconn.FieldDescription
		if err == nil {
			fields = slices.Clone(rows.FieldDescriptions())
			found, err = pgx.CollectRows(rows, pgx.RowToStructByNameLax[Row])
		}
		if stale(err) && first {
			continue
		}
		return found, fields, classify(ctx, err)
	}
}

// check runs the query for an id that no project has and reports whether its shape, its
// rights and its tables are right. unfit: they are not. ErrLedgerUnavailable: the
// control plane cannot be reached; check again later.
func (l lookup[Row]) check(ctx context.Context) error {
	const none = "" // ids are never empty
	rows, fields, err := l.ask(ctx, none)
	if err == nil {
		err = l.shape(fields)
	}
	if err == nil && len(rows) > 0 {
		err = errors.New("it returns a row for an empty id: it must compare with $1")
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "22P02" {
		err = fmt.Errorf("its $1 is not text: compare for instance id::text = $1: %w", err)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, export.ErrUnavailable) || ctx.Err() != nil:
		return fmt.Errorf("check %s: %w", l.what, err)
	default:
		return fmt.Errorf("%w: %w", l.unfit, err)
	}
}

// shape reports each column that is missing, unknown, twice there or of the wrong type.
func (l lookup[Row]) shape(fields []pgconn.FieldDescription) error {
	var errs []error
	var names, required, optional []string
	for _, c := range l.columns {
		if c.optional {
			optional = append(optional, c.name)
		} else {
			required = append(required, c.name)
		}
	}
	for _, f := range fields {
		if slices.Contains(names, f.Name) {
			errs = append(errs, fmt.Errorf("column %q is there twice", f.Name))
		}
		names = append(names, f.Name)
		i := slices.IndexFunc(l.columns, func(c column) bool { return c.name == f.Name })
		switch {
		case i < 0: // a misspelt "dsn" would use the wrong database
			errs = append(errs, fmt.Errorf("column %q is unknown; known are %v and %v", f.Name, required, optional))
		case !fits(l.columns[i].kind, f.DataTypeOID):
			errs = append(errs, fmt.Errorf("column %q must be of type %s: cast it", f.Name, l.columns[i].kind))
		}
	}
	for _, name := range required {
		if !slices.Contains(names, name) {
			errs = append(errs, fmt.Errorf("column %q is missing", name))
		}
	}
	return errors.Join(errs...)
}

// fits reports whether a type of PostgreSQL can be read as a kind.
func fits(kind string, oid uint32) bool {
	switch kind {
	case "text":
		return oid == pgtype.TextOID || oid == pgtype.VarcharOID || oid == pgtype.NameOID || oid == pgtype.BPCharOID
	case "text[]":
		return oid == pgtype.TextArrayOID || oid == pgtype.VarcharArrayOID || oid == pgtype.NameArrayOID || oid == pgtype.BPCharArrayOID
	default:
		return oid == pgtype.BoolOID
	}
}

func str(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
