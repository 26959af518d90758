package archive_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgcluster/contents"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// asked are the arguments of this project's dump.
var asked = []string{"--no-owner", "--no-acl", "--no-tablespaces", "--encoding=UTF8"}

// Each project's part, converted to a script by pg_restore, is byte for byte what pg_dump writes
// for its schemas alone, with owners, rights and default rights and without.
func TestAPartEqualsTheProjectsDump(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dump, restore []string
		schemas       []string
	}{
		"with owners and rights": {nil, nil, append([]string{"nothing", "odds", "public"}, tenants...)},
		"as we ask for it":       {asked, asked[:3], tenants[:4]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			group, index := dumpGroup(t, c.dump, c.schemas...)
			for i, part := range split(t, group, index, apart(c.schemas)) {
				t.Run(c.schemas[i], func(t *testing.T) {
					t.Parallel()
					got := restored(t, part, c.restore)
					differ(t, got, single(t, c.dump, c.schemas[i]))
				})
			}
		})
	}
}

// The dump of projects that refer to each other depends on which of them pg_dump dumps: they have
// no part of their own. The other projects have one, and so have both in one project.
func TestProjectsThatReferToEachOther(t *testing.T) {
	t.Parallel()
	schemas := []string{"base", "acme", "uses"}
	group, index := dumpGroup(t, asked, schemas...)
	parts := split(t, group, index, apart(schemas))
	if parts[0] != nil || parts[1] == nil || parts[2] != nil {
		t.Errorf("parts of %q are %v, want acme's alone", schemas, parts)
	}
	differ(t, restored(t, parts[1], asked[:3]), single(t, asked, "acme"))
	parts = split(t, group, index, [][]string{{"base", "uses"}, {"acme"}})
	differ(t, restored(t, parts[0], asked[:3]), single(t, asked, "base", "uses"))
}

func restored(t *testing.T, p *archive.Part, args []string) string {
	t.Helper()
	return script(tool(t, p.Open(), "", "pg_restore", append([]string{"--file=-"}, args...)...))
}

func single(t *testing.T, args []string, schemas ...string) string {
	t.Helper()
	return script(tool(t, nil, "tenants", "pg_dump", selected(append([]string{"--format=plain"}, args...), schemas...)...))
}

// A part is a custom archive: what it restores is what the source holds.
func TestAPartRestores(t *testing.T) {
	t.Parallel()
	projects := [][]string{{"acme"}, {"base", "uses"}, {`quote"d`, "line\nbreak"}}
	group, index := dumpGroup(t, asked, slices.Concat(projects...)...)
	for i, part := range split(t, group, index, projects) {
		database := []string{"r0", "r1", "r2"}[i]
		if err := execute(t.Context(), "postgres", "CREATE DATABASE "+database); err != nil {
			t.Fatal(err)
		}
		if i == 1 { // a dump of one project leaves it out
			if err := execute(t.Context(), database, "CREATE SCHEMA apart; CREATE TABLE apart.t (id int PRIMARY KEY)"); err != nil {
				t.Fatal(err)
			}
		}
		tool(t, part.Open(), database, "pg_restore", "--dbname="+database, "--exit-on-error", "--no-owner", "--no-acl")
		want, got := read(t, "tenants", projects[i]), read(t, database, projects[i])
		if len(want) == 0 {
			t.Error("nothing to compare")
		}
		for _, line := range contents.Compare(want, got) {
			t.Errorf("%q: %s", projects[i], line)
		}
	}
}

func read(t *testing.T, database string, schemas []string) map[string]contents.Table {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), cluster.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	all, err := contents.Read(t.Context(), conn, schemas)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// The parts hold the whole archive, and each only its own entries.
func TestPartsAddUpToTheWhole(t *testing.T) {
	t.Parallel()
	group, index := dumpGroup(t, nil, append([]string{"base", "uses"}, tenants...)...)
	projects := append([][]string{{"base", "uses"}}, apart(tenants)...)
	parts := split(t, group, index, projects)
	whole := make([]byte, group.Size())
	if _, err := group.ReadAt(whole, 0); err != nil {
		t.Fatal(err)
	}
	addUp(t, whole, index, projects, parts)
	// pg_dump writes data in the order of the table of contents, which pg_restore requires if it
	// cannot seek.
	var listed, written []int64
	for _, e := range index.Entries {
		if e.HasData {
			listed = append(listed, e.ID)
		}
	}
	for _, b := range index.Blocks {
		written = append(written, b.ID)
	}
	if len(listed) == 0 || !slices.Equal(listed, written) {
		t.Errorf("data is written in the order %v\nand listed in %v", written, listed)
	}
}

