package project_test

import (
	"context"
	"errors"
	"flag"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/pgtest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/secret"
)

var cluster *pgcluster.Cluster

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, &cluster, load)) }

// load makes a control plane with a table for the default query and one for others.
func load(ctx context.Context) error {
	pool, err := pgxpool.New(ctx, cluster.URL("postgres"))
	if err != nil {
		return err
	}
	defer pool.Close()
	_, err = pool.Exec(ctx, `
		CREATE SCHEMA control_plane;
		CREATE TABLE control_plane.projects (id text, name text, status text, schema_name text);
		INSERT INTO control_plane.projects VALUES
			('acme', 'Acme', 'active', 'acme_s'), ('gone', 'Gone', 'SUSPENDED', 'gone_s'), ('odd', 'Odd', NULL, 'odd_s'),
			('bare', 'Bare', 'ACTIVE', NULL), ('twin', 'A', 'ACTIVE', 'a'), ('twin', 'B', 'ACTIVE', 'b'), ('anon', NULL, 'ACTIVE', 'anon_s');
		CREATE TABLE rich (id text, name text, active boolean, schemas text[], role text, dsn text);
		INSERT INTO rich VALUES
			('all', 'All', true, '{b,a,b}', 'all_role', 'postgres://u:canary@h/d'), ('plain', 'Plain', true, '{p}', NULL, NULL),
			('empty', 'E', true, '{}', NULL, NULL), ('null', 'N', true, NULL, NULL, NULL),
			('hole', 'H', true, '{h,NULL}', NULL, NULL), ('blank', 'B', true, '{h,""}', NULL, NULL);
		CREATE ROLE reader LOGIN PASSWORD 'r'`)
	return err
}

var execMode = flag.String("exec-mode", "", "default_query_exec_mode of every pool: the whole suite holds in each")

