package roundtrip_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/dev/pgtest"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// TestTheTableOfVersionsHolds asks the servers and the client tools that are at hand, all of
// them with -matrix, for each row of pgversion. How pg_dump writes plain text
// (pgversion.PlainOnStdout) is seen in the tests of pgdump.
func TestTheTableOfVersionsHolds(t *testing.T) {
	t.Parallel()
	all, err := selected()
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range all {
		if i > 0 && p.server == all[i-1].server {
			continue
		}
		t.Run("server "+p.server.Text, func(t *testing.T) {
			t.Parallel()
			bin, remove, err := reachable(t.Context(), p.server.Path)
			if remove != nil {
				t.Cleanup(func() { report(t, remove()) })
			}
			if err != nil {
				t.Fatal(err)
			}
			running := pgtest.Start(t, pgcluster.Config{InMemory: true, BinDir: bin})
			s := server{Cluster: running}
			s.knownServer(t, p.server.Major)
			for _, other := range all {
				if other.server == p.server {
					s.clients = filepath.Dir(other.client.Path)
					t.Run("client "+other.client.Text, func(t *testing.T) { s.knownClient(t, other.client) })
				}
			}
		})
	}
}

// knownServer compares what the server has with what is known of its major version.
func (s server) knownServer(t *testing.T, major int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { report(t, conn.Close(t.Context())) }()
	const setting = "SELECT EXISTS (SELECT FROM pg_settings WHERE name = '"
	for feature, query := range map[pgversion.Feature]string{
		pgversion.JIT:                setting + "jit')",
		pgversion.ClientCheck:        setting + "client_connection_check_interval')",
		pgversion.TransactionTimeout: setting + "transaction_timeout')",
		pgversion.GrantInherit:       "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'pg_auth_members'::regclass AND attname = 'inherit_option')",
	} {
		var has bool
		if err := conn.QueryRow(t.Context(), query).Scan(&has); err != nil {
			t.Fatal(err)
		}
		if has != pgversion.Has(major, feature) {
			t.Errorf("PostgreSQL %d: %s is %t", major, query, has)
		}
	}
	_, err = conn.Exec(t.Context(), "DROP DATABASE IF EXISTS missing WITH (FORCE)")
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if err != nil && (!ok || refused.Code != "42601") { // a syntax error
		t.Fatal(err)
	}
	if has := err == nil; has != pgversion.Has(major, pgversion.DropForce) {
		t.Errorf("PostgreSQL %d: DROP DATABASE WITH (FORCE): %v", major, err)
	}
}

// knownClient compares what the client tools do with what is known of their version.
func (s server) knownClient(t *testing.T, v libpq.Version) {
	t.Helper()
	output := func(input, tool string, args ...string) (string, error) {
		cmd, err := s.client(t.Context(), "postgres", tool, args...)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdin = strings.NewReader(input)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		return string(out) + stderr.String(), err
	}
	help, err := output("", "pg_dump", "--help")
	if has := strings.Contains(help, "--no-comments"); err != nil || has != pgversion.Has(v.Major, pgversion.NoComments) {
		t.Errorf("pg_dump %s has --no-comments: %t, %v", v.Text, has, err)
	}
	// The header: PGDMP, then the version's two numbers.
	dump, err := output("", "pg_dump", "--format=custom", "--schema-only")
	if want := writtenBy(v.Major); err != nil || len(dump) < 7 || dump[5] != 1 || int(dump[6]) != want {
		t.Errorf("pg_dump %s: an archive that begins %q, %v; want version 1.%d", v.Text, dump[:min(7, len(dump))], err, want)
	}
	script, err := output("", "pg_dump", "--schema-only")
	known := pgversion.Restrict(v.Major, v.Minor)
	if has := strings.Contains(script, "\n\\restrict "); err != nil || has != known {
		t.Errorf("a dump of pg_dump %s has \\restrict: %t, %v", v.Text, has, err)
	}
	if has := strings.Contains(script, "SET transaction_timeout = 0;"); has != pgversion.Has(v.Major, pgversion.TransactionTimeout) {
		t.Errorf("a dump of pg_dump %s sets transaction_timeout: %t", v.Text, has)
	}
	words, err := output("\\restrict k\n\\unrestrict k\n", "psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1")
	if has := err == nil; has != known {
		t.Errorf("psql %s knows \\restrict: %t, %s", v.Text, has, words)
	}
}

// writtenBy returns the minor number of the archive version that pg_dump of a major version writes.
func writtenBy(major int) int {
	written := pgversion.OldestArchive
	for minor := pgversion.OldestArchive; minor <= pgversion.NewestArchive; minor++ {
		if a, _ := pgversion.ArchiveOf(minor); a.Since <= major {
			written = minor
		}
	}
	return written
}
