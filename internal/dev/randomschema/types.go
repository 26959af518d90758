package randomschema

import (
	"fmt"
	"slices"
	"strings"
)

// datatype is a column's type. value is an expression of the integer g.
type datatype struct {
	sql, value string
	btree      bool // can be a key
}

const texts = `(ARRAY[E'\\.', E'a\tb', E'x\ny', '', NULL, E'\\N', 'é日本🐘', E'\\\\', 'COPY x FROM stdin;', E'\r', E'\\.\n1', '--', '''', ' ', E'\b\f\v'])[g % 15 + 1]`

var basicTypes = []datatype{
	{"integer", "g", true},
	{"integer", "g", true},
	{"bigint", "g * 10000000000", true},
	{"smallint", "g % 100", true},
	{"numeric(12,3)", "g * 1.5", true},
	{"numeric", "CASE WHEN g % 5 = 0 THEN 'NaN' ELSE g::numeric END", true},
	{"real", "g / 3.0", true},
	{"double precision", "CASE WHEN g % 7 = 0 THEN '-Infinity' ELSE g / 3.0::float8 END", true},
	{"text", texts, true},
	{"text", texts + " || g", true},
	{"varchar(40)", "left(" + texts + ", 40)", true},
	{"char(5)", "left(" + texts + ", 5)", true},
	{"bytea", `decode(md5(g::text), 'hex')`, true},
	{"boolean", "g % 2 = 0", true},
	{"date", "date '2020-01-01' + g", true},
	{"timestamptz", "CASE WHEN g % 9 = 0 THEN 'infinity' ELSE timestamptz '2020-01-01 00:00+00' + g * interval '1 hour' END", true},
	{"timestamp(3)", "timestamp '0044-03-15 12:00 BC' + g * interval '1 day'", true},
	{"time", "time '00:00' + g * interval '1 minute'", true},
	{"interval", "g * interval '1 month 2 days'", true},
	{"uuid", "md5(g::text)::uuid", true},
	{"json", `json_build_object('a', ` + texts + `, 'g', g)`, false},
	{"jsonb", `jsonb_build_object('a', ` + texts + `, 'g', g)`, true},
	{"integer[]", "ARRAY[g, NULL, g + 1]", true},
	{"text[]", "ARRAY[" + texts + `, 'a,b', '{"']`, true},
	{"integer[][]", "ARRAY[[g], [NULL]]", true},
	{"int4range", "int4range(g, g + 2)", true},
	{"tstzrange", "tstzrange(NULL, timestamptz '2020-01-01 00:00+00' + g * interval '1 hour')", true},
	{"int8multirange", "int8multirange(int8range(g, g + 1), int8range(g + 5, NULL))", true},
	{"point", "point(g, g)", false},
	{"polygon", "polygon(box(point(0, 0), point(g, g)))", false},
	{"inet", "inet '10.0.0.0' + g", true},
	{"macaddr", "'08:00:2b:01:02:03'::macaddr", true},
	{"bit varying(8)", "B'101'", true},
	{"bit(3)", "B'101'", true},
	{"tsvector", `to_tsvector('simple', 'a b ' || g)`, true},
	{"xml", "xmlelement(name a, g)", false},
	{"money", "g::money", true},
	{`"char"`, "chr(65 + g % 20)::\"char\"", true},
	{"oid", "g::oid", true},
	{"others.citext", texts, true},
	{"others.hstore", `others.hstore('k', ` + texts + `)`, false},
	{"others.cube", "others.cube(g)", false},
	{"others.shade", "CASE WHEN g % 2 = 0 THEN 'light' ELSE 'dark' END::others.shade", true},
	{"others.citext[]", "ARRAY[" + texts + "]::others.citext[]", true},
	{"oidvector", "'1 2'::oidvector", true},
	{"regtype", "'integer'::regtype", true},
	{"pg_lsn", "pg_lsn '0/0' + g", true},
}

