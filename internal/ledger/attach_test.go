package ledger_test

import (
	"errors"
	"net/url"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

func TestAttachChangesNothing(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t)
	b := &bench{pool: newPool(t, dsn)}
	if _, err := ledger.Attach(t.Context(), ledger.Config{Pool: b.pool}); !errors.Is(err, ledger.ErrNotMigrated) {
		t.Errorf("an empty database: %v", err)
	}
	var schemas int
	if b.scan(t, "SELECT count(*) FROM pg_namespace WHERE nspname = 'pgcourier'", &schemas); schemas != 0 {
		t.Error("it made the schema")
	}
	if _, err := ledger.Open(t.Context(), ledger.Config{Pool: b.pool}); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Attach(t.Context(), ledger.Config{Pool: b.pool})
	if err != nil {
		t.Fatal(err)
	}
	if missing, err := l.MissingRights(t.Context(), ledger.Uses{Prunes: true, Forgets: true}); err != nil || len(missing) != 0 {
		t.Errorf("its owner lacks %q (%v)", missing, err)
	}
	for _, c := range []struct {
		change string
		want   error
	}{{"version - 1", ledger.ErrNotMigrated}, {"version + 2", ledger.ErrSchemaTooNew}} { // one after the other
		b.exec(t, "UPDATE pgcourier.schema_version SET version = "+c.change)
		if _, err := ledger.Attach(t.Context(), ledger.Config{Pool: b.pool}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.change, err, c.want)
		}
	}
	away := newPool(t, "postgres://nobody@127.0.0.1:1/none?sslmode=disable")
	if _, err := ledger.Attach(t.Context(), ledger.Config{Pool: away}); !errors.Is(err, export.ErrLedgerUnavailable) {
		t.Errorf("no server: %v", err)
	}
}

func TestMissingRightsAreNamed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	u, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	login := u.Path[1:] + "_reader"
	b.exec(t, `CREATE ROLE `+login+` LOGIN PASSWORD 'w'`)
	t.Cleanup(func() { execOn(t, b.url, `DROP OWNED BY `+login+`; DROP ROLE `+login) })
	u.User = url.UserPassword(login, "w")
	pool := newPool(t, u.String())
	_, err = ledger.Attach(t.Context(), ledger.Config{Pool: pool})
	if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "42501" {
		t.Errorf("no right to the schema: %v", err)
	}
	b.exec(t, `GRANT USAGE ON SCHEMA pgcourier TO `+login)
	b.exec(t, `GRANT SELECT ON ALL TABLES IN SCHEMA pgcourier TO `+login)
	b.exec(t, `GRANT INSERT, UPDATE ON pgcourier.requests TO `+login)
	l, err := ledger.Attach(t.Context(), ledger.Config{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	missing, err := l.MissingRights(t.Context(), ledger.Uses{})
	if slices.Contains(missing, "INSERT on pgcourier.expiries") || slices.Contains(missing, "DELETE on pgcourier.requests") {
		t.Errorf("without pruning and forgetting: missing %q", missing)
	}
	if missing, err := l.MissingRights(t.Context(), ledger.Uses{Forgets: true}); err != nil || !slices.Contains(missing, "DELETE on pgcourier.requests") || slices.Contains(missing, "DELETE on pgcourier.attempts") {
		t.Errorf("with forgetting: missing %q (%v)", missing, err)
	}
	if missing, err := l.MissingRights(t.Context(), ledger.Uses{Prunes: true}); err != nil || !slices.Contains(missing, "INSERT on pgcourier.expiries") {
		t.Errorf("with pruning: missing %q (%v)", missing, err)
	}
	for _, want := range []string{"INSERT on pgcourier.attempts", "UPDATE on pgcourier.attempts", "DELETE on pgcourier.storage_notes"} {
		if err != nil || !slices.Contains(missing, want) || slices.Contains(missing, "UPDATE on pgcourier.requests") {
			t.Errorf("missing are %q (%v), want %s among them", missing, err, want)
		}
	}
}
