package archive_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// readScript returns every statement and the rows after it.
func readScript(r io.Reader) (pieces []string, rows int64, err error) {
	s := archive.NewScript(r)
	for {
		statement, copies, err := s.Next()
		if err == io.EOF { //nolint:errorlint // a wrapped EOF is a failure, not an end
			return pieces, rows, nil
		}
		if err != nil {
			return pieces, rows, err
		}
		pieces = append(pieces, statement)
		if copies {
			data, err := io.ReadAll(s)
			if err != nil {
				return pieces, rows, err
			}
			rows += int64(bytes.Count(data, []byte("\n")))
			pieces = append(pieces, string(data))
		}
	}
}

func TestAScriptIsReadStatementByStatement(t *testing.T) {
	t.Parallel()
	const last = "--\n-- PostgreSQL database dump complete\n--\n\n"
	scripts := map[string]string{"small": `SET standard_conforming_strings = on;
CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $_$ SELECT ';' /* ; */ $_$;
COPY "s"."t" (a) FROM stdin;
\\.
a;b

\.


CREATE TABLE ";" (a text DEFAULT ';');
COPY "s"."empty" (a) FROM stdin;
\.
` + "\n" + last}
	want := []string{
		"SET standard_conforming_strings = on;", "\nCREATE FUNCTION f() RETURNS text LANGUAGE sql AS $_$ SELECT ';' /* ; */ $_$;",
		"\nCOPY \"s\".\"t\" (a) FROM stdin;", "\\\\.\na;b\n\n", "\n\nCREATE TABLE \";\" (a text DEFAULT ';');", "\nCOPY \"s\".\"empty\" (a) FROM stdin;", "",
	}
	if got, _, err := readScript(strings.NewReader(scripts["small"])); err != nil || strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("read %q (%v)\nwant %q", got, err, want)
	}
	scripts["rich"], scripts["tiny"] = string(dumped.rich[export.SQL]), string(dumped.tiny[export.SQL])
	for name, text := range scripts {
		contents, err := archive.Check(strings.NewReader(text), export.SQL)
		if err != nil {
			t.Fatal(err)
		}
		whole, rows, err := readScript(strings.NewReader(text))
		if err != nil || rows != contents.Rows() {
			t.Errorf("%s: %d rows, want %d (%v)", name, rows, contents.Rows(), err)
		}
		bytewise, _, err := readScript(iotest.OneByteReader(strings.NewReader(text)))
		if err != nil || strings.Join(bytewise, "|") != strings.Join(whole, "|") {
			t.Errorf("%s: other statements byte by byte (%v)", name, err)
		}
		for cut := range 40 {
			_, _, err := readScript(strings.NewReader(text[:len(text)*cut/40]))
			if _, ok := errors.AsType[*archive.StructureError](err); !ok {
				t.Errorf("%s cut after %d of 40: %v", name, cut, err)
			}
		}
		lost := errors.New("lost")
		if _, _, err := readScript(io.MultiReader(strings.NewReader(text[:len(text)/2]), iotest.ErrReader(lost))); !errors.Is(err, lost) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Rows that are not read are skipped.
func TestRowsOfAScriptCanBeSkipped(t *testing.T) {
	t.Parallel()
	text := dumped.rich[export.SQL]
	all, _, err := readScript(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	s, n := archive.NewScript(bytes.NewReader(text)), 0
	for {
		_, copies, err := s.Next()
		if err == io.EOF { //nolint:errorlint // as above
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
		if copies {
			n++
		}
	}
	if n != len(all) {
		t.Errorf("%d pieces, want %d", n, len(all))
	}
}
