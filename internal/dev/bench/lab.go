package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/internal/pgcluster"
)

const (
	module          = "github.com/pgcourier/pgcourier"
	controlDatabase = "control"
	projectQuery    = `SELECT id, id AS name, true AS active, ARRAY[schema_name] AS schemas, dsn FROM projects WHERE id = $1`
)

// lab holds what all parts share: the programs, a PostgreSQL server, and a folder on the disk of
// all outputs.
type lab struct {
	options
	dir     string
	binary  string // pgcourier as it is shipped
	self    string // this program, for the test servers
	cluster *pgcluster.Cluster
	clients string // folder of the client tools; empty: the server's
	serial  int
	storage string // the folder that the ledger knows; empty: none yet
}

// openLab builds and starts everything. The caller closes it.
func openLab(ctx context.Context, o options) (l *lab, err error) {
	l = &lab{options: o}
	if l.dir, err = os.MkdirTemp("", "pgcourier-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	o.tell("building")
	l.binary = filepath.Join(l.dir, "pgcourier")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", l.binary, module+"/cmd/pgcourier") //nolint:gosec // our own package
	if out, err := cmd.CombinedOutput(); err != nil {
		return l, fmt.Errorf("go build: %w: %s", err, bytes.TrimSpace(out))
	}
	if l.self, err = os.Executable(); err != nil {
		return l, err
	}
	o.tell("starting PostgreSQL")
	return l, l.startServer(ctx, "")
}

// startServer starts the server in bin, empty: the newest installed one, and makes the control plane.
func (l *lab) startServer(ctx context.Context, bin string) (err error) {
	l.cluster, err = pgcluster.Start(ctx, pgcluster.Config{BinDir: bin, Settings: map[string]string{
		"shared_buffers": "'256MB'", "max_connections": "200", "max_locks_per_transaction": "1024",
		// As in production: the ledger's commits wait for the disk.
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on",
		// Rows that a transaction loads into its own table need no log: it is there sooner.
		"wal_level": "minimal", "max_wal_senders": "0",
	}})
	if err != nil {
		return err
	}
	if err := l.execute(ctx, "postgres", "CREATE DATABASE "+controlDatabase); err != nil {
		return err
	}
	return l.execute(ctx, controlDatabase, `CREATE TABLE projects (id text PRIMARY KEY, schema_name text NOT NULL, dsn text NOT NULL)`)
}

func (l *lab) close() error {
	var err error
	if l.cluster != nil {
		err = l.cluster.Stop()
	}
	return errors.Join(err, os.RemoveAll(l.dir))
}

// tool returns the path of one of PostgreSQL's own clients, never of Debian's wrapper.
func (l *lab) tool(name string) string {
	return filepath.Join(cmp.Or(l.clients, l.cluster.BinDir), name)
}

// execute runs statements on a database, each by itself.
func (l *lab) execute(ctx context.Context, database string, statements ...string) error {
	conn, err := pgx.Connect(ctx, l.cluster.URL(database))
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

// loading runs load on a server that does not sync, because tens of thousands of files would take
// minutes. Afterwards the server syncs again, and all data is on the disk.
func (l *lab) loading(ctx context.Context, load func() error) error {
	err := l.execute(ctx, "postgres", "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
	if err == nil {
		err = load()
	}
	if err == nil {
		err = l.execute(ctx, "postgres", "CHECKPOINT", "ALTER SYSTEM SET fsync = on", "SELECT pg_reload_conf()")
	}
	l.settle()
	return err
}

// enrol adds projects to the control plane.
func (l *lab) enrol(ctx context.Context, database string, schemas map[string]string) error {
	conn, err := pgx.Connect(ctx, l.cluster.URL(controlDatabase))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	batch := &pgx.Batch{}
	for id, schema := range schemas {
		batch.Queue(`INSERT INTO projects VALUES ($1, $2, $3)`, id, schema, l.cluster.URL(database))
	}
	return conn.SendBatch(ctx, batch).Close()
}

// drop removes a database that no part needs any more.
func (l *lab) drop(ctx context.Context, database string) error {
	return l.execute(ctx, "postgres", "DROP DATABASE "+database+" WITH (FORCE)")
}

// folder creates an empty folder.
func (l *lab) folder(name string) (string, error) {
	l.serial++
	dir := filepath.Join(l.dir, name+"-"+strconv.Itoa(l.serial))
	return dir, os.Mkdir(dir, 0o700)
}

// serverProcessor returns the processor seconds of PostgreSQL's processes so far.
func (l *lab) serverProcessor() float64 { return processor(l.postmaster()) }

func (l *lab) postmaster() int {
	b, _ := os.ReadFile(filepath.Join(l.cluster.Folder, "data", "postmaster.pid"))
	first, _, _ := strings.Cut(string(b), "\n")
	pid, _ := strconv.Atoi(first)
	return pid
}

// notable is the least size of a project for which the disk affects the result.
const notable = 64 << 20

// settle lets the disk finish what one run wrote before the next is timed. sync waits for all
// writers on the machine, so a trial at the smallest scale skips it.
func (l *lab) settle() {
	if l.size >= notable {
		unix.Sync()
	}
}
