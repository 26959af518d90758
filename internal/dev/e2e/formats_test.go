package e2e_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgcluster/contents"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
	"github.com/pgcourier/pgcourier/internal/storage"
)

var everyCombination = flag.Bool("combinations", false, "try every combination of formats, compressions and ways to read them; make combinations does")

// Each format with one compression; internal/dev/roundtrip checks that each pair restores.
func TestEveryFormatAndCompressionRestoresToTheSource(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start("CONCURRENCY=2")
	begun := time.Now()
	type kind struct {
		format      events.Format
		compression events.Compression
		suffix      string
	}
	asked := map[kind]events.Requested{}
	extensions := map[events.Compression]string{events.CompressionGzip: ".gz", events.CompressionZstd: ".zst", events.CompressionNone: ""}
	for i, f := range []events.Format{events.FormatSQL, events.FormatTar, events.FormatCustom, events.FormatDirectory} {
		ext := []string{"sql", "tar", "dump", "dir.tar"}[i]
		for j, c := range []events.Compression{events.CompressionGzip, events.CompressionZstd, events.CompressionNone} {
			if !*everyCombination && i%3 != j {
				continue
			}
			r := events.Requested{
				ProjectID: "acme", RequestID: fmt.Sprintf("%s-%s", f, c), Format: f, Compression: c, StoragePath: "nightly/2026-11",
				RequestedBy: "the test", Metadata: map[string]string{"ticket": "4711", "what": string(f)},
				Trace: events.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", State: "vendor=1"},
			}
			if f == events.FormatDirectory {
				r.Jobs = 2
			}
			if c != events.CompressionNone {
				r.CompressionLevel = []events.CompressionLevel{"", events.CompressionBest, "", events.CompressionFast}[i]
			}
			p.request(r)
			asked[kind{f, c, ext + extensions[c]}] = r
		}
	}
	for k, r := range asked {
		c := p.completed(r.ProjectID, r.RequestID)
		p.checkCompleted(c, r, begun)
		if want := "acme/nightly/2026-11/" + r.RequestID + ".1." + k.suffix; keyOf(t, c) != want {
			t.Errorf("stored under %q, want %q", keyOf(t, c), want)
		}
		p.checkRestored(c, p.checkStored(c, nil))
	}
}

func TestTheStorageTakesEveryLabelOfTheContract(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		label := rapid.StringMatching(`[A-Za-z0-9_. /-]{0,230}(\.manifest\.json|\.part-[0-9]{5})?`).Draw(t, "label")
		r := events.Requested{ProjectID: strings.Repeat("p", 100), RequestID: strings.Repeat("r", 100), StoragePath: label}
		if _, err := r.Normalize(); err != nil {
			label = rapid.StringMatching(`[A-Za-z0-9_][A-Za-z0-9._-]{0,60}[a-z](/[A-Za-z0-9_][A-Za-z0-9._-]{0,60}[a-z]){0,2}`).Draw(t, "likely label")
			r.StoragePath = label
			if _, err := r.Normalize(); err != nil {
				return
			}
		}
		if err := storage.CheckKey(path.Join(r.ProjectID, label, r.RequestID+".3.custom.zst.age")); err != nil {
			t.Fatalf("the contract allows %q, the storage does not: %v", label, err)
		}
	})
}

func TestAnEncryptedExportRestoresWithItsIdentityOnly(t *testing.T) {
	t.Parallel()
	p := setup(t)
	var recipients []string
	var identities []*age.X25519Identity
	for range 2 {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		identities, recipients = append(identities, id), append(recipients, id.Recipient().String())
	}
	p.start("AGE_RECIPIENTS=" + strings.Join(recipients, ","))
	begun := time.Now()
	for i, r := range []events.Requested{
		{ProjectID: "quoted", RequestID: "a", Format: events.FormatSQL, Compression: events.CompressionGzip},
		{ProjectID: "acme", RequestID: "b", Format: events.FormatCustom, Compression: events.CompressionZstd},
	} {
		p.request(r)
		c := p.completed(r.ProjectID, r.RequestID)
		p.checkCompleted(c, r, begun)
		if c.Encryption != events.EncryptionAge || !strings.HasSuffix(keyOf(t, c), ".age") {
			t.Errorf("encryption is %s, stored under %s", c.Encryption, keyOf(t, c))
		}
		stored, err := os.ReadFile(filepath.Join(p.storage, keyOf(t, c)))
		if err != nil {
			t.Fatal(err)
		}
		stranger, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := age.Decrypt(bytes.NewReader(stored), stranger); err == nil {
			t.Error("a foreign identity opened the export")
		}
		p.checkRestored(c, p.checkStored(c, identities[i])) // each recipient can decrypt it
	}
}

