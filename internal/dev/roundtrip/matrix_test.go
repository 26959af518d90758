package roundtrip_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pgcourier/pgcourier/internal/dev/pgtest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/pgversion"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/file"
)

var (
	matrix = flag.String("matrix", "", "try every pair of server and client that is at hand, and write the table to this file; make matrix does")
	which  = flag.Bool("versions", false, "only print the pairs that are tried without -matrix")
)

// TestEveryPairOfServerAndClientRestoresTheSource exports, verifies, restores and compares.
// Without -matrix it tries the oldest and the newest server.
func TestEveryPairOfServerAndClientRestoresTheSource(t *testing.T) {
	t.Parallel()
	all, err := selected()
	if err != nil {
		t.Fatal(err)
	}
	newest := start(t, all[len(all)-1].server)
	var tried table
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].server == all[0].server {
			n++
		}
		of := make(table, n)
		for i, p := range all[:n] {
			of[i] = &row{p, map[string]string{}}
		}
		t.Run("server "+all[0].server.Text, func(t *testing.T) { tryServer(t, of, newest) })
		tried, all = append(tried, of...), all[n:]
	}
	if *matrix == "" {
		return
	}
	if err := tried.save(*matrix); err != nil {
		t.Error(err)
	}
}

// start runs a server until the test's end.
func start(t *testing.T, v libpq.Version) server {
	t.Helper()
	bin, remove, err := reachable(t.Context(), v.Path)
	if remove != nil {
		t.Cleanup(func() { report(t, remove()) })
	}
	if err != nil {
		t.Fatal(err)
	}
	running := pgtest.Start(t, pgcluster.Config{InMemory: true, BinDir: bin})
	return server{Cluster: running}
}

// tryServer tries one server with each of its clients.
func tryServer(t *testing.T, of table, newest server) {
	t.Helper()
	s := start(t, of[0].server)
	if err := s.fill(t.Context(), "source"); err != nil {
		t.Fatal(err)
	}
	// The query fills a materialized view, so it runs on a copy.
	if err := s.execute(t.Context(), "postgres", "CREATE DATABASE looked_at TEMPLATE source"); err != nil {
		t.Fatal(err)
	}
	want, err := s.look(t.Context(), "looked_at")
	if err != nil {
		t.Fatal(err)
	}
	// It shares a dump with the others; schemas that refer to each other cannot.
	if err := s.execute(t.Context(), "source", "CREATE SCHEMA beside; CREATE TABLE beside.numbers AS SELECT n FROM generate_series(1, 1000) AS n"); err != nil {
		t.Fatal(err)
	}
	for _, r := range of {
		s.clients = filepath.Dir(r.client.Path)
		t.Run("client "+r.client.Text, func(t *testing.T) {
			for _, f := range []export.Format{export.SQL, export.Custom, export.Tar, export.Directory} {
				t.Run(string(f), func(t *testing.T) { s.tryFormat(t, f, want, r, newest) })
			}
			for _, f := range []export.Format{export.SQL, export.Custom} {
				t.Run("group "+string(f), func(t *testing.T) { s.tryGroup(t, f, want, r) })
			}
		})
	}
}