func newPool(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	if *execMode != "" && !strings.Contains(url, "default_query_exec_mode") {
		url += "&default_query_exec_mode=" + *execMode
	}
	pool, err := controlplane.Connect(context.Background(), secret.String(url), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

const richQuery = `SELECT dsn, role, schemas, active, name, id FROM rich WHERE id = $1`

func TestLookupReturnsAnActiveProject(t *testing.T) {
	t.Parallel()
	pool := newPool(t, cluster.URL("postgres"))
	for name, tc := range map[string]struct {
		query, id string
		want      export.Project
	}{
		"default query":      {"", "acme", export.Project{ID: "acme", Name: "Acme", Schemas: []string{"acme_s"}}},
		"no name":            {"", "anon", export.Project{ID: "anon", Schemas: []string{"anon_s"}}},
		"everything":         {richQuery, "all", export.Project{ID: "all", Name: "All", Schemas: []string{"b", "a"}, Role: "all_role", DSN: "postgres://u:canary@h/d"}},
		"optional are null":  {richQuery, "plain", export.Project{ID: "plain", Name: "Plain", Schemas: []string{"p"}}},
		"with recipients":    {`SELECT $1 AS id, 'x' AS name, true AS active, '{s}'::text[] AS schemas, '{age1x,ssh-ed25519 A}'::text[] AS recipients`, "x", export.Project{ID: "x", Name: "x", Schemas: []string{"s"}, Recipients: []string{"age1x", "ssh-ed25519 A"}}},
		"with a level":       {`SELECT $1 AS id, 'x' AS name, true AS active, '{s}'::text[] AS schemas, 'best'::text AS compression_level`, "x", export.Project{ID: "x", Name: "x", Schemas: []string{"s"}, Level: "best"}},
		"none":               {`SELECT $1 AS id, 'x' AS name, true AS active, '{s}'::text[] AS schemas, NULL::text[] AS recipients`, "x", export.Project{ID: "x", Name: "x", Schemas: []string{"s"}}},
		"an empty recipient": {`SELECT $1 AS id, 'x' AS name, true AS active, '{s}'::text[] AS schemas, '{age1x,NULL}'::text[] AS recipients`, "x", export.Project{ID: "x", Name: "x", Schemas: []string{"s"}, Recipients: []string{"age1x", ""}}},
		"other string types": {`SELECT $1::varchar(9) AS id, 'x'::name AS name, true AS active, '{s}'::varchar[] AS schemas`, "x", export.Project{ID: "x", Name: "x", Schemas: []string{"s"}}},
	} {
		got, err := project.New(pool, tc.query).Lookup(t.Context(), tc.id)
		if err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %+v %v, want %+v", name, got, err, tc.want)
		}
	}
}

func TestUnknownAndSuspendedProjectsGetTheSameAnswer(t *testing.T) {
	t.Parallel()
	p := project.New(newPool(t, cluster.URL("postgres")), "")
	_, unknown := p.Lookup(t.Context(), "nobody")
	fault, ok := errors.AsType[*export.Fault](unknown)
	if !ok || fault.Code != codes.ProjectNotFound || !fault.Code.Permanent() {
		t.Fatalf("%v, want project_not_found", unknown)
	}
	for _, id := range []string{"gone", "odd", "", "ACME", "acme' OR true --", "%"} {
		if _, err := p.Lookup(t.Context(), id); !reflect.DeepEqual(err, unknown) {
			t.Errorf("%q: %#v, want the very same as for an unknown one: %#v", id, err, unknown)
		}
	}
	// A query that ignores case must not return a project with another spelling.
	loose := project.New(newPool(t, cluster.URL("postgres")), `SELECT id, name, active, schemas FROM rich WHERE lower(id) = lower($1)`)
	if _, err := loose.Lookup(t.Context(), "ALL"); !reflect.DeepEqual(err, unknown) {
		t.Errorf("other spelling: %v, want %v", err, unknown)
	}
}

func TestAProjectWithoutUsableSchemasOrWithTwoRowsIsRefused(t *testing.T) {
	t.Parallel()
	pool := newPool(t, cluster.URL("postgres"))
	for _, tc := range []struct {
		query, id string
		code      codes.Code
	}{
		{"", "bare", codes.SchemaNotFound},
		{richQuery, "empty", codes.SchemaNotFound},
		{richQuery, "null", codes.SchemaNotFound},
		{richQuery, "hole", codes.SchemaNotFound},
		{richQuery, "blank", codes.SchemaNotFound},
		{"", "twin", codes.InternalError},
	} {
		got, err := project.New(pool, tc.query).Lookup(t.Context(), tc.id)
		if fault, ok := errors.AsType[*export.Fault](err); !ok || fault.Code != tc.code {
			t.Errorf("%s: %+v %v, want %s", tc.id, got, err, tc.code)
		}
	}
}

func TestCheckFindsAWrongQueryAtStart(t *testing.T) {
	t.Parallel()
	pool := newPool(t, cluster.URL("postgres"))
	for name, tc := range map[string]struct{ query, says string }{
		"syntax":            {`SELEC`, "syntax error"},
		"unknown table":     {`SELECT id, name, active, schemas FROM nowhere WHERE id = $1`, "nowhere"},
		"column missing":    {`SELECT id, name, active FROM rich WHERE id = $1`, `"schemas" is missing`},
		"column misspelt":   {`SELECT id, name, active, schemas, dsn AS dns FROM rich WHERE id = $1`, `"dns" is unknown`},
		"column twice":      {`SELECT id, name, name, active, schemas FROM rich WHERE id = $1`, `"name" is there twice`},
		"id no text":        {`SELECT 1 AS id, name, active, schemas FROM rich WHERE id = $1`, `"id" must be of type text`},
		"active no boolean": {`SELECT id, name, 'yes' AS active, schemas FROM rich WHERE id = $1`, `"active" must be of type boolean`},
		"schemas no array":  {`SELECT id, name, active, name AS schemas FROM rich WHERE id = $1`, `"schemas" must be of type text[]`},
		"no parameter":      {`SELECT id, name, active, schemas FROM rich`, "expected 0 arguments"},
		"two parameters":    {`SELECT id, name, active, schemas FROM rich WHERE id = $1 AND name = $2`, "expected 2 arguments"},
		"parameter unused":  {`SELECT id, name, active, schemas FROM rich WHERE $1::text IS NOT NULL`, "compare with $1"},
		"parameter no text": {`SELECT id, name, active, schemas FROM rich WHERE length(id) = $1`, "id::text = $1"},
		"two statements":    {`SELECT id, name, active, schemas FROM rich WHERE id = $1; SELECT 1`, "multiple commands"},
	} {
		err := project.New(pool, tc.query).Check(t.Context())
		if !errors.Is(err, project.ErrQuery) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want an unusable query: %s", name, err, tc.says)
		}
	}
	for _, q := range []string{"", richQuery} {
		if err := project.New(pool, q).Check(t.Context()); err != nil {
			t.Errorf("%q: %v", q, err)
		}
	}
}