// typeOf makes a type and lets columns have it.
func (w *writer) typeOf() {
	name := w.qualified("type")
	base := pick(w, w.types...)
	switch w.IntN(6) {
	case 0:
		labels := []string{"'a'", "'b c'", "'it''s'", "'日'", "'" + strings.Repeat("z", 63) + "'"}
		w.object("TYPE "+name, "CREATE TYPE %s AS ENUM (%s)", name, strings.Join(labels[:1+w.IntN(5)], ", "))
		if w.one(3) {
			w.add("ALTER TYPE %s ADD VALUE 'before' BEFORE 'a'", name)
		}
		w.types = append(slices.Clip(w.types), datatype{name, "'a'::" + name, true})
	case 1:
		check := pick(w, "", " CHECK (VALUE IS NOT NULL OR true)", " CONSTRAINT "+Ident(w.name("check"))+" CHECK (VALUE IS NULL OR VALUE IS NOT NULL)", " NOT NULL", " DEFAULT NULL")
		if check == " NOT NULL" {
			base = datatype{"integer", "g", true}
		}
		w.object("DOMAIN "+name, "CREATE DOMAIN %s AS %s%s", name, base.sql, check)
		if w.one(4) {
			w.add("ALTER DOMAIN %s ADD CONSTRAINT %s CHECK (VALUE IS NOT NULL OR VALUE IS NULL) NOT VALID", name, Ident(w.name("check")))
		}
		w.types = append(slices.Clip(w.types), datatype{name, base.value, base.btree})
	case 2:
		w.object("TYPE "+name, "CREATE TYPE %s AS (%s %s, %s text)", name, Ident(w.name("field")), base.sql, Ident(w.name("field")))
		w.types = append(slices.Clip(w.types), datatype{name, fmt.Sprintf("ROW(%s, %s)::%s", base.value, texts, name), base.btree})
	case 3:
		sub := pick(w, "integer", "double precision", "numeric", "date", "text")
		more := w.optional(3, ", MULTIRANGE_TYPE_NAME = "+w.qualified("multi"))
		if sub == "double precision" {
			more += w.optional(2, ", SUBTYPE_DIFF = float8mi")
		}
		w.object("TYPE "+name, "CREATE TYPE %s AS RANGE (SUBTYPE = %s%s)", name, sub, more)
		w.types = append(slices.Clip(w.types), datatype{name, "'empty'::" + name, true})
	case 4:
		w.object("COLLATION "+name, "CREATE COLLATION %s %s", name, pick(w, `FROM "C"`, `(provider = icu, locale = 'de-u-co-phonebk')`,
			`(provider = icu, locale = 'und', deterministic = false)`, `(locale = 'C.UTF-8')`))
		w.types = append(slices.Clip(w.types), datatype{"text COLLATE " + name, texts, true})
	default:
		w.types = append(slices.Clip(w.types), datatype{base.sql + "[]", "ARRAY[" + base.value + "]::" + base.sql + "[]", base.btree})
		if w.one(2) { // a base type as C would make it, over functions of the server's
			w.add("CREATE TYPE %s", name)
			in, out := w.qualified("in"), w.qualified("out")
			w.add("CREATE FUNCTION %s(cstring) RETURNS %s LANGUAGE internal IMMUTABLE STRICT AS 'textin'", in, name)
			w.add("CREATE FUNCTION %s(%s) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout'", out, name)
			w.object("TYPE "+name, "CREATE TYPE %s (INPUT = %s, OUTPUT = %s, LIKE = text, CATEGORY = 'S')", name, in, out)
			w.types = append(slices.Clip(w.types), datatype{name, "'x'::" + name, false})
		}
	}
}

// extension lets columns have an extension's types.
func (w *writer) extension(name string) {
	s := Ident(w.schemas[0])
	of := map[string]datatype{
		"ltree":    {s + ".ltree", "'a.b'::" + s + ".ltree", true},
		"isn":      {s + ".isbn", "'0-14-019733-7'::" + s + ".isbn", true},
		"seg":      {s + ".seg", "'1 .. 2'::" + s + ".seg", true},
		"intarray": {s + ".query_int", "'1&2'::" + s + ".query_int", false},
		"lo":       {s + ".lo", "NULL::" + s + ".lo", false},
	}
	if t, ok := of[name]; ok {
		for range 12 { // often
			w.types = append(slices.Clip(w.types), t)
		}
	}
}
