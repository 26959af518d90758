package restore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// selection decides which statements of a script belong to the chosen tables. pg_dump writes all
// definitions before the first rows: with them the selection knows the partitions, sequences and types
// of the tables, and decides about every later statement at once.
type selection struct {
	tables     map[export.Table]bool
	sequences  map[export.Table]bool
	indexes    map[export.Table]bool
	statistics map[export.Table]bool
	made       map[export.Table]string // other objects of the export, with their kind
	// exists reports whether the target has a table, for foreign keys.
	exists func(export.Table) (bool, error)

	leftOut []string                // statements about the tables that cannot come along
	uses    map[export.Table]string // objects that the tables use and that do not come along
}

// entry is a statement with the heading of its entry.
type entry struct {
	archive.Heading
	statement string
	tokens    []archive.Token
}

func newEntry(h archive.Heading, statement string) entry {
	return entry{h, statement, archive.Tokens(statement)}
}

// newSelection resolves the names of tables among the definitions of a script.
func newSelection(names []string, definitions []entry) (*selection, error) {
	s := &selection{
		tables: map[export.Table]bool{}, sequences: map[export.Table]bool{}, indexes: map[export.Table]bool{}, statistics: map[export.Table]bool{},
		made: map[export.Table]string{}, uses: map[export.Table]string{},
	}
	for _, e := range definitions {
		if t, ok := e.created(); ok && (e.Kind == "TABLE" || s.made[t] == "") {
			s.made[t] = e.Kind
		}
	}
	for _, name := range names {
		found := s.named(name)
		switch len(found) {
		case 0:
			return nil, fmt.Errorf("%w: the export does not hold table %q", ErrPlacement, name)
		case 1:
			s.tables[found[0]] = true
		default:
			return nil, fmt.Errorf("%w: %d tables of the export match %q: write the schema too, and both in double quotes", ErrPlacement, len(found), name)
		}
	}
	for more := true; more; { // a partition may have partitions
		more = false
		for _, e := range definitions {
			parent, child, ok := e.attaches()
			if ok && e.Kind == "TABLE ATTACH" && s.tables[parent] && !s.tables[child] {
				s.tables[child], more = true, true
			}
		}
	}
	for _, e := range definitions {
		if q, t, ok := e.sequence(); ok && s.tables[t] {
			s.sequences[q] = true
		}
	}
	return s, nil
}

// named returns the tables that a name of [Placement.Tables] matches. Names can have dots, so only the
// quoted form is certain.
func (s *selection) named(name string) (found []export.Table) {
	for t, kind := range s.made {
		switch {
		case kind != "TABLE":
		case identifier(t) == name:
			return []export.Table{t}
		case t.Name == name || t.String() == name:
			found = append(found, t)
		}
	}
	return found
}

// created returns the name that a CREATE statement defines first.
func (e entry) created() (t export.Table, ok bool) {
	if len(e.tokens) == 0 || !e.tokens[0].Is("CREATE") {
		return t, false
	}
	for i := range e.tokens {
		if e.tokens[i].Is("(") || i > 6 {
			return t, false
		}
		if schema, name, _, ok := archive.Qualified(e.tokens[i:]); ok {
			return export.Table{Schema: schema, Name: name}, true
		}
	}
	return t, false
}

// altered returns the table of an ALTER TABLE statement, and what follows its name.
func (e entry) altered() (t export.Table, rest []archive.Token, ok bool) {
	rest = e.tokens
	if len(rest) < 3 || !rest[0].Is("ALTER") {
		return t, nil, false
	}
	if rest = rest[1:]; rest[0].Is("FOREIGN") {
		rest = rest[1:]
	}
	if !rest[0].Is("TABLE") && !rest[0].Is("INDEX") && !rest[0].Is("SEQUENCE") && !rest[0].Is("STATISTICS") {
		return t, nil, false
	}
	if rest = rest[1:]; len(rest) > 0 && rest[0].Is("ONLY") {
		rest = rest[1:]
	}
	schema, name, rest, ok := archive.Qualified(rest)
	return export.Table{Schema: schema, Name: name}, rest, ok
}

// attaches returns both tables, or both indexes, of ATTACH PARTITION.
func (e entry) attaches() (parent, child export.Table, ok bool) {
	parent, rest, ok := e.altered()
	if !ok || len(rest) < 2 || !rest[0].Is("ATTACH") || !rest[1].Is("PARTITION") {
		return parent, child, false
	}
	schema, name, _, ok := archive.Qualified(rest[2:])
	return parent, export.Table{Schema: schema, Name: name}, ok
}

// sequence returns a sequence and the table whose column owns it.
func (e entry) sequence() (sequence, table export.Table, ok bool) {
	at, rest, ok := e.altered()
	if !ok {
		return sequence, table, false
	}
	if e.Kind == "SEQUENCE" { // of an identity column: ALTER TABLE ... ( SEQUENCE NAME s.q ...
		for i := range rest {
			if rest[i].Is("NAME") && i > 0 && rest[i-1].Is("SEQUENCE") {
				schema, name, _, ok := archive.Qualified(rest[i+1:])
				return export.Table{Schema: schema, Name: name}, at, ok
			}
		}
		return sequence, table, false
	}
	if e.Kind != "SEQUENCE OWNED BY" || len(rest) < 2 || !rest[0].Is("OWNED") {
		return sequence, table, false
	}
	schema, name, _, ok := archive.Qualified(rest[2:])
	return at, export.Table{Schema: schema, Name: name}, ok
}

