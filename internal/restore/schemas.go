package restore

import (
	"bufio"
	"bytes"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// headLimit bounds how much of a script is searched for statements to leave out.
const headLimit = 16 << 20

// setNoEncoding is the statement that pg_dump writes for a source without an encoding. A COPY after it
// stores bytes in any database without a check.
const setNoEncoding = "SET client_encoding = 'SQL_ASCII';"

// forTarget returns a dump's script without what the target cannot execute: CREATE SCHEMA of existing
// schemas, a setting that a server of that major version lacks, and SQL_ASCII if the database is
// UTF8, so that the server checks all bytes. pg_dump writes these at the beginning, among settings
// and comments on schemas, so the search ends at the first other statement.
func forTarget(script *bufio.Reader, at *place) io.Reader {
	left, most := map[string]bool{}, len(at.kept)
	for _, name := range at.kept {
		// pg_dump quotes a name only if necessary.
		left["CREATE SCHEMA "+name+";"] = true
		left["CREATE SCHEMA "+pgx.Identifier{name}.Sanitize()+";"] = true
	}
	if at.encoding == utf8Name {
		left[setNoEncoding] = true
		most++
	}
	if !pgversion.Has(at.Major(), pgversion.TransactionTimeout) {
		left[setTimeout] = true
		most++
	}
	var head bytes.Buffer
	for found := 0; found < most && head.Len() < headLimit; {
		start, err := script.Peek(len("COMMENT ON SCHEMA "))
		if len(start) == 0 {
			return io.MultiReader(&head, failing{err})
		}
		if !mayPrecede(string(start)) {
			break
		}
		piece, err := nextPiece(script)
		if left[string(piece)] {
			found++
		} else {
			head.Write(piece)
		}
		if err != nil {
			return io.MultiReader(&head, failing{err})
		}
	}
	return io.MultiReader(&head, script)
}

// failing is a reader that returns only an error.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// mayPrecede reports whether CREATE SCHEMA may follow a piece with this beginning.
func mayPrecede(start string) bool {
	if strings.ContainsAny(start[:1], " \t\r\n\\-") {
		return true
	}
	for _, s := range []string{"SET ", "SELECT pg_catalog.", "CREATE SCHEMA ", "COMMENT ON SCHEMA ", "SECURITY LABEL "} {
		if strings.HasPrefix(start, s) {
			return true
		}
	}
	return false
}

// nextPiece reads one space, one line that begins with a comment or a command of psql, or one
// statement with its semicolon. At the end of the script it returns the reader's error.
func nextPiece(script *bufio.Reader) ([]byte, error) {
	first, err := script.ReadByte()
	if err != nil {
		return nil, err
	}
	piece := []byte{first}
	switch first {
	case ' ', '\t', '\r', '\n':
		return piece, nil
	case '-', '\\':
		line, err := script.ReadBytes('\n')
		return append(piece, line...), err
	}
	// pg_dump doubles a quote within quotes, so there are no other escapes to handle.
	for quote := byte(0); len(piece) < headLimit; {
		c, err := script.ReadByte()
		if err != nil {
			return piece, err
		}
		piece = append(piece, c)
		switch {
		case c == quote:
			quote = 0
		case quote != 0:
		case c == '\'' || c == '"':
			quote = c
		case c == ';':
			return piece, nil
		}
	}
	return piece, nil
}
