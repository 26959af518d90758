package project_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/restore/operation"
)

const targetQuery = `SELECT dsn, schema, owner, allow_from, allow_replace, id FROM (VALUES
	('full', 'postgres://u:canary@h/d', 'tenant', 'owner', '{acme,NULL,""}'::text[], true),
	('bare', NULL, NULL, NULL, NULL, NULL::boolean),
	('twin', NULL, 'a', NULL, NULL, false), ('twin', NULL, 'b', NULL, NULL, false)
) AS t (id, dsn, schema, owner, allow_from, allow_replace) WHERE id = lower($1)`

func TestTargetsOfRestoresAreLookedUp(t *testing.T) {
	t.Parallel()
	pool := newPool(t, cluster.URL("postgres"))
	r := project.NewRestores(pool, targetQuery)
	if err := r.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]operation.Target{
		"full": {DSN: "postgres://u:canary@h/d", Schema: "tenant", Owner: "owner", AllowFrom: []string{"acme"}, AllowReplace: true},
		"bare": {},
	} {
		if got, err := r.Lookup(t.Context(), id); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", id, got, err, want)
		}
	}
	for id, want := range map[string]codes.Code{"none": codes.ProjectNotFound, "FULL": codes.ProjectNotFound, "twin": codes.InternalError} {
		_, err := r.Lookup(t.Context(), id)
		if f, ok := errors.AsType[*export.Fault](err); !ok || f.Code != want || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, want %s", id, err, want)
		}
	}
	off := project.NewRestores(pool, "")
	_, err := off.Lookup(t.Context(), "full")
	if f, ok := errors.AsType[*export.Fault](err); !ok || f.Code != codes.RestoreDisabled || off.Check(t.Context()) != nil {
		t.Errorf("without a query: %v", err)
	}
}

func TestAnUnusableRestoreQueryIsFoundAtStart(t *testing.T) {
	t.Parallel()
	pool := newPool(t, cluster.URL("postgres"))
	const rest = `NULL::text AS schema, NULL::text AS owner, NULL::text[] AS allow_from, true AS allow_replace`
	for name, tc := range map[string]struct{ query, says string }{
		"a missing column":     {`SELECT ` + rest + ` WHERE $1 <> ''`, `column "dsn" is missing`},
		"an unknown column":    {`SELECT NULL::text AS dsn, 1 AS force, ` + rest + ` WHERE $1 <> ''`, `column "force" is unknown`},
		"a wrong type":         {`SELECT 1 AS dsn, ` + rest + ` WHERE $1 <> ''`, `column "dsn" must be of type text`},
		"a column twice":       {`SELECT NULL::text AS dsn, NULL::text AS dsn, ` + rest + ` WHERE $1 <> ''`, `column "dsn" is there twice`},
		"no comparison":        {`SELECT NULL::text AS dsn, ` + rest + ` WHERE $1::text IS NOT NULL`, "it must compare with $1"},
		"what is not SQL":      {`SELEKT`, "syntax error"},
		"a table that is gone": {`SELECT NULL::text AS dsn, ` + rest + ` FROM gone WHERE $1 <> ''`, "does not exist"},
	} {
		if err := project.NewRestores(pool, tc.query).Check(t.Context()); !errors.Is(err, project.ErrRestoreQuery) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
