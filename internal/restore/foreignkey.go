package restore

import (
	"context"
	"slices"
	"strings"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// referElsewhere makes the late foreign keys. The tables that they reference can belong to others, which
// have given rights on them to the login and not to the owner. Then the login makes the key without a
// look at the rows, which would evaluate expressions of the export, and the owner validates it.
func (pl *placing) referElsewhere(ctx context.Context, s *steps) error {
	for _, statement := range pl.late {
		if err := pl.referTo(ctx, s, statement); err != nil {
			return s.refused(ctx, err, headline(statement))
		}
	}
	return nil
}

func (pl *placing) referTo(ctx context.Context, s *steps, statement string) error {
	key, ok := parseForeignKey(statement)
	if !ok || !pl.apart {
		return pl.executed(ctx, statement)
	}
	if _, err := s.conn.Exec(ctx, "SAVEPOINT pgcourier_key").ReadAll(); err != nil {
		return err
	}
	err := pl.executed(ctx, statement)
	if sqlState(err) != insufficientPrivilege {
		if err == nil {
			_, err = s.conn.Exec(ctx, "RELEASE SAVEPOINT pgcourier_key").ReadAll()
		}
		return err
	}
	if _, err := s.conn.Exec(ctx, "ROLLBACK TO SAVEPOINT pgcourier_key; RELEASE SAVEPOINT pgcourier_key").ReadAll(); err != nil {
		return err
	}
	var converts bool
	if err := pl.at.Conn.QueryRow(ctx, convertsSQL, key.of.Schema, key.of.Name, key.to.Schema, key.to.Name, key.columns, key.toList).Scan(&converts); err != nil {
		return err
	}
	if converts {
		return &RejectedError{Stderr: "the owner may not reference table " + identifier(key.to) + ", and the login makes no foreign key with another type than that of the referenced column"}
	}
	for _, statement := range []string{"SET LOCAL ROLE NONE", key.add(), "SET LOCAL ROLE " + quoted(pl.placement.Owner)} {
		if err := s.conn.ExecParams(ctx, statement, nil, nil, nil, nil).Read().Err; err != nil {
			return err
		}
	}
	if key.notValid {
		return nil
	}
	return pl.executed(ctx, "ALTER TABLE "+identifier(key.of)+" VALIDATE CONSTRAINT "+quoted(key.name))
}

// convertsSQL tells whether a foreign key from table $1.$2 to table $3.$4 converts a type that PostgreSQL
// does not have itself. Such a cast can be code of the export, and the server calls it as the owner of the
// referenced table.
const convertsSQL = `
WITH columns (schema, name, col, typ) AS (
  SELECT n.nspname, c.relname, a.attname, a.atttypid FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid JOIN pg_attribute a ON a.attrelid = c.oid
)
SELECT EXISTS (SELECT FROM unnest($5::text[], $6::text[]) k (a, b)
                 JOIN columns a ON a.schema = $1::text AND a.name = $2::text AND a.col = k.a
                 JOIN columns b ON b.schema = $3::text AND b.name = $4::text AND b.col = k.b
                WHERE a.typ >= 16384 AND a.typ <> b.typ)`

// foreignKey is pg_dump's statement that adds a foreign key, taken apart: the login executes it.
type foreignKey struct {
	of, to          export.Table
	name            string
	columns, toList []string
	options         []string // words after the referenced columns, and lists of columns
	notValid        bool
}

// add returns the statement, with NOT VALID.
func (k foreignKey) add() string {
	return "ALTER TABLE " + identifier(k.of) + " ADD CONSTRAINT " + quoted(k.name) + " FOREIGN KEY" + quotedList(k.columns) +
		" REFERENCES " + identifier(k.to) + quotedList(k.toList) + " " + strings.Join(k.options, " ") + " NOT VALID"
}

// keyWords are the words of the options of a foreign key.
var keyWords = []string{
	"MATCH", "FULL", "SIMPLE", "ON", "UPDATE", "DELETE", "CASCADE", "RESTRICT", "SET", "NULL", "DEFAULT", "NO", "ACTION", "DEFERRABLE", "INITIALLY", "DEFERRED", "IMMEDIATE",
}

func parseForeignKey(statement string) (k foreignKey, ok bool) {
	of, rest, ok := newEntry(archive.Heading{}, bare(statement)).altered()
	if !ok || !isWords(rest, "ADD", "CONSTRAINT") || len(rest) < 3 {
		return k, false
	}
	k.of, k.name = of, rest[2].Text
	if rest = rest[3:]; !isWords(rest, "FOREIGN", "KEY") {
		return k, false
	}
	if k.columns, rest, ok = nameList(rest[2:]); !ok || !isWords(rest, "REFERENCES") {
		return k, false
	}
	if k.to.Schema, k.to.Name, rest, ok = archive.Qualified(rest[1:]); !ok {
		return k, false
	}
	if k.toList, rest, ok = nameList(rest); !ok {
		return k, false
	}
	for len(rest) > 0 {
		switch word := strings.ToUpper(rest[0].Text); {
		case rest[0].Is(";"):
			return k, len(rest) == 1
		case isWords(rest, "NOT", "VALID"):
			k.notValid, rest = true, rest[2:]
		case rest[0].Is("("): // SET NULL (column)
			names, after, ok := nameList(rest)
			if !ok {
				return k, false
			}
			k.options, rest = append(k.options, quotedList(names)), after
		case !rest[0].Quoted && slices.Contains(keyWords, word):
			k.options, rest = append(k.options, word), rest[1:]
		default:
			return k, false
		}
	}
	return k, true
}

// isWords reports whether tokens begin with these keywords.
func isWords(tokens []archive.Token, words ...string) bool {
	if len(tokens) < len(words) {
		return false
	}
	for i, w := range words {
		if !tokens[i].Is(w) {
			return false
		}
	}
	return true
}
