package restore

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// dataKinds are the kinds of entries that follow all definitions of tables, sequences and types.
var dataKinds = []string{
	"TABLE DATA", "SEQUENCE SET", "INDEX", "INDEX ATTACH", "CONSTRAINT", "FK CONSTRAINT", "TRIGGER", "STATISTICS", "POLICY", "ROW SECURITY", "RULE",
}

// next takes the next statement of the script, and returns those to execute now: none, or the ones
// before it and itself. The rows of a COPY can be read after it is returned.
func (pl *placing) next(ctx context.Context, statement string, copies bool) ([]string, error) {
	if err := written(statement); err != nil {
		return nil, err
	}
	if h, ok := archive.HeadingOf(statement); ok {
		pl.current.Heading = h
	}
	head := bare(statement)
	switch {
	case strings.HasPrefix(head, "SET lock_timeout "), // that of the restore stays
		strings.HasPrefix(head, "CREATE SCHEMA "), // made before, for the owner
		head == emptyPath:                         // each statement has it
		return nil, nil
	case settable(head):
		return []string{statement}, nil
	case pl.elsewhere(head):
		return nil, nil
	}
	if len(pl.placement.Tables) == 0 {
		pl.names(statement, copies)
		return []string{statement}, nil
	}
	e := newEntry(pl.current.Heading, statement)
	if pl.selection != nil {
		return pl.select1(e, copies)
	}
	if !copies && !slices.Contains(dataKinds, e.Kind) {
		pl.pending = append(pl.pending, e)
		return nil, nil
	}
	out, err := pl.resolve(ctx)
	if err != nil {
		return nil, err
	}
	last, err := pl.select1(e, copies)
	return append(out, last...), err
}

// elsewhere reports whether a statement belongs to a schema of the export that was not chosen, or to a
// schema itself while tables are chosen.
func (pl *placing) elsewhere(head string) bool {
	if pl.current.Schema != "" {
		// A heading has the name on one line.
		return len(pl.placement.Schemas) > 0 && pl.formerly == "" && !slices.ContainsFunc(pl.schemas, func(name string) bool {
			return strings.NewReplacer("\n", " ", "\r", " ").Replace(name) == pl.current.Schema
		})
	}
	if len(pl.placement.Tables) > 0 {
		return true
	}
	rest := archive.After(archive.Tokens(head), "SCHEMA")
	return len(pl.placement.Schemas) > 0 && (len(rest) == 0 || !slices.Contains(pl.schemas, rest[0].Text))
}

// select1 returns the statement if it belongs to the chosen tables.
func (pl *placing) select1(e entry, copies bool) ([]string, error) {
	take, err := pl.selection.takes(e)
	if err != nil || !take {
		return nil, err
	}
	pl.names(e.statement, copies)
	return []string{e.statement}, nil
}

// resolve finds the chosen tables among the definitions, makes the target ready for them, and returns
// the definitions that belong to them.
func (pl *placing) resolve(ctx context.Context) (out []string, err error) {
	names := pl.placement.Tables
	if pl.formerly != "" { // the script has the schema's new name
		names = slices.Clone(names)
		for i, n := range names {
			if rest, ok := strings.CutPrefix(n, quoted(pl.formerly)+"."); ok {
				names[i] = quoted(pl.placement.Schema) + "." + rest
			} else if rest, ok := strings.CutPrefix(n, pl.formerly+"."); ok {
				names[i] = pl.placement.Schema + "." + rest
			}
		}
	}
	if pl.selection, err = newSelection(names, pl.pending); err != nil {
		return nil, err
	}
	conn := pl.at.Conn
	pl.selection.exists = func(t export.Table) (there bool, err error) {
		err = conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", identifier(t)).Scan(&there)
		return there, ofTargetError(err, "look for a table")
	}
	chosen := slices.SortedFunc(maps.Keys(pl.selection.tables), compareTables)
	pl.schemas = slices.DeleteFunc(slices.Clone(pl.schemas), func(s string) bool {
		return !slices.ContainsFunc(chosen, func(t export.Table) bool { return t.Schema == s })
	})
	if err := ofTargetError(pl.findOld(ctx, chosen), "look for the tables"); err != nil {
		return nil, err
	}
	if !pl.dry {
		if err := ofTargetError(pl.makeReady(ctx, conn), "prepare the target"); err != nil {
			return nil, err
		}
	}
	pending := pl.pending
	pl.pending = nil
	for _, e := range pending {
		taken, err := pl.select1(e, false)
		if err != nil {
			return nil, err
		}
		out = append(out, taken...)
	}
	return out, nil
}

