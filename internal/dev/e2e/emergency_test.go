package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/pgcluster/contents"
)

const emergency = "docs/restore-in-an-emergency.md"

// publicTools are the tools that the emergency document requires; its blocks find no others.
var publicTools = []string{
	"age", "jq", "zstd",
	"sh", "find", "grep", "sort", "head", "cut", "cat", "cp", "mv", "mkdir", "chmod", "stat", "base64", "sha256sum", "gzip", "tar",
}

// postgresTools come with the cluster, because Debian's wrappers would need their own PATH.
var postgresTools = []string{"psql", "pg_restore", "createdb"}

// The document alone, run unchanged, restores the stored exports: every format, compression and
// encryption, one file, and parts that were saved from a chat by hand.
func TestTheEmergencyDocumentRestores(t *testing.T) {
	t.Parallel()
	p, c := setup(t), newChat(t)
	identity, recipient := identityFile(t)
	path := toolsOnly(t)
	encrypted := []events.Requested{
		{ProjectID: "acme", RequestID: "sql", StoragePath: "nightly"},
		{ProjectID: "quoted", RequestID: "custom", Format: events.FormatCustom, Compression: events.CompressionZstd},
		{ProjectID: "acme", RequestID: "directory", Format: events.FormatDirectory},
	}
	// A schema that every new database has, with an extension in it.
	p.exec(`INSERT INTO control_plane.projects VALUES ('everyone', 'everyone', 'active', 'public');
		CREATE EXTENSION citext SCHEMA public;
		DO $$ BEGIN CREATE ROLE "an auditor's"; EXCEPTION WHEN duplicate_object THEN NULL; END $$; -- the cluster's, of an earlier run
		CREATE TABLE public.people (name public.citext); INSERT INTO public.people VALUES ('Ada'), ('CREATE SCHEMA tables;');
		CREATE FUNCTION public.secret(name public.citext) RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE EXECUTE ON FUNCTION public.secret FROM PUBLIC;
		CREATE TYPE public.mood AS ENUM ('sad'); CREATE CAST (public.mood AS text) WITH INOUT AS ASSIGNMENT;
		ALTER TABLE public.people ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON public.people TO "an auditor's"`)
	plain := []events.Requested{
		{ProjectID: "everyone", RequestID: "public"},
		{ProjectID: "everyone", RequestID: "public-archive", Format: events.FormatCustom},
		{ProjectID: "everyone", RequestID: "public-folder", Format: events.FormatDirectory},
		{ProjectID: "acme", RequestID: "tar", Format: events.FormatTar, Compression: events.CompressionZstd},
		{ProjectID: "quoted", RequestID: "bare", Compression: events.CompressionNone},
	}
	chat := append(c.storage(p, "&required=true&part_size=256KiB"), "AGE_RECIPIENTS="+recipient)
	saved := t.TempDir()
	for _, run := range []struct {
		settings []string
		requests []events.Requested
	}{{chat, encrypted}, {nil, plain}} {
		w := p.start(run.settings...)
		for _, r := range run.requests {
			p.request(r)
			done := p.completed(r.ProjectID, r.RequestID)
			// The encrypted exports are rescued from the chat as well.
			if *everyCombination || r.RequestID != "sql" && r.RequestID != "directory" {
				p.rescue(path, identity, p.storage, done, keyOf(t, done))
			}
		}
		p.settled()
		w.term()
		w.await()
	}
	if parts := c.save(t, saved); parts < 5 {
		t.Fatalf("the chat holds %d parts", parts)
	}
	for _, r := range encrypted {
		done := p.completed(r.ProjectID, r.RequestID)
		p.rescue(path, identity, saved, done, keyOf(t, done))
	}
}

// Damage ends the rescue before anything is fed.
func TestTheEmergencyDocumentStopsAtDamage(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start()
	id := p.request(events.Requested{ProjectID: "quoted"})
	done := p.completed("quoted", id)
	file := filepath.Join(p.storage, keyOf(t, done))
	stored, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	stored[len(stored)/2] ^= 1
	if err := os.WriteFile(file, stored, 0o600); err != nil {
		t.Fatal(err)
	}
	out, database, err := p.followDocument(toolsOnly(t), "/nonexistent", p.storage, keyOf(t, done))
	if err == nil || !strings.Contains(out, "FAILED") {
		t.Errorf("%v\n%s", err, out)
	}
	var made bool
	if err := p.sql().QueryRow(t.Context(), "SELECT count(*) > 0 FROM pg_database WHERE datname = $1", database).Scan(&made); err != nil || made {
		t.Errorf("the database was made: %t (%v)", made, err)
	}
	if err := os.Remove(file); err != nil { // the end of this test checks what is stored
		t.Fatal(err)
	}
	stored[len(stored)/2] ^= 1
	if err := os.WriteFile(file, stored, 0o600); err != nil {
		t.Fatal(err)
	}
}