// checkCompleted compares each field of the event with the request and the database.
func (p *platform) checkCompleted(c *events.Completed, r events.Requested, begun time.Time) {
	t := p.t
	t.Helper()
	want := *c // fields that are checked elsewhere or below are copied
	want.RequestID, want.ProjectID, want.Attempt = r.RequestID, r.ProjectID, 1
	want.Format, want.Compression, want.CompressionLevel = r.Format, r.Compression, ""
	if r.Compression != events.CompressionNone {
		want.CompressionLevel = cmp.Or(r.CompressionLevel, events.CompressionDefault)
	}
	want.RequestedBy, want.Metadata = r.RequestedBy, r.Metadata
	want.Schemas = map[string][]string{"acme": {"tenant_acme"}, "quoted": {`Ten*ant "x"`}}[r.ProjectID]
	want.DurationMS = c.FinishedAt.Sub(c.StartedAt).Milliseconds()
	want.Trace = r.Trace
	conn := p.sql()
	if err := conn.QueryRow(t.Context(), "SELECT split_part(current_setting('server_version'), ' ', 1)").Scan(&want.ServerVersion); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(cluster.BinDir, "pg_dump"), "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	want.PgDumpVersion = strings.Fields(string(out))[2]
	want.Tables, want.Rows = p.count(conn, want.Schemas)
	if fmt.Sprintf("%+v", *c) != fmt.Sprintf("%+v", want) {
		t.Errorf("completed is\n%+v, want\n%+v", *c, want)
	}
	got, err := c.Request.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	canonical, err := r.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, canonical) {
		t.Errorf("the outcome's request is %s, want %s", got, canonical)
	}
	// The ledger's clock is this machine's.
	if c.StartedAt.Before(begun.Add(-time.Second)) || c.FinishedAt.Before(c.StartedAt) || c.FinishedAt.After(time.Now().Add(time.Second)) {
		t.Errorf("started at %s, finished at %s; the test began at %s", c.StartedAt, c.FinishedAt, begun)
	}
	if len(c.Warnings) > 0 || len(c.Storage) != 1 {
		t.Errorf("warnings %q, storage %v; want none and one", c.Warnings, c.Storage)
	}
}

// count counts the tables and rows in a dump of the schemas.
func (p *platform) count(conn *pgx.Conn, schemas []string) (tables, rows int64) {
	p.t.Helper()
	list, err := conn.Query(p.t.Context(), `SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = ANY ($1) AND c.relkind = 'r'`, schemas)
	if err != nil {
		p.t.Fatal(err)
	}
	names, err := pgx.CollectRows(list, pgx.RowTo[string])
	if err != nil {
		p.t.Fatal(err)
	}
	for _, name := range names {
		var n int64
		if err := conn.QueryRow(p.t.Context(), "SELECT count(*) FROM ONLY "+name).Scan(&n); err != nil {
			p.t.Fatal(err)
		}
		rows += n
	}
	return int64(len(names)), rows
}

// keyOf is the storage key of an outcome with one location.
func keyOf(t *testing.T, c *events.Completed) string {
	t.Helper()
	key, ok := strings.CutPrefix(c.Storage[0].URI, "file:")
	if !ok || strings.HasPrefix(key, "/") {
		t.Fatalf("location is %q, want file: and a relative path", c.Storage[0].URI)
	}
	return key
}

