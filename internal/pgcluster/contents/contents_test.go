package contents_test

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/pgcluster/contents"
)

func TestCompareFindsEachKindOfDifference(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c, err := pgcluster.Start(ctx, pgcluster.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	conn, err := pgx.Connect(ctx, c.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	read := func() map[string]contents.Table {
		t.Helper()
		got, err := contents.Read(ctx, conn, []string{"s", `Odd "one"`})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	exec(`CREATE SCHEMA s; CREATE SCHEMA "Odd ""one"""; CREATE TABLE s.a (id int, v text); CREATE TABLE s.e (); CREATE TABLE "Odd ""one"""."t t" (log_cnt int);
		CREATE SEQUENCE s.q; CREATE MATERIALIZED VIEW s.m AS SELECT 1 AS one;
		INSERT INTO s.a SELECT n, 'x' FROM generate_series(1, 10) n; INSERT INTO s.e DEFAULT VALUES; CREATE SCHEMA other; CREATE TABLE other.t ()`)
	before := read()
	if len(before) != 5 {
		t.Errorf("read %v, want 5 relations", before)
	}
	exec(`DELETE FROM s.a WHERE id = 3; INSERT INTO s.a VALUES (3, 'x')`) // another order, the same contents
	if diffs := contents.Compare(before, read()); diffs != nil {
		t.Errorf("equal contents differ: %q", diffs)
	}
	for _, c := range []struct{ name, change, want string }{
		{"a value", `UPDATE s.a SET v = 'y' WHERE id = 3`, "s.a: other contents in 10 rows"},
		{"a row less", `DELETE FROM s.a WHERE id = 3`, "s.a: 9 rows, want 10"},
		{"a row without columns", `INSERT INTO s.e DEFAULT VALUES`, "s.e: 2 rows, want 1"},
		{"a sequence", `SELECT nextval('s.q'), nextval('s.q')`, "s.q: other contents in 1 rows"},
		{"a table more", `CREATE TABLE s.b ()`, "s.b: not expected"},
		{"a table less", `DROP TABLE "Odd ""one"""."t t"`, `"Odd ""one"""."t t": missing`},
	} {
		exec(c.change)
		after := read()
		if diffs := contents.Compare(before, after); !slices.Equal(diffs, []string{c.want}) {
			t.Errorf("%s: differences are %q, want %q", c.name, diffs, c.want)
		}
		before = after
	}
}
