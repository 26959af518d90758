package archive_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

func TestCustomOfEachVersion(t *testing.T) {
	t.Parallel()
	for minor := byte(12); minor <= 16; minor++ {
		for _, intSize := range []int{4, 8} {
			a := &writer{format: 1, minor: minor, intSize: intSize}
			a.toc(append([]entry{blobs}, some...)...)
			a.block(8, "\\.\n\n\n", 100)
			a.blobs(9, "x", "", strings.Repeat("y", 1000))
			a.block(7, someRows, 3)
			for _, size := range []int{1, 3, 1 << 20} {
				got, err := archive.Check(&chunks{a.Bytes(), size}, export.Custom)
				if err != nil {
					t.Fatalf("version 1.%d, integers of %d bytes: %v", minor, intSize, err)
				}
				if want := (map[export.Table]int64{tableA: 2, tableB: 0}); !maps.Equal(got.Tables, want) {
					t.Errorf("version 1.%d: %v, want %v", minor, got.Tables, want)
				}
			}
		}
	}
}

func TestCustomThatIsRefused(t *testing.T) {
	t.Parallel()
	whole := func(a *writer) {
		a.toc(some...)
		a.block(7, someRows, 100)
		a.block(8, someRows, 100)
	}
	patch := func(at int, v byte) func(*writer) {
		return func(a *writer) { whole(a); a.Bytes()[at] = v }
	}
	huge := strings.Repeat("x", 5000)
	for name, build := range map[string]func(*writer){
		"magic":              patch(0, 'p'),
		"major version":      patch(5, 2),
		"too old":            patch(6, 11),
		"too new":            patch(6, 17),
		"size of integers":   patch(8, 255),
		"size of offsets":    patch(9, 0),
		"format":             patch(10, 3),
		"compressed":         patch(12, 6),
		"entry count":        patch(11+5+7*5+7+9+9, 1),
		"missing table":      func(a *writer) { a.toc(some...); a.block(7, someRows, 100) },
		"table twice":        func(a *writer) { whole(a); a.block(7, someRows, 100) },
		"unlisted table":     func(a *writer) { whole(a); a.block(6, someRows, 100) },
		"table without data": func(a *writer) { whole(a); a.block(5, someRows, 100) },
		"rows as blobs":      func(a *writer) { a.toc(some...); a.block(7, someRows, 100); a.blobs(8, "x") },
		"blobs as rows":      func(a *writer) { a.toc(blobs); a.block(9, someRows, 100) },
		"blobs missing":      func(a *writer) { a.toc(blobs) },
		"unknown block":      func(a *writer) { whole(a); a.WriteByte(2) },
		"trailing zeros":     func(a *writer) { whole(a); a.Write(make([]byte, 512)) },
		"rows without end":   func(a *writer) { a.toc(some...); a.block(7, "1\n2\n", 100); a.block(8, someRows, 100) },
		"text after rows":    func(a *writer) { a.toc(some...); a.block(7, someRows+"x", 100); a.block(8, someRows, 100) },
		"NUL in rows":        func(a *writer) { a.toc(some...); a.block(7, "a\x00"+someRows, 100); a.block(8, someRows, 100) },
		"negative chunk":     func(a *writer) { a.toc(some...); a.WriteByte(1); a.int(7); a.int(-5) },
		"unknown data":       func(a *writer) { a.toc(entry{id: 1, dumper: true, kind: "NEWS DATA"}); a.block(1, someRows, 9) },
		"id twice":           func(a *writer) { a.toc(some[1], some[1]); a.block(7, someRows, 9) },
		"same table twice": func(a *writer) {
			e := some[1]
			e.id = 8
			a.toc(some[1], e)
			a.block(7, someRows, 9)
			a.block(8, someRows, 9)
		},
		"id zero": func(a *writer) { a.toc(entry{kind: "TABLE"}) },
		"long name": func(a *writer) {
			a.toc(entry{id: 1, dumper: true, kind: "TABLE DATA", name: huge})
			a.block(1, someRows, 9)
		},
		"negative entries": func(a *writer) {
			a.toc()
			binary.LittleEndian.PutUint32(a.Bytes()[a.Len()-4:], 1)
			a.Bytes()[a.Len()-5] = 1
		},
		"endless entries": func(a *writer) { a.toc(); binary.LittleEndian.PutUint32(a.Bytes()[a.Len()-4:], 1<<31-1) },
		"string of 2 GiB": func(a *writer) {
			a.toc()
			a.Truncate(a.Len() - 5)
			a.int(1)
			a.int(1)
			a.int(1)
			a.int(1<<31 - 1)
		},
		"integer beyond 2^31": func(a *writer) { a.toc(); binary.LittleEndian.PutUint32(a.Bytes()[a.Len()-4:], 1<<31) },
	} {
		for _, size := range []int{1, 1 << 20} {
			a := &writer{format: 1, minor: 14, intSize: 4}
			build(a)
			_, err := archive.Check(&chunks{a.Bytes(), size}, export.Custom)
			wantStructureError(t, err, "%s, read by %d", name, size)
		}
	}
	for minor, newer := range map[byte]bool{11: false, 17: true} {
		a := &writer{format: 1, minor: minor, intSize: 4}
		whole(a)
		err := check(a.Bytes(), export.Custom)
		wantStructureError(t, err, "version 1.%d", minor)
		if errors.Is(err, export.ErrNewerFormat) != newer {
			t.Errorf("version 1.%d: %v, want newer than any known: %t", minor, err, newer)
		}
	}
	a := &writer{format: 1, minor: 14, intSize: 4}
	whole(a)
	if err := check(a.Bytes(), export.Custom); err != nil {
		t.Errorf("the one without a fault: %v", err)
	}
	if err := check(dumped.rich[export.Tar], export.Custom); err == nil {
		t.Error("a tar archive passed as custom")
	}
}

