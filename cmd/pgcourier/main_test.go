package main_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	pgcourier "github.com/pgcourier/pgcourier/cmd/pgcourier"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/sandbox"
)

// cluster is shared by all tests; each platform has a database of its own in it. scratch
// is a folder that lasts as long.
var (
	cluster *pgcluster.Cluster
	scratch string
)

// TestMain makes the test binary a pgcourier too: under that name, first on the PATH, it
// runs main. So workers and commands are real processes.
func TestMain(m *testing.M) {
	sandbox.Enter()
	testscript.Main(suite{m}, map[string]func(){"pgcourier": func() { os.Exit(pgcourier.MainCode()) }})
}

type suite struct{ *testing.M }

// Run runs the tests beside one PostgreSQL cluster.
func (s suite) Run() int {
	flag.Parse()
	if err := s.configure(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := s.M.Run()
	err := errors.Join(cluster.Stop(), os.RemoveAll(scratch))
	if err = errors.Join(err, goleak.Find()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// template is the database that each platform's is a copy of.
const template = "platform_template"

func (suite) configure() error {
	// Most tests wait for a broker's or a lock's time to pass, not for a processor.
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", "6"); err != nil {
			return err
		}
	}
	ctx := context.Background()
	var err error
	if scratch, err = os.MkdirTemp("", "pgcourier-test-"); err != nil {
		return err
	}
	if cluster, err = pgcluster.Start(ctx, pgcluster.Config{}); err != nil {
		return err
	}
	sql, err := os.ReadFile("testdata/platform.sql")
	if err == nil {
		err = executeIn(ctx, "postgres", "CREATE DATABASE "+template)
	}
	if err == nil {
		err = executeIn(ctx, template, string(sql))
	}
	if err != nil {
		return errors.Join(err, cluster.Stop())
	}
	return nil
}

func executeIn(ctx context.Context, database, sql string) error {
	conn, err := pgx.Connect(ctx, cluster.URL(database))
	if err != nil {
		return err
	}
	_, err = conn.PgConn().Exec(ctx, sql).ReadAll()
	return errors.Join(err, conn.Close(ctx))
}
