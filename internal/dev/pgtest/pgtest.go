// Package pgtest starts PostgreSQL servers for single tests.
package pgtest

import (
	"testing"

	"github.com/pgcourier/pgcourier/internal/pgcluster"
)

// Start starts a server for one test. The end of the test stops it.
func Start(t testing.TB, c pgcluster.Config) *pgcluster.Cluster {
	t.Helper()
	started, err := pgcluster.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := started.Stop(); err != nil {
			t.Error(err)
		}
	})
	return started
}
