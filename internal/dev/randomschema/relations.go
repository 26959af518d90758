package randomschema

import (
	"fmt"
	"strings"
)

// withInteger is a table with an integer column; nil: there is none.
func (w *writer) withInteger() *table {
	if len(w.tables) == 0 {
		return nil
	}
	if t := pick(w, w.tables...); t.integer != "" {
		return t
	}
	return nil
}

// index makes an index of one of many kinds.
func (w *writer) index() {
	t := w.withInteger()
	if t == nil {
		return
	}
	bare := w.name("index")
	name := t.name[:strings.LastIndex(t.name, Ident(t.bare))] + Ident(bare)
	c := pick(w, t.columns...)
	on := fmt.Sprintf("CREATE INDEX %s ON %s", Ident(bare), t.name)
	call := w.call(t.integer)
	kind := w.IntN(9)
	if w.loose && w.one(2) {
		kind = pick(w, 0, 1, 8)
	}
	switch kind {
	case 0:
		w.object("INDEX "+name, "%s ((%s))", on, call)
	case 1:
		w.object("INDEX "+name, "%s (%s) WHERE %s > 0", on, c.name, call)
	case 2:
		w.object("INDEX "+name, "%s USING %s (%s)", on, pick(w, "hash", "brin", "btree"), t.integer)
	case 3:
		w.object("INDEX "+name, "%s (%s DESC NULLS LAST) INCLUDE (%s) WITH (fillfactor = 50)", on, t.integer, c.name)
	case 4:
		w.object("INDEX "+name, "%s USING gist (others.cube(%s))", on, t.integer)
	case 5:
		w.object("INDEX "+name, "CREATE UNIQUE INDEX %s ON %s (%s, %s)", Ident(bare), t.name, t.integer, t.columns[0].name)
		if w.one(2) {
			w.add("ALTER TABLE %s REPLICA IDENTITY USING INDEX %s", t.name, Ident(bare))
		}
	case 6:
		w.object("INDEX "+name, "%s (lower(%s::text) COLLATE \"C\" text_pattern_ops)", on, c.name)
	case 7:
		w.object("INDEX "+name, "%s (%s)", on, t.integer)
		w.add("ALTER TABLE %s CLUSTER ON %s", t.name, Ident(bare))
	default:
		if w.loose { // what earthdistance and many applications have
			w.object("INDEX "+name, "%s USING gist (others.ll_to_earth(%s, %s))", on, t.integer, t.integer)
			w.add("CREATE INDEX ON %s ((others.unaccent('others.unaccent'::regdictionary, %s::text)))", t.name, c.name)
			return
		}
		w.object("INDEX "+name, "CREATE INDEX %s ON ONLY %s (%s)", Ident(bare), t.name, c.name)
	}
}

// statistics makes extended statistics.
func (w *writer) statistics() {
	t := w.withInteger()
	if t == nil {
		return
	}
	name := w.qualified("stats")
	on := t.integer + ", (" + w.call(t.integer) + ")"
	if len(t.columns) > 1 && w.one(2) {
		on = t.columns[0].name + ", " + t.columns[1].name
	}
	w.object("STATISTICS "+name, "CREATE STATISTICS %s %s ON %s FROM %s", name, pick(w, "", "(ndistinct)", "(dependencies, mcv)"), on, t.name)
}

// view makes a view or a materialized view, over a table or another view.
func (w *writer) view() {
	all := append(w.tables[:len(w.tables):len(w.tables)], w.views...)
	if len(all) == 0 {
		return
	}
	t := pick(w, all...)
	v := w.newTable("v")
	c := t.column(w)
	a, b := Ident(w.name("a")), Ident(w.name("b"))
	query := pick(w,
		fmt.Sprintf("SELECT %s AS %s, 1 AS %s FROM %s", c, a, b, t.name),
		fmt.Sprintf("SELECT count(*) AS %s, %s::text AS %s FROM %s GROUP BY %s::text", a, c, b, t.name, c),
		fmt.Sprintf("SELECT x.%s::text AS %s, y.* FROM (SELECT 1 AS %s) x JOIN LATERAL (SELECT count(*) AS %s FROM %s) y ON true", b, a, b, b, t.name),
		fmt.Sprintf("WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n AS %s, %s AS %s FROM r, %s", a, c, b, t.name),
		fmt.Sprintf("SELECT %s AS %s, row_number() OVER (ORDER BY %s::text) AS %s FROM %s", c, a, c, b, t.name),
		fmt.Sprintf("SELECT %s AS %s, %s AS %s FROM %s", w.call("1"), a, w.text(), b, t.name),
		fmt.Sprintf("SELECT id AS %s, note AS %s FROM others.notes", a, b),
	)
	if t.key != "" && w.one(3) { // depends on the primary key
		query = fmt.Sprintf("SELECT t.%s AS %s, %s::text AS %s FROM %s t GROUP BY t.%s", t.key, a, c, b, t.name, t.key)
	}
	if w.one(3) {
		w.object("MATERIALIZED VIEW "+v.name, "CREATE MATERIALIZED VIEW %s AS %s WITH %sDATA", v.name, query, w.optional(3, "NO "))
		w.add("CREATE INDEX ON %s (%s)", v.name, b)
		return // what reads one without data cannot be filled
	}
	w.object("VIEW "+v.name, "CREATE VIEW %s %s AS %s", v.name, pick(w, "", "", "WITH (security_barrier)", "WITH (security_invoker = true)"), query)
	v.columns = []column{{a, datatype{"text", "", true}, false}, {b, datatype{"text", "", true}, false}}
	if w.one(5) {
		w.add("ALTER VIEW %s ALTER COLUMN %s SET DEFAULT NULL", v.name, a)
	}
	if w.one(8) { // two that need each other
		other := w.newTable("loop")
		w.add("CREATE VIEW %s AS SELECT %s FROM %s", other.name, a, v.name)
		w.add("CREATE OR REPLACE RULE \"_RETURN\" AS ON SELECT TO %s DO INSTEAD SELECT * FROM (%s) s WHERE EXISTS (SELECT FROM %s)", v.name, query, other.name)
	}
	w.views = append(w.views, v)
}