// structure reads a custom archive of any version since 1.14 and lists the bytes that determine its
// structure.
func structure(t *testing.T, b []byte) []int {
	t.Helper()
	var at []int
	pos := 0
	mark := func(n int) { // n bytes of structure
		for range n {
			at = append(at, pos)
			pos++
		}
	}
	number := func() int {
		mark(5)
		v := int(binary.LittleEndian.Uint32(b[pos-4:]))
		if b[pos-5] == 1 {
			v = -v
		}
		return v
	}
	text := func() string {
		n := max(0, number())
		pos += n
		return string(b[pos-n : pos])
	}
	minor := b[6]
	if minor < 14 || minor > 16 {
		t.Fatalf("archive version 1.%d: teach this test its table of contents", minor)
	}
	mark(7)
	pos++ // the revision has no meaning
	mark(3)
	if minor >= 15 {
		mark(1) // the compression's algorithm
	} else {
		number() // the compression's level
	}
	pos += 7 * 5 // times: any are valid
	for range 3 {
		text()
	}
	for n := number(); n > 0; n-- {
		pos += 5 // the id; that of an entry with data shows in its block
		number() // has data
		for range 4 {
			text()
		}
		pos += 5      // the section: another one is valid too
		for range 6 { // definition, drop, COPY, schema, tablespace, access method
			text()
		}
		if minor >= 16 {
			pos += 5 // the relkind: pg_restore alone uses it
		}
		text()                    // owner
		text()                    // the flag of tables with oids
		for next := true; next; { // dependencies
			start := pos
			text()
			next = b[start] == 0
		}
		pos += 9 // the offset, unset when written to a pipe
	}
	for pos < len(b) {
		kind := b[pos]
		mark(1)
		number()
		if kind == 1 {
			for text() != "" {
			}
			continue
		}
		for pos += 5; !bytes.Equal(b[pos-5:pos], make([]byte, 5)); pos += 5 {
			for text() != "" {
			}
		}
	}
	return at
}

func TestEachFlippedBitOfCustomStructureIsNoticed(t *testing.T) {
	t.Parallel()
	dump := bytes.Clone(dumped.tiny[export.Custom])
	for _, at := range structure(t, dump) {
		for bit := range 8 {
			dump[at] ^= 1 << bit
			wantStructureError(t, check(dump, export.Custom), "byte %d, bit %d", at, bit)
			dump[at] ^= 1 << bit
		}
	}
}