// words are the first words of the statements that pg_dump writes for schemas.
var words = []string{"SET", "SELECT", "CREATE", "ALTER", "COPY", "COMMENT", "REFRESH", "GRANT", "REVOKE", "SECURITY"}

var (
	firstWord = regexp.MustCompile(`^[A-Za-z]+`)
	// setTo matches a SET as pg_dump writes it. The group is the setting.
	setTo = regexp.MustCompile(`^SET ([a-z_]+) = (?:'[^'\\]*'|[A-Za-z0-9_]+);$`)
	// settings are the settings that pg_dump sets.
	dumpSettings = []string{
		"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_timeout", "client_encoding", "standard_conforming_strings",
		"check_function_bodies", "xmloption", "client_min_messages", "row_security", "default_tablespace", "default_table_access_method", "default_with_oids",
	}
)

// emptyPath is the only call of set_config that pg_dump writes.
const emptyPath = "SELECT pg_catalog.set_config('search_path', '', false);"

// settable reports whether a statement sets what pg_dump sets.
func settable(head string) bool {
	m := setTo.FindStringSubmatch(head)
	return m != nil && slices.Contains(dumpSettings, m[1])
}

// written returns a *RejectedError for a statement that pg_dump does not write: one that ends the
// transaction, changes the role or another setting, or calls a function.
func written(statement string) error {
	head := bare(statement)
	word := firstWord.FindString(head)
	switch {
	case !slices.Contains(words, word), word == "SET" && !settable(head),
		// pg_dump 18 can write statistics with SELECT * FROM pg_catalog.pg_restore_relation_stats.
		word == "SELECT" && head != emptyPath && !strings.HasPrefix(head, "SELECT pg_catalog.setval(") && !strings.HasPrefix(head, "SELECT * FROM pg_catalog.pg_restore_"):
		return foreign(statement)
	}
	return nil
}

// names records a statement that still has the schema's former name in it.
func (pl *placing) names(statement string, copies bool) {
	if pl.formerly == "" || copies {
		return
	}
	text := bare(statement)
	for i := 0; ; {
		j := strings.Index(text[i:], pl.formerly)
		if j < 0 {
			return
		}
		before, after := i+j, i+j+len(pl.formerly)
		if (before == 0 || !nameByte(text[before-1])) && (after == len(text) || !nameByte(text[after])) {
			pl.still = append(pl.still, headline(statement))
			return
		}
		i = after
	}
}

func nameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// refersElsewhere reports whether a statement makes a foreign key to a table that is not restored, or
// may be a comment on such a one.
func (pl *placing) refersElsewhere(statement string) bool {
	if pl.current.Kind == "COMMENT" && strings.HasPrefix(pl.current.Name, "CONSTRAINT ") {
		return len(pl.late) > 0
	}
	if pl.current.Kind != "FK CONSTRAINT" {
		return false
	}
	_, rest, ok := newEntry(pl.current.Heading, statement).altered()
	if !ok {
		return false
	}
	schema, name, _, ok := archive.Qualified(archive.After(rest, "REFERENCES"))
	if pl.selection != nil {
		return ok && !pl.selection.tables[export.Table{Schema: schema, Name: name}]
	}
	return ok && !slices.Contains(pl.schemas, schema)
}
