package archive_test

import (
	"bytes"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

func tarTOC(minor byte, entries ...entry) string {
	a := &writer{format: 3, minor: minor, intSize: 4}
	a.toc(entries...)
	return a.String()
}

func TestTarOfEachVersion(t *testing.T) {
	t.Parallel()
	for minor := byte(12); minor <= 16; minor++ {
		f := &tarFile{}
		f.member("toc.dat", tarTOC(minor, append([]entry{blobs}, some...)...))
		f.member("7.dat", someRows)
		f.member("blob_4294967295.dat", strings.Repeat("x", 600))
		f.member("blob_1.dat", "")
		list := "blobs.toc"
		if minor == 16 {
			list = "blobs_9.toc"
		}
		f.member(list, "1 blob_1.dat\n")
		f.member("8.dat", "\\.\n\n\n")
		f.member("restore.sql", "-- "+strings.Repeat("y", 509))
		f.end()
		f.Write(make([]byte, 8192)) // tar's own padding
		for _, size := range []int{1, 511, 1 << 20} {
			got, err := archive.Check(&chunks{f.Bytes(), size}, export.Tar)
			if err != nil {
				t.Fatalf("version 1.%d: %v", minor, err)
			}
			if want := (map[export.Table]int64{tableA: 2, tableB: 0}); !maps.Equal(got.Tables, want) {
				t.Errorf("version 1.%d: %v, want %v", minor, got.Tables, want)
			}
		}
	}
}

func TestTarThatIsRefused(t *testing.T) {
	t.Parallel()
	toc := tarTOC(14, some...)
	regular := func(name, size string) header {
		return header{name: name, size: size, magic: "ustar\x0000", kind: '0'}
	}
	for name, build := range map[string]func(*tarFile){
		"nothing":      func(*tarFile) {},
		"only the end": func(f *tarFile) { f.end() },
		"no toc":       func(f *tarFile) { f.member("restore.sql", "x"); f.end() },
		"toc later":    func(f *tarFile) { f.member("7.dat", someRows); f.member("toc.dat", toc); f.end() },
		"empty toc":    func(f *tarFile) { f.member("toc.dat", ""); f.member("restore.sql", "x"); f.end() },
		"short toc":    func(f *tarFile) { f.member("toc.dat", toc[:len(toc)-1]); rest(f) },
		"long toc":     func(f *tarFile) { f.member("toc.dat", toc+"x"); rest(f) },
		"toc of custom": func(f *tarFile) {
			a := writer{format: 1, minor: 14, intSize: 4}
			a.toc(some...)
			f.member("toc.dat", a.String())
			rest(f)
		},
		"no restore.sql": func(f *tarFile) {
			f.member("toc.dat", toc)
			f.member("7.dat", someRows)
			f.member("8.dat", someRows)
			f.end()
		},
		"after restore.sql": func(f *tarFile) {
			f.member("toc.dat", toc)
			f.member("7.dat", someRows)
			f.member("restore.sql", "x")
			f.member("8.dat", someRows)
			f.end()
		},
		"missing member": func(f *tarFile) {
			f.member("toc.dat", toc)
			f.member("7.dat", someRows)
			f.member("restore.sql", "x")
			f.end()
		},
		"member twice": func(f *tarFile) {
			f.member("toc.dat", toc)
			f.member("7.dat", someRows)
			f.member("7.dat", someRows)
			rest(f)
		},
		"unlisted member": func(f *tarFile) { f.member("toc.dat", toc); f.member("9.dat", someRows); rest(f) },
		"unlisted blob":   func(f *tarFile) { f.member("toc.dat", toc); f.member("blob_1.dat", "x"); rest(f) },
		"traversal":       func(f *tarFile) { f.member("toc.dat", toc); f.member("../7.dat", someRows); rest(f) },
		"rows without end": func(f *tarFile) {
			f.member("toc.dat", toc)
			f.member("7.dat", "1\n2\n")
			f.member("8.dat", someRows)
			f.member("restore.sql", "x")
			f.end()
		},
		"empty member": func(f *tarFile) {
			f.member("toc.dat", toc)
			f.member("7.dat", "")
			f.member("8.dat", someRows)
			f.member("restore.sql", "x")
			f.end()
		},
		"strange file": func(f *tarFile) {
			e := some[1]
			e.file = "8.dat"
			f.member("toc.dat", tarTOC(14, e))
			f.member("8.dat", someRows)
			f.member("restore.sql", "x")
			f.end()
		},
		"same file": func(f *tarFile) {
			f.member("toc.dat", tarTOC(14, blobs, entry{id: 10, dumper: true, kind: "BLOBS"}))
			f.member("blobs.toc", "x")
			f.member("restore.sql", "x")
			f.end()
		},
		"no end":         func(f *tarFile) { f.member("toc.dat", toc); rest(f); f.Truncate(f.Len() - 1024) },
		"one zero block": func(f *tarFile) { f.member("toc.dat", toc); rest(f); f.Truncate(f.Len() - 512) },
		"half a block":   func(f *tarFile) { f.member("toc.dat", toc); rest(f); f.Write(make([]byte, 100)) },
		"after the end":  func(f *tarFile) { f.member("toc.dat", toc); rest(f); f.member("x", "") },
		"after a zero block": func(f *tarFile) {
			f.member("toc.dat", toc)
			rest(f)
			f.Truncate(f.Len() - 512)
			f.member("x", "")
			f.end()
		},
		"checksum":         func(f *tarFile) { h := regular("toc.dat", ""); h.sum = 1; f.header(h) },
		"link":             func(f *tarFile) { h := regular("toc.dat", "00000000000 "); h.kind = '2'; f.header(h) },
		"old header":       func(f *tarFile) { h := regular("toc.dat", "00000000000 "); h.magic = ""; f.header(h) },
		"no size":          func(f *tarFile) { f.header(regular("toc.dat", "")) },
		"strange size":     func(f *tarFile) { f.header(regular("toc.dat", "00000x00000 ")) },
		"size beyond 2^63": func(f *tarFile) { f.header(regular("toc.dat", "\x80\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00")) },
		"size of 2^63-1": func(f *tarFile) {
			f.header(regular("toc.dat", "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff"))
			f.WriteString(toc)
		},
		"long pax":         func(f *tarFile) { f.header(header{name: "x", size: "00001000000 ", magic: "ustar", kind: 'x'}) },
		"strange pax":      func(f *tarFile) { pax(f, "99 size=1\n"); f.member("toc.dat", toc); rest(f) },
		"pax without size": func(f *tarFile) { pax(f, "10 size=x\n"); f.member("toc.dat", toc); rest(f) },
		"pax path":         func(f *tarFile) { pax(f, "14 path=7.dat\n"); f.member("toc.dat", toc); rest(f) },
		"two pax":          func(f *tarFile) { pax(f, "10 size=3\n"); pax(f, "10 size=3\n"); f.member("toc.dat", toc); rest(f) },
		"pax at the end": func(f *tarFile) {
			f.member("toc.dat", toc)
			rest(f)
			f.Truncate(f.Len() - 1024)
			pax(f, "10 size=0\n")
			f.end()
		},
	} {
		for _, size := range []int{1, 1 << 20} {
			f := &tarFile{}
			build(f)
			_, err := archive.Check(&chunks{f.Bytes(), size}, export.Tar)
			wantStructureError(t, err, "%s, read by %d", name, size)
		}
	}
}

// rest writes the part after the table of contents for some entries.
func rest(f *tarFile) {
	f.member("7.dat", someRows)
	f.member("8.dat", someRows)
	f.member("restore.sql", "x")
	f.end()
}

func pax(f *tarFile, records string) {
	f.header(header{name: "x", size: fmt.Sprintf("%011o ", len(records)), magic: "ustar\x0000", kind: 'x'})
	f.body(records)
}

func TestTarSizesBeyondOctal(t *testing.T) {
	t.Parallel()
	toc := tarTOC(14, some...)
	for name, write := range map[string]func(f *tarFile, name, data string){
		"base-256": func(f *tarFile, name, data string) {
			size := fmt.Sprintf("\x80%s%c%c", strings.Repeat("\x00", 9), 0, 0)
			b := []byte(size)
			b[10], b[11] = byte(len(data)>>8), byte(len(data))
			f.header(header{name: name, size: string(b), magic: "ustar\x0000", kind: '0'})
			f.body(data)
		},
		"pax": func(f *tarFile, name, data string) {
			record := " size=" + strconv.Itoa(len(data)) + "\n"
			n := len(record) + 2
			pax(f, "19 comment=a=b c d\n"+strconv.Itoa(n)+record)
			f.header(header{name: name, size: "00000000000 ", magic: "ustar\x0000", kind: '0'})
			f.body(data)
		},
	} {
		f := &tarFile{}
		f.member("toc.dat", toc)
		write(f, "7.dat", strings.Repeat("row\n", 100)+"\\.\n\n\n")
		write(f, "8.dat", someRows+strings.Repeat("\n", 90))
		f.member("restore.sql", "x")
		f.end()
		got, err := archive.Check(bytes.NewReader(f.Bytes()), export.Tar)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got.Tables[tableA] != 100 || got.Tables[tableB] != 2 {
			t.Errorf("%s: %v", name, got.Tables)
		}
	}
}

func TestEachFlippedByteOfTarStructureIsNoticed(t *testing.T) {
	t.Parallel()
	for _, f := range []export.Format{export.Tar, export.Directory} {
		dump := bytes.Clone(dumped.tiny[f])
		for n, i := range tarStructure(t, dump) {
			// A bit, another one in the next byte, and all of them.
			for _, flip := range []byte{1 << (n % 8), 0xff} {
				dump[i] ^= flip
				if !wantStructureError(t, check(dump, f), "%s: byte %d, bits %08b", f, i, flip) {
					return
				}
				dump[i] ^= flip
			}
		}
	}
}

// tarStructure lists the bytes of a tar that belong to no member's body.
func tarStructure(t *testing.T, dump []byte) (at []int) {
	t.Helper()
	span := func(from, to int) {
		for ; from < to; from++ {
			at = append(at, from)
		}
	}
	for pos := 0; ; {
		span(pos, pos+512)
		if dump[pos] == 0 {
			span(pos+512, len(dump))
			return at
		}
		size, err := strconv.ParseInt(string(dump[pos+124:pos+135]), 8, 64)
		if err != nil {
			t.Fatal(err)
		}
		end := pos + 512 + int(size)
		pos = end + (-end & 511)
		span(end, pos)
	}
}
