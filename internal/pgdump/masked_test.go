package pgdump_test

import (
	"bytes"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
)

// A dump that is made as a masked role of PostgreSQL Anonymizer has no masking rules. Its labels can
// only be made by its library, so the test inserts them into the catalogue.
func TestMaskingRulesStayOutOfMaskedDumps(t *testing.T) {
	t.Parallel()
	const rule = "MASKED WITH VALUE NULL"
	dsn := database(t, cluster, simple+`; SET allow_system_table_mods = on;
		INSERT INTO pg_seclabel VALUES ('s.t'::regclass, 'pg_class'::regclass, 1, 'anon', '`+rule+`')`)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	name := "masked_" + strings.TrimPrefix(u.Path, "/")
	execute(t, dsn, "CREATE ROLE "+name+" LOGIN PASSWORD 'pw'; GRANT USAGE ON SCHEMA s TO "+name+"; GRANT SELECT ON ALL TABLES IN SCHEMA s TO "+name+"; GRANT SELECT ON ALL SEQUENCES IN SCHEMA s TO "+name)
	u.User = url.UserPassword(name, "pw")
	jobs := map[string]export.DumpJob{"login": job(u.String(), export.SQL, "s"), "role": job(dsn, export.SQL, "s")}
	role := jobs["role"]
	role.Project.Role = name
	jobs["role"] = role
	dump := func(how string) ([]byte, []string) {
		d := open(t, pgdump.Config{}, jobs[how])
		b, err := io.ReadAll(d)
		if err != nil {
			t.Fatal(err)
		}
		return b, d.Info().Warnings
	}
	for how := range jobs {
		if b, _ := dump(how); !bytes.Contains(b, []byte("SECURITY LABEL FOR anon ON COLUMN s.t.a IS '"+rule+"'")) {
			t.Errorf("%s, not masked: the rule is missing", how)
		}
	}
	execute(t, dsn, "SET allow_system_table_mods = on; INSERT INTO pg_shseclabel VALUES ('"+name+"'::regrole, 'pg_authid'::regclass, 'anon', 'MASKED')")
	for how := range jobs {
		b, warnings := dump(how)
		if !bytes.Contains(b, []byte("COPY s.t ")) || bytes.Contains(b, []byte("SECURITY LABEL")) || strings.Contains(strings.Join(warnings, " "), "label") {
			t.Errorf("%s, masked: %q\n%s", how, warnings, b)
		}
	}
}
