package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/pgcluster/contents"
)

// options are the command's options.
type options struct {
	faults       []string // names; empty: all
	requests     int      // of each fault
	ackWait      time.Duration
	out          string // the JSON report; empty: none
	allowMissing bool   // a fault that cannot be had here is no violation
	log          *slog.Logger
}

// lab holds what all faults share: the programs, two PostgreSQL clusters, and the edges to the
// source.
type lab struct {
	options options
	dir     string
	edges   *edges

	pgcourier, natsd, shifted string

	control, source *pgcluster.Cluster
	ledger, origin  *pgxpool.Pool // the harness's own ways into control plane and source
	sourceEdge      *edge         // all projects but the slow one
	slowEdge        *edge         // the slow project's
	truth           map[string]map[string]contents.Table
}

const (
	controlDatabase = "control"
	seedDatabase    = "seed" // what each fault's control plane is copied from
	sourceDatabase  = "source"
	scratchDatabase = "scratch"

	projectQuery = `SELECT id, id AS name, true AS active, ARRAY[schema_name] AS schemas, dsn FROM control_plane.projects WHERE id = $1`
)

// openLab builds, starts and loads everything. The caller closes it.
func openLab(ctx context.Context, o options) (l *lab, err error) {
	dir, err := os.MkdirTemp("", "pgcourier-faults-")
	if err != nil {
		return nil, err
	}
	l = &lab{options: o, dir: dir, edges: newEdges(), truth: map[string]map[string]contents.Table{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // unprivileged workers pass through it
		return l, err
	}
	o.log.InfoContext(ctx, "building")
	if err := l.buildAll(ctx); err != nil {
		return l, err
	}
	o.log.InfoContext(ctx, "starting two clusters")
	for _, c := range []**pgcluster.Cluster{&l.control, &l.source} {
		if *c, err = pgcluster.Start(ctx, pgcluster.Config{InMemory: true, Settings: map[string]string{
			"shared_buffers": "'64MB'",
			// A cluster that is killed must not lose committed transactions: no ledger survives that.
			"synchronous_commit": "on",
		}}); err != nil {
			return l, err
		}
	}
	return l, l.load(ctx)
}

func (l *lab) close() error {
	var errs []error
	for _, p := range []*pgxpool.Pool{l.ledger, l.origin} {
		if p != nil {
			p.Close()
		}
	}
	for _, e := range []*edge{l.sourceEdge, l.slowEdge} {
		if e != nil {
			e.cut()
		}
	}
	for _, c := range []*pgcluster.Cluster{l.control, l.source} {
		if c != nil {
			errs = append(errs, c.Stop())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(l.dir))...)
}

// exec runs statements on a database of a cluster, each by itself.
func execute(ctx context.Context, c *pgcluster.Cluster, database string, statements ...string) error {
	conn, err := pgx.Connect(ctx, c.URL(database))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("%.60s: %w", s, err)
		}
	}
	return nil
}

// load creates the tenants and their control plane, and records the contents of each tenant.
func (l *lab) load(ctx context.Context) (err error) {
	if err = execute(ctx, l.source, "postgres", "CREATE DATABASE "+sourceDatabase); err != nil {
		return err
	}
	if err = execute(ctx, l.control, "postgres", "CREATE DATABASE "+seedDatabase,
		"CREATE DATABASE "+scratchDatabase+"0", "CREATE DATABASE "+scratchDatabase+"1"); err != nil {
		return err
	}
	if l.sourceEdge, err = l.edges.open("source", l.source.Port); err != nil {
		return err
	}
	if l.slowEdge, err = l.edges.open("slow-source", l.source.Port); err != nil {
		return err
	}
	if err = l.slowEdge.slow(slowRate); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, l.control.URL(seedDatabase))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err = conn.Exec(ctx, `CREATE SCHEMA control_plane;
		CREATE TABLE control_plane.projects (id text PRIMARY KEY, schema_name text NOT NULL, dsn text NOT NULL)`); err != nil {
		return err
	}
	source, err := pgx.Connect(ctx, l.source.URL(sourceDatabase))
	if err != nil {
		return err
	}
	defer func() { _ = source.Close(context.WithoutCancel(ctx)) }()
	for _, t := range tenants() {
		if _, err := source.Exec(ctx, t.script()); err != nil {
			return fmt.Errorf("load %s: %w", t.project, err)
		}
		if l.truth[t.project], err = contents.Read(ctx, source, []string{t.schema()}); err != nil {
			return err
		}
		dsn := through(l.source.URL(sourceDatabase), l.sourceEdge)
		if t.project == slowProject {
			dsn = through(l.source.URL(sourceDatabase), l.slowEdge)
		}
		if _, err := conn.Exec(ctx, `INSERT INTO control_plane.projects VALUES ($1, $2, $3)`, t.project, t.schema(), dsn); err != nil {
			return err
		}
	}
	// Without a checkpoint a sequence has another value after the server was killed, because its log
	// is ahead.
	if _, err = source.Exec(ctx, "CHECKPOINT"); err != nil {
		return err
	}
	if l.origin, err = pgxpool.New(ctx, l.source.URL(sourceDatabase)+"&application_name=faults"); err != nil {
		return err
	}
	l.ledger, err = pgxpool.New(ctx, l.control.URL(controlDatabase)+"&application_name=faults")
	return err
}

// freshControlPlane gives the next fault an empty ledger.
func (l *lab) freshControlPlane(ctx context.Context) error {
	l.ledger.Reset()
	return execute(ctx, l.control, "postgres", "DROP DATABASE IF EXISTS "+controlDatabase+" WITH (FORCE)",
		"CREATE DATABASE "+controlDatabase+" TEMPLATE "+seedDatabase)
}

// folder makes a folder for one fault.
func (l *lab) folder(name string) (string, error) {
	dir := filepath.Join(l.dir, name)
	if err := os.Mkdir(dir, 0o711); err != nil { //nolint:gosec // unprivileged workers pass through it
		return "", err
	}
	return dir, nil
}
