package randomschema

import (
	"fmt"
	"strings"
)

// dollar quotes a body.
func dollar(body string) string {
	tag := "$f$"
	for i := 0; strings.Contains(body, tag); i++ {
		tag = fmt.Sprintf("$f%d$", i)
	}
	return tag + body + tag
}

// function makes a routine.
func (w *writer) function() {
	name := w.name("f")
	q := w.schema() + "." + Ident(name)
	kind := w.IntN(12)
	if w.loose && w.one(2) {
		kind = pick(w, 0, 1, 8)
	}
	switch kind {
	case 0: // by a string, unqualified when the case allows
		call := "$1 + 1"
		if len(w.functions) > 0 {
			f := pick(w, w.functions...)
			if w.loose {
				f = f[strings.Index(f, `".`)+2:] // without its schema
			}
			call = f + "($1) + 1"
		}
		w.immutable(q, "CREATE FUNCTION %s(integer) RETURNS integer LANGUAGE sql IMMUTABLE %s AS %s", q, w.attributes(), dollar("SELECT "+call))
	case 1:
		w.immutable(q, "CREATE FUNCTION %s(%s integer) RETURNS integer LANGUAGE sql IMMUTABLE RETURN $1 * CASE WHEN $1 > 0 THEN 2 ELSE 3 END", q, Ident(w.name("arg")))
	case 2:
		w.immutable(q, "CREATE FUNCTION %s(%s integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS %s", q, Ident("x"),
			dollar("\nBEGIN\n  -- "+pick(w, words...)+"\n  RETURN x + 1;\nEND\n"))
	case 3:
		w.atomic(q)
	case 4:
		w.object("PROCEDURE "+q+"(integer)", "CREATE PROCEDURE %s(integer) LANGUAGE plpgsql AS %s", q, dollar(" BEGIN COMMIT; END "))
	case 5:
		w.object("AGGREGATE "+q+"(integer)", "CREATE AGGREGATE %s(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0'%s)", q,
			w.optional(2, ", COMBINEFUNC = int4pl, PARALLEL = safe"))
	case 6:
		t := pick(w, w.types...)
		w.object("FUNCTION "+q, "CREATE FUNCTION %s(%s %s DEFAULT NULL, VARIADIC %s text[] DEFAULT ARRAY[%s]) RETURNS TABLE (%s integer, %s %s) LANGUAGE plpgsql STABLE AS %s",
			q, Ident("a"), t.sql, Ident("v"), w.text(), Ident(w.name("out")), Ident(w.name("out")), t.sql, dollar("BEGIN END"))
	case 7:
		w.object("FUNCTION "+q, "CREATE FUNCTION %s(OUT %s integer, INOUT %s text) LANGUAGE sql AS %s", q, Ident(w.name("out")), Ident(w.name("io")), dollar("SELECT 1, 'x'"))
	case 8:
		body := "SELECT count(*)::integer FROM nowhere_yet"
		if len(w.tables) > 0 {
			t := pick(w, w.tables...)
			body = "SELECT count(*)::integer FROM " + t.name
			if w.loose {
				body = "SELECT count(*)::integer FROM " + Ident(t.bare)
				w.functions = append(w.functions, q)
			}
		}
		w.object("FUNCTION "+q, "CREATE FUNCTION %s(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS %s", q, dollar(body))
	case 9:
		w.object("FUNCTION "+q, "CREATE FUNCTION %s() RETURNS event_trigger LANGUAGE plpgsql AS %s", q, dollar("BEGIN END"))
	case 10:
		w.immutable(q, "CREATE FUNCTION %s(integer) RETURNS integer LANGUAGE internal IMMUTABLE STRICT AS 'int4abs'", q)
	default:
		w.object("AGGREGATE "+q, "CREATE AGGREGATE %s(%s ORDER BY anyelement) (SFUNC = ordered_set_transition, STYPE = internal, FINALFUNC = percentile_disc_final, FINALFUNC_EXTRA)",
			q, "double precision")
	}
}

// attributes of a function.
func (w *writer) attributes() string {
	return strings.Join([]string{
		w.optional(3, "STRICT"), w.optional(4, "SECURITY DEFINER"), w.optional(4, "COST 7"), w.optional(3, "PARALLEL SAFE"),
		w.optional(6, "LEAKPROOF"), w.optional(6, "SET work_mem = '4MB'"), w.optional(6, "SET search_path = "+w.schema()+", pg_temp"),
		w.optional(8, `SET DateStyle = 'ISO, DMY'`),
	}, " ")
}

