package randomschema

// alter changes a table's settings.
func (w *writer) alter() {
	t := w.withInteger()
	if t == nil {
		return
	}
	c := pick(w, t.columns...).name
	w.add("ALTER TABLE %s %s", t.name, pick(w,
		"ALTER COLUMN "+c+" SET STATISTICS 500", "ALTER COLUMN "+c+" SET STORAGE EXTERNAL", "ALTER COLUMN "+c+" SET (n_distinct = -0.5)",
		"ALTER COLUMN "+c+" SET COMPRESSION pglz", "REPLICA IDENTITY FULL", "SET (parallel_workers = 2)", "SET UNLOGGED",
		"ADD CONSTRAINT "+Ident(w.name("check"))+" CHECK ("+t.integer+" < 1000) NOT VALID",
		"ADD CONSTRAINT "+Ident(w.name("check"))+" CHECK ("+t.integer+" < 1000) NO INHERIT",
		"ALTER COLUMN "+t.integer+" SET NOT NULL", "DISABLE RULE "+Ident("none"),
	))
}

// right grants a right, or sets a default privilege.
func (w *writer) right() {
	role := pick(w, "PUBLIC", Ident(Roles[0]), Ident(Roles[1]))
	switch w.IntN(5) {
	case 0:
		w.add("GRANT USAGE ON SCHEMA %s TO %s", w.schema(), role)
	case 1:
		w.add("ALTER DEFAULT PRIVILEGES IN SCHEMA %s GRANT SELECT ON TABLES TO %s", w.schema(), role)
	case 2:
		w.add("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %s FROM PUBLIC", w.schema())
	default:
		if t := w.withInteger(); t != nil {
			w.add("GRANT %s ON %s TO %s", pick(w, "SELECT", "ALL", "SELECT ("+t.integer+"), UPDATE ("+t.integer+")"), t.name, role)
		}
	}
}

// elsewhere creates an object that connects the case to schemas outside of it.
func (w *writer) elsewhere() {
	switch w.IntN(5) {
	case 0:
		t := w.newTable("outside")
		w.add("CREATE TABLE %s () INHERITS (others.parent)", t.name)
		w.add("INSERT INTO %s VALUES (5, %s)", t.name, w.text())
	case 1:
		v := w.newTable("outside")
		w.object("VIEW "+v.name, "CREATE VIEW %s AS SELECT others.twice(id) AS n, note::others.citext FROM others.notes", v.name)
	case 2:
		f := w.qualified("outside")
		w.object("FUNCTION "+f, "CREATE FUNCTION %s(others.shade) RETURNS SETOF others.parent LANGUAGE sql BEGIN ATOMIC SELECT id, note FROM others.parent; END", f)
	case 3:
		if t := w.withInteger(); t != nil {
			w.add("CREATE INDEX ON %s (others.twice(%s))", t.name, t.integer)
		}
	default: // a large object belongs to no schema
		w.add("SELECT lo_from_bytea(0, 'x')")
	}
}

// comment describes an object, a schema or a column.
func (w *writer) comment() {
	what := "SCHEMA " + w.schema()
	if t := w.withInteger(); t != nil && w.one(4) {
		what = "COLUMN " + t.name + "." + pick(w, t.columns...).name
	} else if len(w.comments) > 0 && !w.one(8) {
		what = pick(w, w.comments...)
	}
	w.add("COMMENT ON %s IS %s", what, w.text())
}
