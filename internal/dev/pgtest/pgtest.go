// Package pgtest starts PostgreSQL servers for the tests of a package and for single tests.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/internal/pgcluster"
)

// Main runs the tests of a package beside one server, which it assigns to cluster. prepare runs
// before the tests; nil: nothing is prepared. It returns the exit code, which is not 0 either if
// goroutines are left behind.
func Main(m *testing.M, cluster **pgcluster.Cluster, prepare func(context.Context) error) (code int) {
	ctx := context.Background()
	started, err := pgcluster.Start(ctx, pgcluster.Config{InMemory: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := errors.Join(started.Stop(), goleak.Find()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	*cluster = started
	if prepare != nil {
		if err := prepare(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

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
