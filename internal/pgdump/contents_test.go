package pgdump_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// decision is a row of docs/contents.md.
type decision struct {
	since   int // major version; 0: any
	verdict string
}

// decisions reads the table under a heading of docs/contents.md.
func decisions(t *testing.T, heading string) map[string]decision {
	t.Helper()
	page, err := os.ReadFile("../../docs/contents.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	out := map[string]decision{}
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| kind") || strings.HasPrefix(line, "| catalogue") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		d := decision{verdict: cells[len(cells)-2]}
		if len(cells) == 4 && cells[1] != "" {
			if d.since, err = strconv.Atoi(cells[1]); err != nil {
				t.Fatalf("%s: %v", cells[0], err)
			}
		}
		if !slices.Contains([]string{"dumped", "warned", "irrelevant"}, d.verdict) {
			t.Errorf("%s is %q, want dumped, warned or irrelevant", cells[0], d.verdict)
		}
		if _, twice := out[cells[0]]; twice {
			t.Errorf("%s is decided twice", cells[0])
		}
		out[cells[0]] = d
	}
	return out
}

func TestEveryCatalogueIsDecided(t *testing.T) {
	t.Parallel()
	conn := connect(t, cluster.URL("postgres"))
	var major int
	if err := conn.QueryRow(t.Context(), "SELECT current_setting('server_version_num')::int / 10000").Scan(&major); err != nil {
		t.Fatal(err)
	}
	want := decisions(t, "Catalogues")
	there := column(t, conn, "SELECT relname::text FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r'")
	for _, name := range there {
		if d, ok := want[name]; !ok || d.since > major {
			t.Errorf("PostgreSQL %d has %s: docs/contents.md must say whether an export holds its objects", major, name)
		}
		delete(want, name)
	}
	for name, d := range want {
		if d.since <= major {
			t.Errorf("PostgreSQL %d has no %s", major, name)
		}
	}
}

// laterKinds are the additional kinds of newer servers.
var laterKinds = map[int]string{15: "CREATE PUBLICATION pub_schema FOR TABLES IN SCHEMA s"}

func TestEveryKindOfEntryIsDecided(t *testing.T) {
	t.Parallel()
	sql, err := os.ReadFile("testdata/every-kind.sql")
	if err != nil {
		t.Fatal(err)
	}
	dsn := database(t, cluster, string(sql))
	conn := connect(t, dsn)
	var major int
	var name string
	if err := conn.QueryRow(t.Context(), "SELECT current_setting('server_version_num')::int / 10000, current_database()").Scan(&major, &name); err != nil {
		t.Fatal(err)
	}
	for since, sql := range laterKinds {
		if major >= since {
			execute(t, dsn, sql)
		}
	}
	want := decisions(t, "Kinds of entries")

	// The whole database, because it contains what a dump of schemas leaves out.
	archive := filepath.Join(t.TempDir(), "all")
	run(t, cluster.Client, name, "pg_dump", "--create", "--format=custom", "--no-password", "--file="+archive)
	list := run(t, cluster.Client, name, "pg_restore", "--list", archive)
	kind := regexp.MustCompile(`(?m)^[0-9]+; [0-9]+ [0-9]+ ([A-Z]+(?: [A-Z]+)*) `)
	seen := map[string]bool{}
	for _, m := range kind.FindAllStringSubmatch(list, -1) {
		words := strings.Fields(m[1]) // a name without small letters may follow
		decided := false
		for n := len(words); n > 0 && !decided; n-- {
			_, decided = want[strings.Join(words[:n], " ")]
			seen[strings.Join(words[:n], " ")] = decided
		}
		if !decided {
			t.Errorf("pg_dump writes %q: decide in docs/contents.md whether an export holds it", m[1])
		}
	}

	// The server's own names of everything that it can identify.
	parts := []string{
		"FUNCTION OF ACCESS METHOD", "OPERATOR OF ACCESS METHOD", "DEFAULT VALUE", "TABLE CONSTRAINT", "DOMAIN CONSTRAINT", "TOAST TABLE",
		"COMPOSITE TYPE", "LANGUAGE", "STATISTICS OBJECT", "EXTENSION", "PUBLICATION RELATION", "PUBLICATION NAMESPACE", "FOREIGN-DATA WRAPPER", "ROLE", "ROLE MEMBERSHIP", "PARAMETER ACL", "TABLESPACE",
	}
	for _, catalogue := range column(t, conn, `
SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'oid'
 WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r' AND c.relname NOT IN ('pg_enum', 'pg_largeobject_metadata')`) {
		kinds := column(t, conn, "SELECT DISTINCT upper(i.type) FROM "+catalogue+" o, pg_identify_object('"+catalogue+"'::regclass, o.oid, 0) i")
		for _, k := range kinds {
			_, decided := want[k]
			seen[k] = decided
			if !decided && !slices.Contains(parts, k) {
				t.Errorf("the server has a %q: decide in docs/contents.md whether an export holds it", k)
			}
		}
	}
	// Entries that --list hides, and entries of some versions and options only.
	for _, k := range []string{"SHELL TYPE", "DATABASE PROPERTIES", "ENCODING", "STDSTRINGS", "SEARCHPATH", "ACL", "BLOB", "BLOBS", "BLOB METADATA", "LARGE OBJECT", "STATISTICS DATA", "SUBSCRIPTION TABLE", "PUBLICATION TABLES IN SCHEMA"} {
		seen[k] = true
	}
	for k := range want {
		if !seen[k] {
			t.Errorf("testdata/every-kind.sql makes no %s", k)
		}
	}
}

// column returns a query's only column.
func column(t *testing.T, conn *pgx.Conn, sql string) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// run runs a client tool and returns what it prints.
func run(t *testing.T, client func(context.Context, string, string, ...string) (*exec.Cmd, error), database, tool string, args ...string) string {
	t.Helper()
	cmd, err := client(t.Context(), database, tool, args...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", tool, err, out)
	}
	return string(out)
}
