package restore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
)

// privateSQL is the body of a block that revokes the default rights of PUBLIC where the source had
// revoked them. Missing objects and objects outside of the schemas do not change. The verbs are
// arrays of the schemas, and of the names of routines and types.
const privateSQL = `
DECLARE
  schemas CONSTANT name[] := %[1]s;
  command text;
BEGIN
  FOR command IN
    SELECT pg_catalog.format('REVOKE EXECUTE ON ROUTINE %%s FROM PUBLIC', p.oid::regprocedure)
      FROM pg_catalog.unnest(%[2]s) n JOIN pg_catalog.pg_proc p ON p.oid = pg_catalog.to_regprocedure(n)
      JOIN pg_catalog.pg_namespace s ON s.oid = p.pronamespace WHERE s.nspname = ANY (schemas)
    UNION ALL
    SELECT pg_catalog.format('REVOKE USAGE ON TYPE %%s FROM PUBLIC', t.oid::regtype)
      FROM pg_catalog.unnest(%[3]s) n JOIN pg_catalog.pg_type t ON t.oid = pg_catalog.to_regtype(n)
      JOIN pg_catalog.pg_namespace s ON s.oid = t.typnamespace WHERE s.nspname = ANY (schemas)
  LOOP
    EXECUTE command;
  END LOOP;
END`

// closing returns the statements between the script and the counts.
func closing(a export.Artifact) []string {
	var routines, types []string
	for _, p := range a.Needs.Private {
		if name, ok := strings.CutPrefix(p, "ROUTINE "); ok {
			routines = append(routines, name)
		} else if name, ok := strings.CutPrefix(p, "TYPE "); ok {
			types = append(types, name)
		}
	}
	if len(routines)+len(types) == 0 {
		return nil
	}
	return []string{
		"SET standard_conforming_strings = on;",
		block(fmt.Sprintf(privateSQL, textArray(a.Schemas, "name"), textArray(routines, "text"), textArray(types, "text"))),
	}
}

// castSQL tells whether a cast can be created: its types and its function exist, one of the types is
// in the export's schemas (so that no conversion of another project changes), and there is no such
// cast yet.
const castSQL = `
SELECT s.oid IS NOT NULL AND t.oid IS NOT NULL AND ($3 = '' OR pg_catalog.to_regprocedure($3) IS NOT NULL)
   AND EXISTS (SELECT FROM pg_catalog.pg_type y JOIN pg_catalog.pg_namespace n ON n.oid = y.typnamespace
                WHERE y.oid IN (s.oid, t.oid) AND n.nspname = ANY ($4::text[]::name[]))
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_cast c WHERE c.castsource = s.oid AND c.casttarget = t.oid)
  FROM (SELECT pg_catalog.to_regtype($1)::oid AS oid) s, (SELECT pg_catalog.to_regtype($2)::oid AS oid) t`

// makeCasts creates the casts that can be created now. A cast that the target refuses is left out
// and reported: the export may not depend on it.
func (s *steps) makeCasts(ctx context.Context) error {
	schemas := s.feed.export.Manifest.Artifact.Schemas
	for i := 0; i < len(s.casts); i++ {
		c := s.casts[i]
		var now bool
		err := s.feed.at.Conn.QueryRow(ctx, castSQL, pgx.QueryExecModeExec, c.Source, c.Target, c.Function, schemas).Scan(&now)
		if err != nil {
			return s.refused(ctx, err, "look for the types of a cast")
		}
		if !now {
			continue
		}
		s.casts = slices.Delete(s.casts, i, i+1)
		i--
		if err := s.apart(ctx, c.String()); err != nil {
			return err
		}
	}
	return nil
}

// apart runs a statement of the restorer in a savepoint, because it may fail.
func (s *steps) apart(ctx context.Context, statement string) error {
	before, after, undo := "SAVEPOINT pgcourier_apart", "RELEASE SAVEPOINT pgcourier_apart", "ROLLBACK TO SAVEPOINT pgcourier_apart; RELEASE SAVEPOINT pgcourier_apart"
	if s.feed.target.NoTransaction {
		before, after, undo = "", "", ""
	}
	if _, err := s.conn.Exec(ctx, before).ReadAll(); err != nil {
		return s.refused(ctx, err, "set a savepoint")
	}
	var err error
	if pl := s.feed.target.placing; pl != nil {
		err = pl.executed(ctx, statement)
	} else {
		err = s.conn.ExecParams(ctx, statement, nil, nil, nil, nil).Read().Err
	}
	switch {
	case err != nil && (transient(sqlState(err)) || ctx.Err() != nil || s.conn.IsClosed()):
		return s.refused(ctx, err, headline(statement))
	case err != nil:
		s.feed.at.missing = append(s.feed.at.missing, headline(statement)+", which was refused: "+oneLine(err.Error()))
		after = undo
	}
	_, err = s.conn.Exec(ctx, after).ReadAll()
	return s.refused(ctx, err, "leave a savepoint")
}