// checkStored compares the stored file and its manifest with the event, and returns the plain dump,
// decoded without our own code.
func (p *platform) checkStored(c *events.Completed, identity age.Identity) []byte {
	t := p.t
	t.Helper()
	file := filepath.Join(p.storage, keyOf(t, c))
	stored, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(stored)
	if int64(len(stored)) != c.StoredBytes || hex.EncodeToString(sum[:]) != c.SHA256 {
		t.Errorf("%s: %d bytes with hash %x, announced are %d and %s", file, len(stored), sum, c.StoredBytes, c.SHA256)
	}
	b, err := os.ReadFile(file + ".manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	m, err := storage.DecodeDocument(b)
	if err != nil {
		t.Fatal(err)
	}
	if sealed := m.Sealed != nil; sealed != (identity != nil) {
		t.Errorf("the manifest's description is sealed: %t", sealed)
	}
	if identity != nil {
		m, err = m.Unseal([]age.Identity{identity})
	}
	if err != nil {
		t.Fatal(err)
	}
	if m.Bytes != c.StoredBytes || m.SHA256 != c.SHA256 || m.Manifest.Request != c.RequestID || m.Manifest.Artifact.Rows != c.Rows {
		t.Errorf("the manifest is %+v, the event %+v", m, c)
	}
	var r io.Reader = bytes.NewReader(stored)
	if identity != nil {
		if r, err = age.Decrypt(r, identity); err != nil {
			t.Fatal(err)
		}
	}
	switch c.Compression {
	case events.CompressionGzip:
		if r, err = gzip.NewReader(r); err != nil {
			t.Fatal(err)
		}
	case events.CompressionZstd:
		d, err := zstd.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		r = d
	case events.CompressionNone:
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(plain)) != c.SizeBytes {
		t.Errorf("the plain dump has %d bytes, announced are %d", len(plain), c.SizeBytes)
	}
	return plain
}

// checkWhole compares a large export with its event, the database and its own structure, without
// restoring it.
func (p *platform) checkWhole(c *events.Completed) {
	p.t.Helper()
	found, err := archive.Check(bytes.NewReader(p.checkStored(c, nil)), export.Format(c.Format))
	if err != nil {
		p.t.Fatal(err)
	}
	var rows int64
	for _, n := range found.Tables {
		rows += n
	}
	if _, want := p.count(p.sql(), c.Schemas); rows != want || c.Rows != want {
		p.t.Errorf("%d rows are stored, %d announced, %d in the database", rows, c.Rows, want)
	}
}

// checkRestored loads a plain dump into an empty database with PostgreSQL's own tools and
// compares every table, and the names of all schemas.
func (p *platform) checkRestored(c *events.Completed, plain []byte) {
	t := p.t
	t.Helper()
	target := fmt.Sprintf("restored_%d", databases.Add(1))
	if err := executeIn(p.ctx, "postgres", "CREATE DATABASE "+target+" TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := executeIn(p.ctx, "postgres", "DROP DATABASE "+target+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	}()
	file := filepath.Join(t.TempDir(), "dump")
	if err := os.WriteFile(file, plain, 0o600); err != nil {
		t.Fatal(err)
	}
	if c.Format == events.FormatDirectory {
		folder := t.TempDir()
		if out, err := exec.CommandContext(t.Context(), "tar", "-x", "-C", folder, "-f", file).CombinedOutput(); err != nil {
			t.Fatalf("tar: %v: %s", err, out)
		}
		file = folder
	}
	tool, args := "pg_restore", []string{"--exit-on-error", "--single-transaction", "--dbname=" + target, file}
	if c.Format == events.FormatSQL {
		tool, args = "psql", []string{"--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction", "--output=/dev/null", "--file=" + file}
	}
	cmd, err := cluster.Client(t.Context(), target, tool, args...)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s of %s: %v\n%s", tool, c.RequestID, err, out)
	}
	var sides [2]map[string]contents.Table
	for i, database := range []string{p.database, target} {
		conn, err := pgx.Connect(t.Context(), cluster.URL(database))
		if err != nil {
			t.Fatal(err)
		}
		if sides[i], err = contents.Read(t.Context(), conn, c.Schemas); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			rows, err := conn.Query(t.Context(), `SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%' AND nspname NOT IN ('information_schema', 'public')`)
			if err != nil {
				t.Fatal(err)
			}
			schemas, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil || !slices.Equal(schemas, c.Schemas) {
				t.Errorf("%s restored the schemas %q, want %q (%v)", c.RequestID, schemas, c.Schemas, err)
			}
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diffs := contents.Compare(sides[0], sides[1]); len(diffs) > 0 || len(sides[0]) == 0 {
		t.Errorf("%s restored differs in %d relations: %q", c.RequestID, len(sides[0]), diffs)
	}
}
