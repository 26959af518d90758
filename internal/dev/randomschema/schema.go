// Package randomschema writes random schemas: the same SQL for the same seed. They contain objects
// of every kind that pg_dump dumps, refer to each other, and have odd names. Not every server
// accepts every statement; a test leaves out those that it refuses.
package randomschema

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Case is the result of one seed.
type Case struct {
	Seed    uint64
	Schemas []string // names of one to three; the first statements make them
	// Extension is installed in the first schema; empty: none.
	Extension  string
	Statements []string
}

// Extensions are installed in one of the case's schemas, at most one for each case. Two cases never
// have the same if their seeds differ by less than twice the number of extensions.
var Extensions = []string{
	"pg_trgm", "pgcrypto", "fuzzystrmatch", "ltree", "isn", "seg", "tablefunc", "intarray",
	"btree_gin", "lo", "dict_int", "bloom",
}

// Prelude is run once in the database of the cases and in that of their restores. It creates
// objects outside of the cases that they may need.
var Prelude = []string{
	`CREATE SCHEMA others`,
	`CREATE EXTENSION citext SCHEMA others`,
	`CREATE EXTENSION hstore SCHEMA others`,
	`CREATE EXTENSION btree_gist SCHEMA others`,
	`CREATE EXTENSION cube SCHEMA others`,
	`CREATE EXTENSION earthdistance SCHEMA others`,
	`CREATE EXTENSION unaccent SCHEMA others`,
	`CREATE FOREIGN DATA WRAPPER others`,
	`CREATE SERVER others FOREIGN DATA WRAPPER others`,
	`CREATE TYPE others.shade AS ENUM ('light', 'dark')`,
	`CREATE TABLE others.parent (id integer PRIMARY KEY, note text)`,
	`INSERT INTO others.parent SELECT g, 'n' FROM generate_series(0, 99) g`,
	`CREATE TABLE others.spread (id integer, note text) PARTITION BY HASH (id)`,
	`CREATE FUNCTION others.twice(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2'`,
	`CREATE VIEW others.notes AS SELECT id, note FROM others.parent`,
}

// Roles are the roles to which cases grant rights and which they name in policies.
var Roles = []string{"random_reader", `Random "Owner"`}

// New returns the case of a seed.
func New(seed uint64) Case {
	w := &writer{Rand: rand.New(rand.NewPCG(seed, 1)), seed: seed, used: map[string]bool{}} //nolint:gosec // not for secrets
	w.types = basicTypes
	for i := range 1 + w.IntN(3)*w.IntN(2) {
		w.schemas = append(w.schemas, w.odd(fmt.Sprintf("s%d_%d", seed, i)))
	}
	w.loose = w.one(4)
	for _, s := range w.schemas {
		w.add("CREATE SCHEMA %s", Ident(s))
	}
	paths := make([]string, len(w.schemas))
	for i, s := range w.schemas {
		paths[i] = Ident(s)
	}
	w.add("SET search_path = %s, others, public", strings.Join(paths, ", "))
	w.add("SET check_function_bodies = off")
	c := Case{Seed: seed, Schemas: w.schemas}
	if seed%2 == 0 && w.one(3) {
		c.Extension = Extensions[seed/2%uint64(len(Extensions))]
		w.add("CREATE EXTENSION %s SCHEMA %s", Ident(c.Extension), Ident(w.schemas[0]))
		w.extension(c.Extension)
	}
	w.several(2, w.sequence)
	w.several(3, w.typeOf)
	w.several(3, w.function)
	w.several(2, w.textSearch)
	for range 1 + w.IntN(4) {
		w.table()
	}
	w.several(2, w.partitioned)
	w.several(2, w.function)
	w.several(2, w.child)
	w.several(5, w.index)
	w.several(2, w.statistics)
	w.several(4, w.view)
	w.several(3, w.foreignKey)
	w.several(2, w.trigger)
	w.several(2, w.rule)
	w.several(2, w.policy)
	w.several(2, w.operator)
	w.several(2, w.alter)
	w.several(3, w.right)
	w.several(2, w.elsewhere)
	w.several(5, w.comment)
	c.Statements = w.statements
	return c
}

// writer builds a case.
type writer struct {
	*rand.Rand
	seed       uint64
	schemas    []string
	loose      bool // functions with unqualified names may be used in indexes
	used       map[string]bool
	statements []string

	types     []datatype
	tables    []*table
	views     []*table
	functions []string // of one integer that return an integer, immutable
	sequences []string
	comments  []string // what can have one: "TABLE x"
	number    int
}

func (w *writer) add(format string, args ...any) {
	w.statements = append(w.statements, fmt.Sprintf(format, args...))
}

// object adds a statement that creates an object, which may get a comment later.
func (w *writer) object(what, format string, args ...any) {
	w.add(format, args...)
	w.comments = append(w.comments, what)
}

// several calls f up to n times.
func (w *writer) several(n int, f func()) {
	for range w.IntN(n + 1) {
		f()
	}
}

// one is true once in n times.
func (w *writer) one(n int) bool { return w.IntN(n) == 0 }

// pick chooses one of some.
func pick[T any](w *writer, of ...T) T { return of[w.IntN(len(of))] }

// optional is a text once in n times, else empty.
func (w *writer) optional(n int, text string) string {
	if w.one(n) {
		return text
	}
	return ""
}