func (w *writer) immutable(q, format string, args ...any) {
	w.object("FUNCTION "+q+"(integer)", format, args...)
	w.functions = append(w.functions, q)
}

// atomic makes a routine with a body that is parsed when it is made (BEGIN ATOMIC).
func (w *writer) atomic(q string) {
	var body []string
	for range 1 + w.IntN(3) {
		statement := "SELECT CASE WHEN true THEN 1 ELSE 2 END"
		if len(w.tables) > 0 {
			t := pick(w, w.tables...)
			c := t.column(w)
			statement = pick(w,
				fmt.Sprintf("SELECT count(*) FROM %s WHERE CASE WHEN true THEN true END", t.name),
				fmt.Sprintf("SELECT %s, CASE %s IS NULL WHEN true THEN 'begin' END AS %s FROM %s", c, c, Ident(w.name("case")), t.name),
				fmt.Sprintf("SELECT 1 AS %s FROM %s AS %s", Ident(pick(w, words...)), t.name, Ident(pick(w, words...))),
				fmt.Sprintf("DELETE FROM %s WHERE false", t.name),
				fmt.Sprintf("UPDATE %s SET %s = %s WHERE false", t.name, c, c),
			)
		}
		body = append(body, statement+";")
	}
	if w.one(2) {
		w.object("PROCEDURE "+q+"()", "CREATE PROCEDURE %s() LANGUAGE sql BEGIN ATOMIC %s END", q, strings.Join(body, " "))
		return
	}
	w.object("FUNCTION "+q+"()", "CREATE FUNCTION %s() RETURNS integer LANGUAGE sql BEGIN ATOMIC %s SELECT 1; END", q, strings.Join(body, " "))
}

// operator makes an operator, with a class or a cast at times.
func (w *writer) operator() {
	q := w.schema()
	switch w.IntN(4) {
	case 0:
		sign := pick(w, "<%%>", "@#@", "~=~", "&&&", "===") + strings.Repeat("#", w.number%5)
		w.number++
		w.object("OPERATOR "+q+"."+sign+" (integer, integer)", "CREATE OPERATOR %s.%s (LEFTARG = integer, RIGHTARG = integer, FUNCTION = int4eq, COMMUTATOR = OPERATOR(%s.%s), RESTRICT = eqsel, JOIN = eqjoinsel)",
			q, sign, q, sign)
	case 1:
		name := w.qualified("family")
		w.object("OPERATOR FAMILY "+name+" USING btree", "CREATE OPERATOR FAMILY %s USING btree", name)
		w.add("ALTER OPERATOR FAMILY %s USING btree ADD OPERATOR 1 < (integer, bigint), FUNCTION 1 (integer, bigint) btint48cmp(integer, bigint)", name)
	case 2:
		name := w.qualified("class")
		w.object("OPERATOR CLASS "+name+" USING btree", "CREATE OPERATOR CLASS %s FOR TYPE integer USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 btint4cmp(integer, integer)", name)
		if t := w.withInteger(); t != nil {
			w.add("CREATE INDEX ON %s (%s %s)", t.name, t.integer, name)
		}
	default:
		name := w.qualified("conversion")
		w.object("CONVERSION "+name, "CREATE CONVERSION %s FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8", name)
	}
}

// textSearch makes one object of full text search.
func (w *writer) textSearch() {
	name := w.qualified("search")
	switch w.IntN(4) {
	case 0:
		w.object("TEXT SEARCH DICTIONARY "+name, "CREATE TEXT SEARCH DICTIONARY %s (TEMPLATE = %s, %s)", name, "pg_catalog.simple", "accept = false")
		config := w.qualified("search")
		w.object("TEXT SEARCH CONFIGURATION "+config, "CREATE TEXT SEARCH CONFIGURATION %s (COPY = english)", config)
		w.add("ALTER TEXT SEARCH CONFIGURATION %s ALTER MAPPING FOR asciiword, word WITH %s, simple", config, name)
	case 1:
		w.object("TEXT SEARCH CONFIGURATION "+name, "CREATE TEXT SEARCH CONFIGURATION %s (PARSER = pg_catalog.default)", name)
	case 2:
		w.object("TEXT SEARCH PARSER "+name, "CREATE TEXT SEARCH PARSER %s (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype)", name)
	default:
		w.object("TEXT SEARCH TEMPLATE "+name, "CREATE TEXT SEARCH TEMPLATE %s (INIT = dsimple_init, LEXIZE = dsimple_lexize)", name)
	}
}
