package archive_test

import (
	"bytes"
	"maps"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

func TestDirectoryOfEachVersion(t *testing.T) {
	t.Parallel()
	for minor := byte(12); minor <= 16; minor++ {
		f := &tarFile{}
		f.member("8.dat", "\\.\n\n\n")
		f.member("7.dat", someRows)
		f.member("toc.dat", tarTOC(minor, some...))
		f.end()
		for _, size := range []int{1, 511, 1 << 20} {
			got, err := archive.Check(&chunks{f.Bytes(), size}, export.Directory)
			if err != nil {
				t.Fatalf("version 1.%d: %v", minor, err)
			}
			if want := (map[export.Table]int64{tableA: 2, tableB: 0}); !maps.Equal(got.Tables, want) {
				t.Errorf("version 1.%d: %v, want %v", minor, got.Tables, want)
			}
		}
	}
}

func TestDirectoryThatIsRefused(t *testing.T) {
	t.Parallel()
	toc := tarTOC(14, some...)
	data := func(f *tarFile) {
		f.member("7.dat", someRows)
		f.member("8.dat", someRows)
	}
	for name, build := range map[string]func(*tarFile){
		"nothing":      func(*tarFile) {},
		"only the end": func(f *tarFile) { f.end() },
		"no toc":       func(f *tarFile) { data(f); f.end() },
		"toc first":    func(f *tarFile) { f.member("toc.dat", toc); data(f); f.end() },
		"toc between": func(f *tarFile) {
			f.member("7.dat", someRows)
			f.member("toc.dat", toc)
			f.member("8.dat", someRows)
			f.end()
		},
		"toc twice":       func(f *tarFile) { data(f); f.member("toc.dat", toc); f.member("toc.dat", toc); f.end() },
		"empty toc":       func(f *tarFile) { data(f); f.member("toc.dat", ""); f.end() },
		"short toc":       func(f *tarFile) { data(f); f.member("toc.dat", toc[:len(toc)-1]); f.end() },
		"long toc":        func(f *tarFile) { data(f); f.member("toc.dat", toc+"x"); f.end() },
		"missing member":  func(f *tarFile) { f.member("7.dat", someRows); f.member("toc.dat", toc); f.end() },
		"member twice":    func(f *tarFile) { f.member("7.dat", someRows); data(f); f.member("toc.dat", toc); f.end() },
		"unlisted member": func(f *tarFile) { data(f); f.member("9.dat", someRows); f.member("toc.dat", toc); f.end() },
		"foreign member":  func(f *tarFile) { data(f); f.member("notes.txt", "x"); f.member("toc.dat", toc); f.end() },
		"traversal":       func(f *tarFile) { data(f); f.member("../9.dat", someRows); f.member("toc.dat", toc); f.end() },
		"within a folder": func(f *tarFile) { data(f); f.member("dump/toc.dat", toc); f.end() },
		"another spelling": func(f *tarFile) {
			f.member("07.dat", someRows)
			f.member("8.dat", someRows)
			f.member("toc.dat", toc)
			f.end()
		},
		"no id": func(f *tarFile) { f.member(".dat", someRows); data(f); f.member("toc.dat", toc); f.end() },
		"id 0":  func(f *tarFile) { f.member("0.dat", someRows); data(f); f.member("toc.dat", toc); f.end() },
		"rows without end": func(f *tarFile) {
			f.member("7.dat", "1\n2\n")
			f.member("8.dat", someRows)
			f.member("toc.dat", toc)
			f.end()
		},
		"empty member": func(f *tarFile) {
			f.member("7.dat", "")
			f.member("8.dat", someRows)
			f.member("toc.dat", toc)
			f.end()
		},
		"rows after the end": func(f *tarFile) {
			f.member("7.dat", someRows+"3\n")
			f.member("8.dat", someRows)
			f.member("toc.dat", toc)
			f.end()
		},
		"no end":         func(f *tarFile) { data(f); f.member("toc.dat", toc) },
		"one zero block": func(f *tarFile) { data(f); f.member("toc.dat", toc); f.end(); f.Truncate(f.Len() - 512) },
		"after the end":  func(f *tarFile) { data(f); f.member("toc.dat", toc); f.end(); f.member("9.dat", someRows) },
		"restore.sql":    func(f *tarFile) { data(f); f.member("toc.dat", toc); f.member("restore.sql", "x"); f.end() },
		"link": func(f *tarFile) {
			f.header(header{name: "7.dat", size: "00000000000 ", magic: "ustar\x0000", kind: '2'})
		},
		"table listed twice": func(f *tarFile) {
			e := some[2]
			e.name = "a"
			data(f)
			f.member("toc.dat", tarTOC(14, some[1], e))
			f.end()
		},
		"another file's name": func(f *tarFile) {
			e := some[2]
			e.file = "7.dat"
			data(f)
			f.member("toc.dat", tarTOC(14, some[1], e))
			f.end()
		},
		"compressed by pg_dump": func(f *tarFile) {
			f.member("7.dat.gz", someRows)
			f.member("8.dat", someRows)
			f.member("toc.dat", toc)
			f.end()
		},
		"large objects": func(f *tarFile) {
			data(f)
			f.member("9.dat", someRows)
			f.member("toc.dat", tarTOC(14, append([]entry{blobs}, some...)...))
			f.end()
		},
	} {
		for _, size := range []int{1, 1 << 20} {
			f := &tarFile{}
			build(f)
			_, err := archive.Check(&chunks{f.Bytes(), size}, export.Directory)
			wantStructureError(t, err, "%s, read by %d", name, size)
		}
	}
}

func TestOneFormatIsNotTakenForAnother(t *testing.T) {
	t.Parallel()
	for _, is := range formats {
		for _, asked := range formats {
			if _, err := archive.Check(bytes.NewReader(dumped.tiny[is]), asked); (err == nil) != (is == asked) {
				t.Errorf("%s as %s: %v", is, asked, err)
			}
		}
	}
}

func TestDirectoryFile(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"toc.dat": true, "1.dat": true, "2147483647.dat": true,
		"": false, "toc": false, "0.dat": false, "01.dat": false, "-1.dat": false, "+1.dat": false, "2147483648.dat": false,
		"1.dat.gz": false, "/1.dat": false, "../toc.dat": false, "1.DAT": false, "blobs.toc": false,
	} {
		if archive.DirectoryFile(name) != want {
			t.Errorf("%q: %t, want %t", name, !want, want)
		}
	}
}
