package restore

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// placeRows executes a statement of the export if it is about rows of the renamed schema. All others
// come from the throw-away server.
func (s *steps) placeRows(ctx context.Context, statement string, copies bool) error {
	pl := s.feed.target.placing
	if err := written(statement); err != nil {
		return err
	}
	head := bare(statement)
	switch {
	case strings.HasPrefix(head, "SET lock_timeout "):
		return nil
	case strings.HasPrefix(head, "SET "):
		return s.execute(ctx, statement, false)
	}
	renamed, ok := pl.moved.rows(head, copies, pl.selection)
	if !ok {
		return nil
	}
	return s.execute(ctx, renamed, copies)
}

// setting matches pg_dump's statement that sets a sequence. The groups are the string that names it, with
// escapes or without, and the rest.
var setting = regexp.MustCompile(`^SELECT pg_catalog\.setval\((?:E'((?:[^'\\]|''|\\(?s:.))*)'|'((?:[^']|'')*)')((?s:, .*))$`)

// rows returns a statement about rows with the new name of the schema. ok is false if it is about no
// rows, or about those of another schema or of a table that does not come along.
func (m *renaming) rows(statement string, copies bool, chosen *selection) (renamed string, ok bool) {
	if copies {
		t, ok := copied(statement)
		to := export.Table{Schema: m.to, Name: t.Name}
		if !ok || t.Schema != m.from || slices.Contains(m.unfilled, t) || chosen != nil && !chosen.tables[to] {
			return "", false
		}
		head := copying.FindString(statement)
		return "COPY " + identifier(to) + " " + statement[len(head):], true
	}
	sequence, value, ok := setsSequence(statement)
	to := export.Table{Schema: m.to, Name: sequence.Name}
	if !ok || sequence.Schema != m.from || chosen != nil && !chosen.sequences[to] {
		return "", false
	}
	return "SELECT pg_catalog.setval(" + literal(identifier(to)) + value, true
}

// setsSequence returns the sequence that a statement of pg_dump sets, and the rest of the statement.
func setsSequence(statement string) (sequence export.Table, value string, ok bool) {
	parts := setting.FindStringSubmatch(statement)
	if parts == nil {
		return sequence, "", false
	}
	text := strings.ReplaceAll(parts[1]+parts[2], "''", "'")
	if parts[1] != "" {
		text = strings.ReplaceAll(text, `\\`, `\`)
	}
	schema, name, _, ok := archive.Qualified(archive.Tokens(text))
	return export.Table{Schema: schema, Name: name}, parts[3], ok
}

// endDefinitions executes the definitions of chosen tables, which were held back.
func (pl *placing) endDefinitions(ctx context.Context, s *steps) error {
	if len(pl.placement.Tables) == 0 || pl.selection != nil {
		return nil
	}
	now, err := pl.resolve(ctx)
	if err != nil || pl.dry {
		return err
	}
	for _, one := range now {
		if err := s.execute(ctx, one, false); err != nil {
			return err
		}
	}
	return nil
}
