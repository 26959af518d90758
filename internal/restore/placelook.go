package restore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
)

// look connects to the target, looks for a marker, and checks what can be checked without the export.
func (pl *placing) look(ctx context.Context) (*place, error) {
	p := pl.placement
	ses, err := p.Source.Connect(ctx, map[string]string{"application_name": p.application(), "search_path": "pg_catalog"})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTarget, err)
	}
	at := &place{Session: ses, source: p.Source}
	pl.at = at
	if err := pl.inspect(ctx, at); err != nil || pl.placed != nil {
		ses.Close()
		return nil, ofTargetError(err, "look at the target")
	}
	// From version 14 on the server then ends a long statement after the end of this process.
	_, _ = ses.Conn.Exec(ctx, "SET client_connection_check_interval = 500")
	return at, nil
}

func (pl *placing) inspect(ctx context.Context, at *place) error {
	p := pl.placement
	var readOnly bool
	if err := at.Conn.QueryRow(ctx, "SELECT current_setting('transaction_read_only')::bool").Scan(&readOnly); err != nil {
		return err
	}
	if readOnly && !pl.dry {
		return fmt.Errorf("%w: it is read-only", ErrTarget)
	}
	there, err := markers(ctx, at.Conn)
	if err != nil {
		return err
	}
	if there {
		if err := trustMarkers(ctx, at.Conn, p.Owner, false); err != nil {
			return err
		}
		placed, committed, err := readMarker(ctx, at.Conn, p.ID)
		if committed && !pl.dry {
			pl.placed = &placed
		}
		if err != nil || pl.placed != nil {
			return err
		}
	} else if !pl.dry {
		if err := makeMarkers(ctx, at.Conn); err != nil {
			return err
		}
	}
	if len(p.Tables) == 0 {
		if err := pl.findOld(ctx, nil); err != nil {
			return err
		}
	}
	if err := pl.rights(ctx); err != nil {
		return err
	}
	needed := pl.source
	needed.Schemas = pl.schemas
	if p.renames(pl.source) {
		needed.Needs.Extensions = renameExtensions(needed.Needs.Extensions, p.chosenSchemas(pl.source)[0], p.Schema)
	}
	if err := at.need(ctx, needed, p.CreateExtensions); err != nil {
		return err
	}
	if wrote := libpq.LeadingNumber(pl.source.PgDumpVersion); wrote > at.Major() && at.Major() > 0 {
		at.missing = append(at.missing, fmt.Sprintf("pg_dump %d wrote the export, the target runs PostgreSQL %d: it may refuse newer syntax", wrote, at.Major()))
	}
	return nil
}

// rightsSQL selects what the login lacks, in words. $1 are the schemas, $2 is the owner or empty, $3
// tells whether whole schemas are replaced, $4 whether a schema may have to be created.
const rightsSQL = `
SELECT format('role %I does not exist', $2::text) WHERE $2 <> '' AND to_regrole(quote_ident($2)) IS NULL
UNION ALL
SELECT format('the login %I is no member of role %I', current_user, rolname) FROM pg_roles WHERE rolname = $2 AND NOT pg_has_role(oid, 'MEMBER')
UNION ALL
SELECT format('the login %I lacks CREATE on database %I', current_user, current_database())
 WHERE NOT has_database_privilege(current_database(), 'CREATE')
   AND $4 AND EXISTS (SELECT FROM unnest($1::text[]) s WHERE $3 OR NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = s))
UNION ALL
SELECT format('the login %I is no member of the owner of schema %I', current_user, nspname)
  FROM pg_namespace WHERE $3 AND nspname = ANY ($1::text[]::name[]) AND NOT pg_has_role(nspowner, 'USAGE')`

// rights returns ErrForbidden if the login lacks a right that the placement is certain to need.
func (pl *placing) rights(ctx context.Context) error {
	p := pl.placement
	lacks, err := strs(ctx, pl.at.Conn, rightsSQL, pl.schemas, p.Owner, p.Mode == Replace && len(p.Tables) == 0, len(p.Tables) == 0 || len(pl.schemas) == 1)
	if err != nil || len(lacks) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s", ErrForbidden, strings.Join(lacks, "; "))
}

// findOld finds what is moved aside, or returns ErrOccupied.
func (pl *placing) findOld(ctx context.Context, tables []export.Table) (err error) {
	conn := pl.at.Conn
	if pl.placement.Mode == Create && tables == nil {
		return emptySchemas(ctx, conn, pl.schemas)
	}
	olds, err := findOld(ctx, conn, pl.schemas, tables)
	if err != nil {
		return err
	}
	if pl.placement.Mode == Create {
		if len(olds) > 0 {
			return fmt.Errorf("%w: it holds %v", ErrOccupied, olds[0].names)
		}
		return nil
	}
	pl.olds = olds
	var dependents []string
	for i, o := range olds {
		found, err := o.dependents(ctx, conn, olds)
		if err != nil {
			return err
		}
		dependents = append(dependents, found...)
		stuck, err := olds[i].findExtensions(ctx, conn)
		switch {
		case err != nil:
			return err
		case len(stuck) > 0:
			return fmt.Errorf("%w: schema %s holds extensions that it cannot move out of there, replace single tables instead: %s", ErrForbidden, quoted(o.schema), strings.Join(stuck, ", "))
		}
	}
	if len(dependents) > 0 {
		slices.Sort(dependents)
		return &DependentsError{Objects: slices.Compact(dependents), replaced: true}
	}
	return nil
}
