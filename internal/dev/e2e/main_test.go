package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/sandbox"
)

// cluster is shared by all tests; each platform has its own database in it. scratch is a folder
// with the same lifetime.
var (
	cluster *pgcluster.Cluster
	scratch string
)

const module = "github.com/pgcourier/pgcourier"

// root is the module's folder, relative to this package.
var root = filepath.Join("..", "..", "..")

// TestMain builds the program and puts it first on the PATH, so that workers and commands are
// processes of the shipped program.
func TestMain(m *testing.M) {
	sandbox.Enter()
	if args := os.Getenv(readOnlyVariable); args != "" {
		os.Exit(behindReadOnlyTmp(args))
	}
	os.Exit(run(m))
}

// run runs the tests beside one PostgreSQL cluster.
func run(m *testing.M) int {
	flag.Parse()
	if err := configure(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	err := errors.Join(cluster.Stop(), os.RemoveAll(scratch))
	if err = errors.Join(err, goleak.Find()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// template is the database that each platform copies.
const template = "platform_template"

func configure() error {
	// Most tests wait for a timeout of the broker or of a lock, not for a processor.
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
	if err := build(ctx); err != nil {
		return errors.Join(err, os.RemoveAll(scratch))
	}
	if cluster, err = pgcluster.Start(ctx, pgcluster.Config{InMemory: true}); err != nil {
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

// build builds the program with the race detector if the tests have it.
func build(ctx context.Context) error {
	bin := filepath.Join(scratch, "bin")
	args := []string{"build", "-o", filepath.Join(bin, "pgcourier")}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, module+"/cmd/pgcourier")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	// go test keeps a result until a file changes that the test has read. The test does not read
	// the sources of the program otherwise.
	for _, folder := range []string{"cmd", "events", "handlers", "internal", "schemas"} {
		if err := filepath.WalkDir(filepath.Join(root, folder), func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
			return err
		}
	}
	return os.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func executeIn(ctx context.Context, database, sql string) error {
	conn, err := pgx.Connect(ctx, cluster.URL(database))
	if err != nil {
		return err
	}
	_, err = conn.PgConn().Exec(ctx, sql).ReadAll()
	return errors.Join(err, conn.Close(ctx))
}