// addUp checks the parts of a whole archive without Split's own code.
func addUp(t *testing.T, whole []byte, index *archive.Index, projects [][]string, parts []*archive.Part) {
	t.Helper()
	held := map[int64]int{} // in how many parts an entry is
	blocks := map[int64]bool{}
	for i, part := range parts {
		b, err := io.ReadAll(part.Open())
		if err != nil || int64(len(b)) != part.Size() {
			t.Fatalf("part %d: %d bytes, %v; want %d", i, len(b), err, part.Size())
		}
		tables, err := archive.Check(bytes.NewReader(b), export.Custom)
		if err != nil {
			t.Fatalf("part %d: %v", i, err)
		}
		for table := range maps.Keys(tables.Tables) {
			if !slices.Contains(projects[i], table.Schema) {
				t.Errorf("part %d of %q holds rows of %v", i, projects[i], table)
			}
		}
		own := indexOf(t, b)
		ids := map[int64]bool{}
		for _, e := range own.Entries {
			held[e.ID]++
			ids[e.ID] = true
			if e.Schema != "" && !slices.Contains(projects[i], e.Schema) || e.Kind == "SCHEMA" && !slices.Contains(projects[i], e.Tag) {
				t.Errorf("part %d of %q holds %q %q of %q", i, projects[i], e.Kind, e.Tag, e.Schema)
			}
		}
		for _, e := range own.Entries { // a part is closed
			for _, d := range e.Dependencies {
				if !ids[d] && slices.ContainsFunc(index.Entries, func(e archive.Entry) bool { return e.ID == d }) {
					t.Errorf("part %d of %q depends on another's entry %d", i, projects[i], d)
				}
			}
		}
		for _, block := range own.Blocks {
			at := slices.IndexFunc(index.Blocks, func(b archive.Block) bool { return b.ID == block.ID })
			if at < 0 || blocks[block.ID] || !bytes.Equal(b[block.At:block.End], whole[index.Blocks[at].At:index.Blocks[at].End]) {
				t.Errorf("part %d: the data of entry %d is not the whole's", i, block.ID)
			}
			blocks[block.ID] = true
		}
	}
	if len(blocks) != len(index.Blocks) {
		t.Errorf("the parts hold data of %d entries, the whole of %d", len(blocks), len(index.Blocks))
	}
	for _, e := range index.Entries {
		want := 1
		if e.Schema == "" && !strings.Contains(e.Tag, "SCHEMA ") && e.Kind != "SCHEMA" {
			want = len(parts)
		}
		if held[e.ID] != want {
			t.Errorf("%q %q is in %d parts, want %d", e.Kind, e.Tag, held[e.ID], want)
		}
	}
}

func TestAnEntryThatIsNotProvablyOneProjectsIsAnError(t *testing.T) {
	t.Parallel()
	group, index := dumpGroup(t, nil, "acme", "base", "uses")
	for name, projects := range map[string][][]string{
		"a schema of no project":     {{"acme"}, {"base"}},
		"a schema of two projects":   {{"acme"}, {"base", "uses"}, {"uses"}},
		"a project without a schema": {{"acme", "base", "uses"}, {}},
		"no project":                 nil,
	} {
		if _, err := archive.Split(group, index, projects); !errors.Is(err, archive.ErrNotSplit) {
			t.Errorf("%s: %v, want ErrNotSplit", name, err)
		}
	}
	if err := execute(t.Context(), "postgres", `CREATE DATABASE whole`); err != nil {
		t.Fatal(err)
	}
	if err := execute(t.Context(), "whole", `CREATE SCHEMA acme; CREATE EXTENSION citext; SELECT lo_create(7)`); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{"large objects": {"--schema=acme", "--blobs"}, "extensions": {"--extension=citext", "--schema=acme"}} {
		b := tool(t, nil, "whole", "pg_dump", append([]string{"--format=custom", "--compress=0"}, args...)...)
		if _, err := archive.Split(bytes.NewReader(b), indexOf(t, b), [][]string{{"acme"}}); !errors.Is(err, archive.ErrNotSplit) {
			t.Errorf("%s: %v, want ErrNotSplit", name, err)
		}
	}
}