func TestAMissingRightIsFoundAtStart(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(cluster.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("reader", "r")
	if err := project.New(newPool(t, u.String()), richQuery).Check(t.Context()); !errors.Is(err, project.ErrQuery) {
		t.Errorf("%v, want an unusable query", err)
	}
}

func TestAnOutageOfTheControlPlaneIsNoAnswer(t *testing.T) {
	t.Parallel()
	own := pgtest.Start(t, pgcluster.Config{InMemory: true})
	p := project.New(newPool(t, own.URL("postgres")), `SELECT $1::text AS id, 'n' AS name, $1 <> '' AS active, '{s}'::text[] AS schemas WHERE $1 <> ''`)
	if err := p.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := own.Halt(t.Context(), "fast"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // first on the connection that was cut, then on none
		if _, err := p.Lookup(t.Context(), "a"); !errors.Is(err, export.ErrLedgerUnavailable) {
			t.Errorf("lookup: %v, want ledger unavailable", err)
		}
		if err := p.Check(t.Context()); !errors.Is(err, export.ErrLedgerUnavailable) || errors.Is(err, project.ErrQuery) {
			t.Errorf("check: %v, want ledger unavailable", err)
		}
	}
	if err := own.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Lookup(t.Context(), "a"); err != nil || got.ID != "a" {
		t.Errorf("after the outage: %+v %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Lookup(ctx, "a"); errors.Is(err, export.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, want just that", err)
	}
}

// A request does not lose its attempt when a table is altered under a cached statement.
func TestAChangedTableIsNoticedWithoutAnError(t *testing.T) {
	t.Parallel()
	pool := newPool(t, cluster.URL("postgres")+"&pool_max_conns=1")
	if _, err := pool.Exec(t.Context(), `DROP TABLE IF EXISTS changing; CREATE TABLE changing AS SELECT 'c'::text AS id, 'C'::text AS name, true AS active, '{c}'::text[] AS schemas`); err != nil {
		t.Fatal(err)
	}
	p := project.New(pool, `SELECT * FROM changing WHERE id = $1`)
	if _, err := p.Lookup(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `ALTER TABLE changing ALTER name TYPE varchar(5), ADD role text DEFAULT 'r'`); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Lookup(t.Context(), "c"); err != nil || got.Role != "r" {
		t.Errorf("%+v %v, want the new column's role", got, err)
	}
}

// A pooler's guide recommends to set the query mode. In each mode the types of the query's
// parameter and columns are the server's.
func TestEveryQueryModeLooksProjectsUp(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			pool := newPool(t, cluster.URL("postgres")+"&default_query_exec_mode="+mode)
			p := project.New(pool, `SELECT id::text AS id, 'n' AS name, true AS active, ARRAY['s'] AS schemas FROM (VALUES ('7'::name)) v(id) WHERE id = $1`)
			if err := p.Check(t.Context()); err != nil {
				t.Error(err)
			}
			if got, err := p.Lookup(t.Context(), "7"); err != nil || got.ID != "7" || !reflect.DeepEqual(got.Schemas, []string{"s"}) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}
