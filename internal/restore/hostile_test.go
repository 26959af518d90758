package restore_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// trap is a file that an attack tries to make, with a name short enough for an object's.
func trap(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "t") //nolint:usetesting // a short name, for names of objects
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := os.Stat(filepath.Join(dir, "x")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a command from the export was executed (%v)", err)
		}
		_ = os.RemoveAll(dir)
	})
	return filepath.Join(dir, "x")
}

// hostile is a schema with names and texts that a faulty parser would execute.
func hostile(file string) string {
	name := func(kind string) string { return fmt.Sprintf("\"%s\n\\! touch %s\n\"", kind, file) }
	text := func(kind string) string {
		return fmt.Sprintf("'%s\n\\! touch %s\n\\unrestrict `touch %s`\n\\.\n'", kind, file, file)
	}
	return strings.NewReplacer("$schema", name("s"), "$table", name("t"), "$column", name("c"), "$function", name("f"),
		"$type", name("e"), "$index", name("i"), "$text", text("v"), "$file", file).Replace(`
CREATE SCHEMA $schema;
CREATE TYPE $schema.$type AS ENUM ('a', 'b');
CREATE TABLE $schema.$table (id int PRIMARY KEY, $column text DEFAULT $text CHECK ($column <> $text || 'x'), e $schema.$type);
CREATE INDEX $index ON $schema.$table ($column);
CREATE FUNCTION $schema.$function() RETURNS text LANGUAGE sql AS $text;
COMMENT ON TABLE $schema.$table IS $text;
COMMENT ON COLUMN $schema.$table.$column IS $text;
COMMENT ON SCHEMA $schema IS $text;
CREATE VIEW $schema."v" AS SELECT $column AS $index FROM $schema.$table WHERE $column = $text;
SET check_function_bodies = off;
INSERT INTO $schema.$table (id) SELECT generate_series(1, 3);
INSERT INTO $schema.$table VALUES (4, '\.', 'a'), (5, '\! touch $file', 'b'), (6, E'\\.\n\\! touch $file', NULL), (7, E'\r\n\\unrestrict', NULL), (8, '\N', NULL);
`)
}

func TestNothingInAnExportIsExecuted(t *testing.T) {
	t.Parallel()
	file := trap(t)
	schema := fmt.Sprintf("s\n\\! touch %s\n", file)
	source := database(t, "SET check_function_bodies = off;"+hostile(file))
	server, err := libpq.Parse(secret.String(cluster.URL("postgres")))
	if err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(t.TempDir(), "record")
	dirs := tool(t, "psql", fmt.Sprintf("[ \"$1\" = --version ] || { env; echo \"$@\"; } >>%s\nexec %s/psql \"$@\"\n", record, cluster.BinDir))
	for _, f := range []export.Format{export.SQL, export.Tar, export.Custom} {
		x := sealed(t, dump(t, source, f, schema), kind{format: f, compression: seal.Gzip}, schema)
		r, err := restorer(restore.Config{BinDirs: dirs}).Rehearse(t.Context(), x.Export, restore.Scratch{Server: server}, nil)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if r.Evidence.Contents.Rows() != 8 {
			t.Errorf("%s: %d rows, want 8", f, r.Evidence.Contents.Rows())
		}
	}
	b, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"PSQLRC", "PGPASSWORD", "PGSERVICE", "PSQL_HISTORY", passwordOf(t)} {
		if strings.Contains(string(b), bad) {
			t.Errorf("psql was started with %s", bad)
		}
	}
	if n := strings.Count(string(b), "--no-psqlrc"); n != 3 || strings.Count(string(b), "HOME=/nonexistent") != 3 {
		t.Errorf("psql was started %d times without its start-up file, want 3:\n%s", n, b)
	}
}

func TestAScriptWithPsqlCommandsIsNotFed(t *testing.T) {
	t.Parallel()
	file := trap(t)
	good := string(dump(t, database(t, "CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS a"), export.SQL, "s"))
	for _, command := range []string{
		`\! touch $x`, "\\unrestrict `touch $x`", "\\restrict `touch $x`", "\\echo `touch $x`", `\o |touch $x`, `\copy s.t from program 'touch $x'`,
		`\i /etc/passwd`, "SELECT 1 \\g |touch $x", "SELECT 'touch $x' \\gexec", `\set ON_ERROR_STOP off`, `\connect other`,
	} {
		command = strings.ReplaceAll(command, "$x", file)
		for what, script := range map[string]string{
			"at the beginning":   command + "\n" + good,
			"between statements": strings.Replace(good, "CREATE SCHEMA", command+"\nCREATE SCHEMA", 1),
			"after the rows":     strings.Replace(good, "\n\\.\n", "\n\\.\n"+command+"\n", 1),
			"at the end":         good + command + "\n",
		} {
			if script == good {
				t.Fatalf("%s: the script was not changed", what)
			}
			if _, err := archive.Check(strings.NewReader(script), export.SQL); err == nil {
				t.Errorf("%q %s is accepted as a part of a dump", command, what)
			}
		}
	}
	// Also if the bytes are those of the manifest: pg_restore reads archives, and its output is
	// checked before psql gets it.
	archive := sealed(t, dump(t, database(t, "CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS a"), export.Custom, "s"), kind{format: export.Custom, compression: seal.Gzip}, "s")
	dirs := tool(t, "pg_restore", fmt.Sprintf("[ \"$1\" = --version ] && exec %[1]s/pg_restore --version\n%[1]s/pg_restore \"$@\" | sed 's|^CREATE SCHEMA|\\\\! touch %[2]s\\n&|'\n", cluster.BinDir, file))
	at := database(t, "")
	_, err := restorer(restore.Config{BinDirs: dirs}).Restore(t.Context(), archive.Export, target(t, at), nil)
	if !errors.Is(err, restore.ErrUnverified) || !strings.Contains(err.Error(), "meta-command") {
		t.Errorf("a pg_restore that writes commands: %v, want unverified", err)
	}
	if n := value[int](t, at, "SELECT count(*) FROM pg_namespace WHERE nspname = 's'"); n != 0 {
		t.Error("the script was executed in part")
	}
	if out, err := exec.CommandContext(t.Context(), filepath.Join(dirs[0], "pg_restore"), "--version").CombinedOutput(); err != nil {
		t.Errorf("the tool of this test does not run: %v %s", err, out)
	}
}