// An entry without a schema belongs to a project only if it depends on its SCHEMA entry alone.
func TestEntriesWithoutASchema(t *testing.T) {
	t.Parallel()
	schema := archive.Entry{ID: 1, Kind: "SCHEMA", Tag: "a"}
	other := archive.Entry{ID: 2, Kind: "SCHEMA", Tag: "b"}
	for name, e := range map[string]archive.Entry{
		"a comment on something else of the schema's": {Kind: "COMMENT", Tag: "LANGUAGE a", Dependencies: []int64{1}},
		"a comment that depends on both":              {Kind: "COMMENT", Tag: "SCHEMA a", Dependencies: []int64{1, 2}},
		"a comment that depends on nothing":           {Kind: "COMMENT", Tag: "SCHEMA a"},
		"a right that depends on the unknown":         {Kind: "ACL", Tag: "SCHEMA a", Dependencies: []int64{9}},
		"an unknown kind":                             {Kind: "SECRET", Tag: "a", Dependencies: []int64{1}},
		"a schema within a schema":                    {Kind: "SCHEMA", Tag: "a", Schema: "a"},
		"another project's schema":                    {Kind: "SCHEMA", Tag: "c"},
		"a setting with a dependency":                 {Kind: "ENCODING", Tag: "ENCODING", Dependencies: []int64{1}},
		"a setting of another name":                   {Kind: "ENCODING", Tag: "x"},
		"an id that was there":                        {ID: 1, Kind: "TABLE", Schema: "a"},
		"rows without a schema":                       {Kind: "SCHEMA", Tag: "a", HasData: true},
	} {
		if e.ID == 0 {
			e.ID = 3
		}
		index := &archive.Index{IntSize: 4, OffsetSize: 8, Entries: []archive.Entry{schema, other, e}}
		if _, err := archive.Split(bytes.NewReader(nil), index, [][]string{{"a"}, {"b"}}); !errors.Is(err, archive.ErrNotSplit) {
			t.Errorf("%s: %v, want ErrNotSplit", name, err)
		}
	}
}

// A file that became shorter is an error, and never a short part.
func TestACutArchive(t *testing.T) {
	t.Parallel()
	group, index := dumpGroup(t, asked, "acme")
	short := io.NewSectionReader(group, 0, group.Size()-1)
	part := split(t, short, index, [][]string{{"acme"}})[0]
	if _, err := io.ReadAll(part.Open()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read: %v, want an unexpected end", err)
	}
	if _, err := archive.Split(io.NewSectionReader(group, 0, index.EntriesAt+10), index, [][]string{{"acme"}}); err == nil {
		t.Error("split without a table of contents: no error")
	}
}

func FuzzSplit(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		x := archive.NewIndexer()
		_, _ = x.Write(b)
		index, err := x.Finish()
		if err != nil {
			return
		}
		var schemas []string
		for _, e := range index.Entries {
			name := e.Schema
			if e.Kind == "SCHEMA" {
				name = e.Tag
			}
			if name != "" && !slices.Contains(schemas, name) {
				schemas = append(schemas, name)
			}
		}
		for _, projects := range [][][]string{apart(schemas), {schemas}} {
			parts, err := archive.Split(bytes.NewReader(b), index, projects)
			switch {
			case err == nil && !slices.Contains(parts, nil):
				addUp(t, b, index, projects, parts)
			case err != nil && !errors.Is(err, archive.ErrNotSplit):
				t.Errorf("error %v, want ErrNotSplit", err)
			}
		}
	})
}