func report(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// tryFormat exports once and restores with pgcourier, over one connection and over several, to the
// same server and to the newest, and by hand.
func (s server) tryFormat(t *testing.T, f export.Format, want side, r *row, newest server) {
	t.Helper()
	store := folder(t)
	a := s.export(t, store, "source", "r", f, seal.Plain, "", nil)
	if a.PgDumpVersion != r.client.Text {
		t.Errorf("exported by pg_dump %s", a.PgDumpVersion)
	}
	x := stored(t, store, a, f, "acme")
	unknown := pgversion.Has(r.client.Major, pgversion.TransactionTimeout) && !pgversion.Has(r.server.Major, pgversion.TransactionTimeout)
	s.try(t, want, r, string(f), func(database string) (string, error) {
		return equal, s.restore(t, x, database, 0)
	})
	if f == export.Custom || f == export.Directory {
		s.try(t, want, r, "--jobs", func(database string) (string, error) {
			err := s.restore(t, x, database, 2)
			if !unknown {
				return equal, err
			}
			switch {
			case err == nil:
				return "", errors.New("jobs are not refused")
			case errors.Is(err, restore.ErrJobs):
				return refused, nil
			}
			return "", err
		})
	}
	newest.clients = s.clients
	newest.try(t, side{rows: want.rows}, r, "to the newest", func(database string) (string, error) {
		return equal, newest.restore(t, x, database, 0)
	})
	s.try(t, want, r, "by hand", func(database string) (string, error) {
		return s.byHand(t, x, database, f, unknown)
	})
}

// try lets run restore into a new database and compares that with the source. run returns the text
// of the table if there is no error.
func (s server) try(t *testing.T, want side, r *row, column string, run func(database string) (string, error)) {
	t.Helper()
	database := fmt.Sprintf("r%d", databases.Add(1))
	if err := s.execute(t.Context(), "postgres", "CREATE DATABASE "+database); err != nil {
		t.Fatal(err)
	}
	result, err := run(database)
	var got side
	if err == nil && result != refused {
		got, err = s.look(t.Context(), database)
	}
	if err != nil {
		t.Errorf("%s: %v", column, err)
		result = failed
	} else if diffs := compare(want, got); result != refused && len(diffs) > 0 {
		t.Errorf("%s: %d differences:\n%s", column, len(diffs), strings.Join(diffs[:min(len(diffs), 20)], "\n"))
		result = failed
	}
	r.set(column, result)
	report(t, s.execute(context.WithoutCancel(t.Context()), "postgres", "DROP DATABASE "+database))
}

// byHand restores without pgcourier. A server that does not know transaction_timeout refuses the
// script; without that line, which is among the first ones, it accepts it.
func (s server) byHand(t *testing.T, x restore.Export, database string, f export.Format, unknown bool) (string, error) {
	t.Helper()
	read := func(use func(dump io.Reader) error) error {
		dump, err := x.Open(t.Context())
		if err != nil {
			return err
		}
		return errors.Join(use(dump), dump.Close())
	}
	err := read(func(dump io.Reader) error { return s.feed(t.Context(), database, f, dump) })
	if !unknown {
		return equal, err
	}
	switch {
	case err == nil:
		return "", errors.New("the server takes transaction_timeout")
	case !strings.Contains(err.Error(), "transaction_timeout"):
		return "", err
	}
	script := filepath.Join(t.TempDir(), "script")
	err = read(func(dump io.Reader) error { return s.writeScript(t.Context(), script, f, dump) })
	if err == nil {
		var out []byte
		if out, err = exec.CommandContext(t.Context(), "sed", "--in-place", "1,40{/^SET transaction_timeout = 0;$/d}", script).CombinedOutput(); err != nil {
			err = fmt.Errorf("sed: %w: %s", err, out)
		}
	}
	if err != nil {
		return "", err
	}
	in, err := os.Open(script)
	if err != nil {
		return "", err
	}
	return without, errors.Join(s.feed(t.Context(), database, export.SQL, in), in.Close())
}

// tryGroup exports two projects from one dump.
func (s server) tryGroup(t *testing.T, f export.Format, want side, r *row) {
	t.Helper()
	store := folder(t)
	var log bytes.Buffer
	groups, err := pgdump.NewGroupDumper(pgdump.GroupConfig{
		Dumper: s.dumper(t, "source", slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))),
	})
	if err != nil {
		t.Fatal(err)
	}
	projects := [][]string{schemas, {"beside"}}
	made, errs := make([]*export.Artifact, len(projects)), make([]error, len(projects))
	var all sync.WaitGroup
	for i, m := range groups.NewGroup(export.GroupKey{}, len(projects)) {
		all.Go(func() {
			made[i], errs[i] = exportBy(t.Context(), m, store, projects[i], export.Request{
				ID: export.ID{Project: fmt.Sprint("p", i), Request: "r"}, Format: f, Compression: seal.Plain,
			}, nil)
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), fmt.Sprintf("parts=%d", len(projects))) {
		t.Errorf("the projects were not dumped together: %s", log.String())
	}
	s.try(t, want, r, "in a group", func(database string) (string, error) {
		for i, a := range made {
			if err := s.restore(t, stored(t, store, a, f, fmt.Sprint("p", i)), database, 0); err != nil {
				return "", err
			}
		}
		return equal, nil
	})
}

func folder(t *testing.T) *storage.Repository {
	t.Helper()
	driver, err := file.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = driver.Close() })
	store, err := storage.New(storage.Config{Driver: driver})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// stored is the export of a project's request r.
func stored(t *testing.T, from *storage.Repository, a *export.Artifact, f export.Format, project string) restore.Export {
	t.Helper()
	key := project + "/r.1" + f.Extension() + seal.Extension(seal.Plain, a.Encryption)
	doc, err := from.Manifest(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return restore.Export{Manifest: doc.Manifest, Open: func(ctx context.Context) (io.ReadCloser, error) { return from.Open(ctx, key) }}
}

// restore is pgcourier's own, which verifies the export first and counts all rows in the target.
func (s server) restore(t *testing.T, x restore.Export, database string, jobs int) error {
	t.Helper()
	target, err := libpq.Parse(export.Secret(s.URL(database)))
	if err != nil {
		return err
	}
	_, err = restore.New(restore.Config{BinDirs: []string{s.clients}, SpoolDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}).
		Restore(t.Context(), x, restore.Target{Source: target, Jobs: jobs}, nil)
	return err
}
