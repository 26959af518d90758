package restore_test

import (
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// The script of Prepare makes everything that a database needs for the export, and may be run
// twice.
func TestAPreparedDatabaseTakesTheExport(t *testing.T) {
	t.Parallel()
	const role = `an "auditor's" role`
	needs := export.Needs{
		Extensions: []export.Extension{{Name: "cube", Schema: "geo graphy"}, {Name: "earthdistance", Schema: "geo graphy"}, {Name: "plpgsql", Schema: "pg_catalog"}},
		Roles:      []string{role, "evil\x1b[2J"}, Objects: []string{"function other.f()\nDROP TABLE t;"},
	}
	const sql = `CREATE SCHEMA tenant; CREATE SCHEMA "geo graphy"; CREATE EXTENSION cube SCHEMA "geo graphy"; CREATE EXTENSION earthdistance SCHEMA "geo graphy";
		CREATE TABLE tenant.places (at "geo graphy".cube, home "geo graphy".earth); ALTER TABLE tenant.places ENABLE ROW LEVEL SECURITY;`
	execute(t, "postgres", `CREATE ROLE "`+strings.ReplaceAll(role, `"`, `""`)+`"`)
	from := database(t, sql+`CREATE POLICY p ON tenant.places TO "`+strings.ReplaceAll(role, `"`, `""`)+`"`)
	x := sealed(t, dump(t, from, export.SQL, "tenant"), kind{format: export.SQL, compression: seal.Plain}, "tenant")
	x.Manifest.Artifact.Needs = needs
	script := restore.Prepare("acme/r", *x.Manifest.Artifact)
	if strings.ContainsRune(script, 0x1b) || strings.Contains(script, "\nDROP") || !strings.Contains(script, "--   function other.f() DROP TABLE t;\n") {
		t.Errorf("the script is %q", script)
	}
	to := database(t, "")
	for range 2 {
		execute(t, to, script)
	}
	if _, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, target(t, to), nil); err != nil {
		t.Errorf("%v after\n%s", err, script)
	}
}
