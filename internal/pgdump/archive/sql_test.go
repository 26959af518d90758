package archive_test

import (
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

const (
	opening  = "--\n-- PostgreSQL database dump\n--\n\n"
	trailer  = "--\n-- PostgreSQL database dump complete\n--\n\n"
	restrict = "\\restrict K3y\n\n"
	leave    = "\\unrestrict K3y\n\n"
	rows2    = "COPY s.t (a) FROM stdin;\n1\n2\n\\.\n\n\n"
)

func TestSQLThatIsWhole(t *testing.T) {
	t.Parallel()
	st := export.Table{Schema: "s", Name: "t"}
	for name, c := range map[string]struct {
		script string
		want   map[export.Table]int64
	}{
		"empty":                 {opening + trailer, nil},
		"restricted":            {opening + restrict + rows2 + trailer + leave, map[export.Table]int64{st: 2}},
		"comments after it":     {opening + trailer + "-- more\n\n/* and more */\n", nil},
		"empty table":           {"COPY s.t FROM stdin;\n\\.\n" + trailer, map[export.Table]int64{st: 0}},
		"empty rows":            {"COPY s.t FROM stdin;\n\n\n\n\\.\n" + trailer, map[export.Table]int64{st: 3}},
		"lower case":            {"copy s.t from STDIN;\n1\n\\.\n" + trailer, map[export.Table]int64{st: 1}},
		"folded name":           {"COPY S.T FROM stdin;\n1\n\\.\n" + trailer, map[export.Table]int64{st: 1}},
		"no schema":             {"COPY t FROM stdin;\n1\n\\.\n" + trailer, map[export.Table]int64{{Name: "t"}: 1}},
		"quoted":                {"COPY \"a\"\"b\nc.\".\"d;\" (\"x)\", \"FROM\") FROM stdin;\n1\n\\.\n" + trailer, map[export.Table]int64{{Schema: "a\"b\nc.", Name: "d;"}: 1}},
		"not an end":            {"COPY s.t FROM stdin;\n\\.x\n\\..\n.\n\\\n\\N\n\\\\.\n\\.\n" + trailer, map[export.Table]int64{st: 6}},
		"trailer in rows":       {"COPY s.t FROM stdin;\n" + trailer + "\\.\n" + trailer, map[export.Table]int64{st: 4}},
		"copy in string":        {"SELECT '\nCOPY x FROM stdin;\n';\n" + trailer, nil},
		"copy in escape string": {"SELECT E'\\'\nCOPY x FROM stdin;\n';\n" + trailer, nil},
		"copy in joined string": {"SELECT E'a'\n  '\\'\nCOPY x FROM stdin;\n';\n" + trailer, nil},
		"copy in name":          {"SELECT 1 AS \"\nCOPY x FROM stdin;\n\";\n" + trailer, nil},
		"copy in dollars":       {"SELECT $$\nCOPY x FROM stdin;\n$a$ $;$$;\n" + trailer, nil},
		"copy in tagged":        {"SELECT $a_1$\nCOPY x FROM stdin;\n$$ $a$ $a_1 $a_1$;\n" + trailer, nil},
		"copy in comment":       {"/* /* */\nCOPY x FROM stdin;\n\\. */ -- COPY x FROM stdin;\n" + trailer, nil},
		"copy in parentheses":   {"CREATE RULE r AS ON INSERT TO t DO (SELECT 1;\nCOPY x FROM stdin;\n);\n" + trailer, nil},
		"copy in routine":       {"CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN 1 THEN 2 END;\nCOPY x FROM stdin;\nEND;\n" + trailer, nil},
		"slash at end":          {`SELECT '\';` + "\n" + trailer, nil},
		"old strings":           {"SET standard_conforming_strings = off;\nSELECT '\\'\nCOPY x FROM stdin;\n';\n" + trailer, nil},
		"old strings end":       {"SET standard_conforming_strings = off;SET standard_conforming_strings = on;SELECT '\\';\n" + trailer, nil},
		"operators":             {"SELECT a-b, a/b, a*/**/b, -1, - -1, $1, $1::text, 1e-5, a$b$c, $$'$$;\n" + trailer, nil},
		"dollar in word":        {"SELECT a$b$ '';\n" + trailer, nil},
		"through root": {
			"-- Data for Name: p; 1; Type: TABLE DATA; Schema: s; Owner: -\n--\n\n-- load via partition root s.r\n" + rows2 +
				"-- Data for Name: q; Type: TABLE DATA; Schema: s; Owner: -\n--\n\n-- load via partition root s.r\n" + rows2 +
				"-- Data for Name: t; Type: TABLE DATA; Schema: s; Owner: -\n--\n\n" + rows2 + trailer,
			map[export.Table]int64{{Schema: "s", Name: "p; 1"}: 2, {Schema: "s", Name: "q"}: 2, st: 2},
		},
	} {
		for _, size := range []int{1, 2, 3, 7, 1 << 20} {
			got, err := archive.Check(&chunks{[]byte(c.script), size}, export.SQL)
			if err != nil {
				t.Errorf("%s, read by %d: %v", name, size, err)
			} else if !maps.Equal(got.Tables, c.want) {
				t.Errorf("%s, read by %d: %v, want %v", name, size, got.Tables, c.want)
			}
		}
	}
}

func TestSQLThatIsRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 2000)
	for name, script := range map[string]string{
		"nothing":                 "",
		"no trailer":              opening + rows2,
		"only blank lines":        "\n\n\n",
		"no unrestrict":           restrict + trailer,
		"another key":             restrict + trailer + "\\unrestrict K3z\n\n",
		"no key":                  restrict + trailer + "\\unrestrict\n\n",
		"no restrict":             trailer + leave,
		"unrestrict first":        restrict + leave + trailer,
		"unrestrict in mid-dump":  restrict + "SELECT 1;\n" + leave + "SELECT 2;\n" + trailer + leave,
		"restricted twice":        restrict + restrict + trailer + leave,
		"restricted late":         "SELECT 1;\n" + restrict + trailer + leave,
		"restricted at the end":   trailer + restrict + leave,
		"indented unrestrict":     restrict + trailer + " " + leave,
		"trailer in a row":        restrict + "COPY s.t FROM stdin;\n" + trailer + leave,
		"trailer in a string":     "SELECT '\n" + trailer,
		"trailer in a name":       "SELECT \"\n" + trailer,
		"trailer in dollars":      "SELECT $$\n" + trailer,
		"trailer in a comment":    "/*\n" + trailer,
		"trailer in a statement":  "SELECT 1\n" + trailer,
		"trailer in parentheses":  "SELECT (1;\n" + trailer,
		"trailer in routine":      "CREATE FUNCTION f() BEGIN ATOMIC SELECT 1;\n" + trailer,
		"indented trailer":        "--\n -- PostgreSQL database dump complete\n--\n\n",
		"trailer behind code":     "SELECT 1;--\n-- PostgreSQL database dump complete\n--\n\n",
		"trailer without rule":    "-- PostgreSQL database dump complete\n--\n\n",
		"trailer with more":       "--\n-- PostgreSQL database dump complete \n--\n\n",
		"trailer cut by a line":   "--\n-- PostgreSQL database dump complete\n\n--\n\n",
		"statement after it":      trailer + "SELECT 1;\n" + trailer,
		"copy after it":           trailer + rows2 + trailer,
		"semicolon after it":      trailer + ";\n" + trailer,
		"meta-command":            "\\! true\n" + trailer,
		"meta-command in line":    "SELECT 1 \\g\n;\n" + trailer,
		"meta-command in words":   "SELECT a\\b;\n" + trailer,
		"connect":                 "\\connect db\n" + trailer,
		"end without rows":        "\\.\n" + trailer,
		"long meta-command":       "\\restrict " + long + "\n" + trailer + "\\unrestrict " + long + "\n\n",
		"strange key":             "\\restrict a;b\n" + trailer + "\\unrestrict a;b\n\n",
		"NUL":                     "SELECT\x00 1;\n" + trailer,
		"NUL in a row":            "COPY s.t FROM stdin;\na\x00b\n\\.\n" + trailer,
		"NUL begins a row":        "COPY s.t FROM stdin;\n\x00b\n\\.\n" + trailer,
		"table twice":             rows2 + rows2 + trailer,
		"copy to":                 "COPY s.t TO stdout;\n" + trailer,
		"copy from file":          "COPY s.t FROM '/etc/passwd';\n" + trailer,
		"copy from program":       "COPY s.t FROM PROGRAM 'x';\n" + trailer,
		"copy with options":       "COPY s.t FROM stdin WITH (FREEZE);\n1\n\\.\n" + trailer,
		"copy query":              "COPY (SELECT 1) TO stdout;\n" + trailer,
		"copy a.b.c":              "COPY a.b.c FROM stdin;\n1\n\\.\n" + trailer,
		"copy nothing":            "COPY;\n" + trailer,
		"copy quoted from":        "COPY t \"from\" stdin;\n1\n\\.\n" + trailer,
		"copy long name":          "COPY " + long + " FROM stdin;\n1\n\\.\n" + trailer,
		"copy dollar":             "COPY $$t$$ FROM stdin;\n1\n\\.\n" + trailer,
		"rows on copy's line":     "COPY s.t FROM stdin; 1\n\\.\n" + trailer,
		"long dollar tag":         "SELECT $" + long + "$ $" + long + "$;\n" + trailer,
		"string after old string": "SET standard_conforming_strings = off;\nSELECT '\\';\n" + trailer,
		"routine named begin":     "CREATE FUNCTION s.begin() AS $$ $$;\n" + rows2 + trailer,
	} {
		for _, size := range []int{1, 5, 1 << 20} {
			_, err := archive.Check(&chunks{[]byte(script), size}, export.SQL)
			wantStructureError(t, err, "%s, read by %d", name, size)
		}
	}
}

// chunks reads size bytes at a time.
type chunks struct {
	b    []byte
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.b[:min(c.size, len(c.b))])
	c.b = c.b[n:]
	return n, nil
}

func TestSQLRowsAreCountedWhateverTheyHold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// Rows as COPY writes them: without line breaks, and no row is "\.".
		row := rapid.StringMatching(`(\\\\|\\N|\\n|[.a\t-]|\\\\\.|aaaaaaaaaaaaaaaa){0,12}`)
		rows := rapid.SliceOfN(row, 0, 60).Draw(t, "rows")
		var b strings.Builder
		b.WriteString(opening + restrict + "COPY s.t (a) FROM stdin;\n")
		for _, r := range rows {
			fmt.Fprintln(&b, r)
		}
		b.WriteString("\\.\n\n\n" + trailer + leave)
		size := rapid.IntRange(1, 200).Draw(t, "size")
		got, err := archive.Check(&chunks{[]byte(b.String()), size}, export.SQL)
		if err != nil {
			t.Fatal(err)
		}
		if got.Rows() != int64(len(rows)) {
			t.Fatalf("%d rows, want %d", got.Rows(), len(rows))
		}
	})
}
