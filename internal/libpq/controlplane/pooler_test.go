package controlplane_test

import (
	"errors"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/pgcourier/pgcourier/internal/dev/pgbouncer"
	"github.com/pgcourier/pgcourier/internal/dev/pgtest"
	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// In transaction mode a statement's name exists in another session (42P05), or not at all (26000).
func TestNoStatementIsNamedBehindAPooler(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Start(t, pgcluster.Config{InMemory: true})
	pooler, err := pgbouncer.Start(t.Context(), pgbouncer.Config{
		Server: cluster.URL("postgres"), Mode: "transaction", Settings: map[string]string{"default_pool_size": "3"},
	})
	if errors.Is(err, pgbouncer.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pooler.Stop(); err != nil {
			t.Error(err)
		}
	})
	for url, want := range map[string]bool{cluster.URL("postgres"): false, pooler.URL("postgres"): true} {
		var workers errgroup.Group
		for range 4 {
			pool, err := controlplane.Connect(t.Context(), secret.String(url), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			if got, err := controlplane.Pooled(t.Context(), pool); err != nil || got != want {
				t.Errorf("%t, %v; want %t", got, err, want)
			}
			for range 4 {
				workers.Go(func() error {
					for i := range 50 {
						var n int
						if err := pool.QueryRow(t.Context(), "SELECT $1::int + $2::int", i, 1).Scan(&n); err != nil {
							return err
						}
					}
					return nil
				})
			}
		}
		if err := workers.Wait(); err != nil {
			t.Error(err)
		}
	}
}