// foreignKey lets a table refer to another, to itself, or to one of others.
func (w *writer) foreignKey() {
	from := w.withInteger()
	if from == nil {
		return
	}
	to := "others.parent (id)"
	for _, t := range w.tables {
		if t.key != "" && w.one(2) {
			to = t.name + " (" + t.key + ")"
		}
	}
	w.add("ALTER TABLE %s ADD CONSTRAINT %s FOREIGN KEY (%s) REFERENCES %s %s%s", from.name, Ident(w.name("fk")), from.integer, to,
		pick(w, "", "ON DELETE CASCADE", "ON DELETE SET NULL ON UPDATE RESTRICT", "DEFERRABLE INITIALLY DEFERRED", "MATCH FULL"), w.optional(2, " NOT VALID"))
}

// trigger makes a trigger and its function.
func (w *writer) trigger() {
	t := w.withInteger()
	if t == nil {
		return
	}
	f, name := w.qualified("tf"), Ident(w.name("trigger"))
	w.object("FUNCTION "+f+"()", "CREATE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql AS %s", f, dollar(pick(w, "BEGIN RETURN NEW; END", "BEGIN INSERT INTO log VALUES (1); RETURN NULL; END", "begin perform helper(); return old; end")))
	switch w.IntN(5) {
	case 0:
		w.add("CREATE TRIGGER %s AFTER INSERT OR UPDATE OF %s ON %s FOR EACH ROW WHEN (NEW.%s > 5) EXECUTE FUNCTION %s(%s, 'x')", name, t.integer, t.name, t.integer, f, w.text())
	case 1:
		w.add("CREATE CONSTRAINT TRIGGER %s AFTER DELETE ON %s DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION %s()", name, t.name, f)
	case 2:
		w.add("CREATE TRIGGER %s AFTER UPDATE ON %s REFERENCING OLD TABLE AS o NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION %s()", name, t.name, f)
	case 3:
		if len(w.views) > 0 {
			w.add("CREATE TRIGGER %s INSTEAD OF INSERT ON %s FOR EACH ROW EXECUTE FUNCTION %s()", name, pick(w, w.views...).name, f)
		}
		return
	default:
		w.add("CREATE TRIGGER %s BEFORE TRUNCATE ON %s EXECUTE FUNCTION %s()", name, t.name, f)
	}
	if w.one(3) {
		w.add("ALTER TABLE %s %s TRIGGER %s", t.name, pick(w, "DISABLE", "ENABLE ALWAYS", "ENABLE REPLICA"), name)
	}
	w.comments = append(w.comments, "TRIGGER "+name+" ON "+t.name)
}

// rule makes a rewrite rule.
func (w *writer) rule() {
	t := w.withInteger()
	if t == nil {
		return
	}
	name := Ident(w.name("rule"))
	on := t.name
	if len(w.views) > 0 && w.one(2) {
		on = pick(w, w.views...).name
	}
	w.object("RULE "+name+" ON "+on, "CREATE RULE %s AS ON %s TO %s %s DO %s", name, pick(w, "DELETE", "INSERT", "UPDATE"), on,
		w.optional(2, "WHERE false"), pick(w, "INSTEAD NOTHING", "ALSO DELETE FROM "+t.name+" WHERE false", "ALSO (NOTIFY x; SELECT 1)", "ALSO NOTIFY "+Ident(w.name("channel"))+", "+w.text()))
}

// policy makes a policy, and switches row security on at times.
func (w *writer) policy() {
	t := w.withInteger()
	if t == nil {
		return
	}
	name := Ident(w.name("policy"))
	w.object("POLICY "+name+" ON "+t.name, "CREATE POLICY %s ON %s %s FOR %s TO %s USING (%s > 0)", name, t.name, pick(w, "", "AS RESTRICTIVE"),
		pick(w, "ALL", "SELECT", "DELETE"), pick(w, "PUBLIC", Ident(Roles[0]), Ident(Roles[1])), w.call(t.integer))
	if w.one(2) {
		w.add("ALTER TABLE %s ENABLE ROW LEVEL SECURITY", t.name)
		w.add("ALTER TABLE %s %s ROW LEVEL SECURITY", t.name, pick(w, "FORCE", "NO FORCE"))
	}
}
