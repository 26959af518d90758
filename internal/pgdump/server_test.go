package pgdump_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/pgtest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/pgdump"
)

// ownCluster is for tests that disturb the server.
func ownCluster(t *testing.T) *pgcluster.Cluster {
	t.Helper()
	return pgtest.Start(t, pgcluster.Config{InMemory: true})
}

// The steps share a cluster and run one after the other: each disturbs the server.
func TestServerFaults(t *testing.T) {
	t.Parallel()
	c := ownCluster(t)
	dsn := database(t, c, large)

	t.Run("a backend that is stopped is a stall", func(t *testing.T) {
		dump := open(t, pgdump.Config{}, job(dsn, export.SQL, "big"))
		read(t, dump, 5000)
		pid := backend(t, connect(t, dsn), "pgcourier dump")
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		pgDump := pgdump.ProcessID(dump)
		pgdump.Limit(dump, time.Hour, 2*time.Second)
		fault(t, readUntilError(t, dump), codes.DumpStalled)
		if err := dump.Close(); err != nil {
			t.Error(err)
		}
		if left := group(t, pgDump); len(left) != 0 {
			t.Errorf("processes left: %q", left)
		}
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		noSessionIsLeft(t, dsn)
	})

	t.Run("a restart in mid-dump", func(t *testing.T) {
		dump := open(t, pgdump.Config{}, job(dsn, export.SQL, "big"))
		read(t, dump, 5000)
		if err := c.Halt(t.Context(), "fast"); err != nil {
			t.Fatal(err)
		}
		if err := c.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		fault(t, readUntilError(t, dump), codes.SourceUnavailable)
	})

	t.Run("a crash in mid-dump", func(t *testing.T) {
		dump := open(t, pgdump.Config{}, job(dsn, export.Custom, "big"))
		read(t, dump, 5000)
		if err := c.Halt(t.Context(), "immediate"); err != nil {
			t.Fatal(err)
		}
		fault(t, readUntilError(t, dump), codes.SourceUnavailable)
		_, err := dumper(t, pgdump.Config{}).Open(t.Context(), job(dsn, export.SQL, "big"))
		fault(t, err, codes.SourceUnavailable)
		if err := c.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("a damaged page", func(t *testing.T) {
		conn := connect(t, dsn)
		var file string
		err := conn.QueryRow(t.Context(), "SELECT pg_relation_filepath('big.t')").Scan(&file)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Halt(t.Context(), "fast"); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(filepath.Join(c.Folder, "data", file), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte(strings.Repeat("damage", 100)), 3*8192); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := c.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		fault(t, readUntilError(t, open(t, pgdump.Config{}, parallel(dsn, 2, "big"))), codes.SourceCorrupt)
		dump := open(t, pgdump.Config{}, job(dsn, export.SQL, "big"))
		fault(t, readUntilError(t, dump), codes.SourceCorrupt)
		_, err = dump.Rows(t.Context())
		fault(t, err, codes.SourceCorrupt)
	})
}