// rescuedRights checks the steps of the document after the restore.
func (p *platform) rescuedRights(database string) {
	p.t.Helper()
	conn, err := pgx.Connect(p.t.Context(), cluster.URL(database))
	if err != nil {
		p.t.Fatal(err)
	}
	var private, cast bool
	err = conn.QueryRow(p.t.Context(), `SELECT NOT has_function_privilege('pg_monitor', 'public.secret(public.citext)', 'EXECUTE'),
		EXISTS (SELECT FROM pg_cast WHERE castsource = 'public.mood'::regtype AND castmethod = 'i' AND castcontext = 'a')`).Scan(&private, &cast)
	if err := errors.Join(err, conn.Close(p.t.Context())); err != nil || !private || !cast {
		p.t.Errorf("the function is private: %t, the cast is there: %t (%v)", private, cast, err)
	}
}

// rescue follows the document and compares the restored database with the source.
func (p *platform) rescue(path, identity, files string, done *events.Completed, key string) {
	t := p.t
	t.Helper()
	out, database, err := p.followDocument(path, identity, files, key)
	if err != nil {
		t.Fatalf("%s from %s: %v\n%s", key, files, err, out)
	}
	if !strings.Contains(out, key+"\t"+strconv.FormatInt(done.StoredBytes, 10)+"\n") {
		t.Errorf("the list of exports lacks %s:\n%s", key, out)
	}
	sides := make([]map[string]contents.Table, 2)
	for i, name := range []string{p.database, database} {
		conn, err := pgx.Connect(t.Context(), cluster.URL(name))
		if err != nil {
			t.Fatal(err)
		}
		sides[i], err = contents.Read(t.Context(), conn, done.Schemas)
		if closeErr := conn.Close(t.Context()); err != nil || closeErr != nil {
			t.Fatal(err, closeErr)
		}
	}
	if done.ProjectID == "everyone" {
		p.rescuedRights(database)
	}
	if diffs := contents.Compare(sides[0], sides[1]); len(diffs) > 0 || len(sides[0]) == 0 {
		t.Errorf("%s restored differs in %d relations: %q", key, len(sides[0]), diffs)
	}
	if err := executeIn(t.Context(), "postgres", "DROP DATABASE "+database+" WITH (FORCE)"); err != nil {
		t.Error(err)
	}
}

// followDocument runs the document's blocks in one shell that ends at the first error.
func (p *platform) followDocument(path, identity, files, key string) (out, database string, err error) {
	t := p.t
	t.Helper()
	database = fmt.Sprintf("rescued_%d", databases.Add(1))
	script := strings.Join(shellBlocks(readRoot(t, emergency)), "\n")
	for name, value := range map[string]string{
		"FILES": files, "IDENTITY": identity, "WORK": filepath.Join(t.TempDir(), "rescue"), "KEY": key,
		"PGHOST": "127.0.0.1", "PGPORT": strconv.Itoa(cluster.Port), "PGUSER": "postgres", "PGDATABASE": database,
	} {
		line := regexp.MustCompile(`(?m)^((?:export )?` + name + `=)\S+`)
		if n := len(line.FindAllString(script, -1)); n != 1 {
			t.Fatalf("the document sets %s %d times", name, n)
		}
		script = line.ReplaceAllString(script, "${1}"+value)
	}
	client, err := cluster.Client(t.Context(), database, "psql")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(path, "sh"), "-eu")
	cmd.Stdin, cmd.Dir = strings.NewReader(script), t.TempDir()
	cmd.Env = []string{"PATH=" + path}
	for _, v := range client.Env { // the password, as in ~/.pgpass
		if strings.HasPrefix(v, "PGPASSFILE=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	b, err := cmd.CombinedOutput()
	return string(b), database, err
}

// toolsOnly is a folder that holds the document's tools and nothing else.
func toolsOnly(t *testing.T) string {
	t.Helper()
	document := readRoot(t, emergency)
	dir := t.TempDir()
	tools := map[string]string{}
	for _, name := range postgresTools {
		tools[name] = filepath.Join(cluster.BinDir, name)
	}
	for _, name := range publicTools {
		file, err := exec.LookPath(name)
		if err != nil {
			t.Fatalf("%s is missing: run make rescue-tools", name)
		}
		tools[name] = file
	}
	for _, name := range slices.Sorted(maps.Keys(tools)) {
		if !strings.Contains(document, name) {
			t.Errorf("%s does not use %s", emergency, name)
		}
		if err := os.Symlink(tools[name], filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// save downloads the chat's files as a user does, some of them with the number that a browser adds,
// and counts the parts.
func (c chat) save(t *testing.T, dir string) (parts int) {
	t.Helper()
	for i, m := range c.Messages(privateChat) {
		if m.Name == "" {
			continue
		}
		body, err := c.Document(privateChat, m.ID)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(body)
		if closeErr := body.Close(); err != nil || closeErr != nil {
			t.Fatal(err, closeErr)
		}
		name := m.Name
		if i%2 == 0 {
			name = strings.TrimSuffix(name, ".pgc") + " (1).pgc"
		}
		if strings.Contains(name, ".part-") {
			parts++
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return parts
}

var fencedShell = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// shellBlocks are a document's fenced blocks of the language sh, in order.
func shellBlocks(markdown string) (blocks []string) {
	for _, m := range fencedShell.FindAllStringSubmatch(markdown, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}