// takes reports whether a statement belongs to the chosen tables.
func (s *selection) takes(e entry) (bool, error) {
	take, err := s.belongs(e)
	if !take || err != nil {
		return take, err
	}
	for i := range e.tokens {
		schema, name, _, ok := archive.Qualified(e.tokens[i:])
		t := export.Table{Schema: schema, Name: name}
		if kind := s.made[t]; ok && kind != "" && !s.tables[t] && !s.sequences[t] && e.Kind != "FK CONSTRAINT" {
			s.uses[t] = kind
		}
	}
	return true, nil
}

func (s *selection) belongs(e entry) (bool, error) {
	switch e.Kind {
	case "TABLE", "FOREIGN TABLE":
		t, ok := e.created()
		if !ok {
			t, _, _ = e.altered()
		}
		return s.tables[t], nil
	case "TABLE DATA":
		t, ok := copied(e.statement)
		return ok && s.tables[t], nil
	case "SEQUENCE", "SEQUENCE SET", "SEQUENCE OWNED BY": // a heading has no line breaks of a name
		q, ok := e.created()
		if !ok {
			q, _, ok = e.sequence()
		}
		if !ok {
			q, _, ok = e.altered()
		}
		if !ok {
			q, _, ok = setsSequence(bare(e.statement))
		}
		return ok && s.sequences[q], nil
	case "TABLE ATTACH", "INDEX ATTACH":
		parent, child, ok := e.attaches()
		among := s.tables
		if e.Kind == "INDEX ATTACH" {
			among = s.indexes
		}
		if ok && among[child] && !among[parent] {
			s.leftOut = append(s.leftOut, headline(e.statement)+": the parent does not come along")
		}
		return ok && among[parent] && among[child], nil
	case "FK CONSTRAINT":
		return s.references(e)
	case "DEFAULT", "CONSTRAINT", "CHECK CONSTRAINT", "INDEX", "TRIGGER", "RULE", "POLICY", "ROW SECURITY", "STATISTICS":
		return s.about(e), nil
	case "COMMENT", "SECURITY LABEL":
		return s.commented(e), nil
	}
	return false, nil
}

// references takes a foreign key if the table that it references comes along or is in the target.
func (s *selection) references(e entry) (bool, error) {
	t, rest, ok := e.altered()
	if !ok || !s.tables[t] {
		return false, nil
	}
	schema, name, _, ok := archive.Qualified(archive.After(rest, "REFERENCES"))
	to := export.Table{Schema: schema, Name: name}
	if !ok || s.tables[to] {
		return true, nil
	}
	there, err := s.exists(to)
	if err == nil && !there {
		s.leftOut = append(s.leftOut, fmt.Sprintf("%s: the target has no table %s", headline(e.statement), identifier(to)))
	}
	return there, err
}

// about reports whether the table that a statement names after its keyword is chosen, and remembers
// the indexes of chosen tables.
func (s *selection) about(e entry) bool {
	if len(e.tokens) < 3 {
		return false
	}
	if t, rest, ok := e.altered(); ok {
		if s.tables[t] && (e.Kind == "CONSTRAINT") && len(rest) > 2 && rest[0].Is("ADD") && rest[1].Is("CONSTRAINT") {
			s.indexes[export.Table{Schema: t.Schema, Name: rest[2].Text}] = true
		}
		return s.tables[t] || s.indexes[t] || s.statistics[t]
	}
	word := map[string]string{"RULE": "TO", "STATISTICS": "FROM"}[e.Kind]
	if word == "" {
		word = "ON"
	}
	rest := archive.After(e.tokens, word)
	if len(rest) > 0 && rest[0].Is("ONLY") {
		rest = rest[1:]
	}
	schema, name, _, ok := archive.Qualified(rest)
	t := export.Table{Schema: schema, Name: name}
	if !ok || !s.tables[t] {
		return false
	}
	if n, ok := e.created(); ok && e.Kind == "STATISTICS" {
		s.statistics[n] = true
	}
	if e.Kind == "INDEX" {
		for _, token := range e.tokens[1:] {
			if !token.Is("UNIQUE") && !token.Is("INDEX") {
				s.indexes[export.Table{Schema: t.Schema, Name: token.Text}] = true
				break
			}
		}
	}
	return true
}

// commented reports whether a comment or a security label is on a chosen table or a part of it.
func (s *selection) commented(e entry) bool {
	rest := archive.After(e.tokens, "ON")
	if len(rest) < 2 {
		return false
	}
	kind := strings.ToUpper(rest[0].Text)
	if inner := archive.After(rest[1:], "ON"); inner != nil { // CONSTRAINT c ON s.t
		rest = inner
	} else {
		rest = rest[1:]
	}
	schema, name, _, ok := archive.Qualified(rest)
	t := export.Table{Schema: schema, Name: name}
	return ok && (s.tables[t] || kind == "INDEX" && s.indexes[t] || kind == "SEQUENCE" && s.sequences[t] || kind == "STATISTICS" && s.statistics[t])
}

// used lists the objects that the chosen tables use and that do not come along.
func (s *selection) used() []export.Table {
	var out []export.Table
	for t := range s.uses {
		out = append(out, t)
	}
	slices.SortFunc(out, compareTables)
	return out
}
