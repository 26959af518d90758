package roundtrip_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/dev/pgtest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// otherServer is a server of the same version as the sources', with none of their roles and
// tablespaces.
func otherServer(t *testing.T) server {
	t.Helper()
	started := pgtest.Start(t, pgcluster.Config{InMemory: true})
	return server{Cluster: started, clients: started.BinDir}
}

// restorePrepared restores a completed export on another server. The script of restore --prepare
// makes the prerequisites, or they are named in it or in the warnings.
func (c fieldCase) restorePrepared(t *testing.T, from string, on server, x restore.Export, format export.Format) {
	t.Helper()
	name := fmt.Sprintf("prepared_%d", fieldDatabases.Add(1))
	execute := func(database, sql string) {
		if err := on.execute(t.Context(), database, sql); err != nil {
			t.Fatalf("%s: %v in\n%s", format, err, sql)
		}
	}
	artifact := *x.Manifest.Artifact
	execute("postgres", createDatabase(name, c.encoding))
	execute(name, restore.Prepare("acme/r", artifact))
	byHand := len(artifact.Needs.Objects)+len(artifact.Needs.Parents) > 0 || slices.ContainsFunc(artifact.Warnings, namesSchemas)
	if byHand {
		execute(name, c.sql["target"]) // as the script's comments say
	}
	to, err := libpq.Parse(secret.String(on.URL(name)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = fieldRestorer(t).Restore(t.Context(), x, restore.Target{Source: to}, nil)
	checkResult(t, fmt.Sprintf("%s, prepared", format), c.prepared, err)
	if err != nil {
		return
	}
	if want := strings.TrimSpace(c.sql["want"]); want != "" && (byHand || c.sql["target"] == "") {
		var holds bool
		if err := queryRow(t.Context(), on.URL(name), want, &holds); err != nil || !holds {
			t.Errorf("%s: %s is %t (%v)", format, want, holds, err)
		}
	}
	for _, d := range c.differences(t, from, on.URL(name)) {
		t.Errorf("%s: %s", format, d)
	}
	execute("postgres", "DROP DATABASE "+name)
}

func namesSchemas(warning string) bool {
	return strings.HasPrefix(warning, "bodies of functions name other schemas")
}

// differences compares dumps of two databases. The order of rows, and of partitions by hash, may
// differ, so the lines are compared.
func (c fieldCase) differences(t *testing.T, want, got string) (all []string) {
	t.Helper()
	var lines [2][]string
	for i, dsn := range []string{want, got} {
		var store memory
		if out := c.export(t, &store, dsn, export.SQL); out.State != export.Completed {
			return nil // psql cannot read some scripts
		}
		lines[i] = slices.Sorted(strings.Lines(string(withoutKeys(store.data))))
	}
	for _, line := range lines[0] {
		if i, found := slices.BinarySearch(lines[1], line); found {
			lines[1] = slices.Delete(lines[1], i, i+1)
		} else {
			all = append(all, fmt.Sprintf("the restored database lacks %q", line))
		}
	}
	for _, line := range lines[1] {
		all = append(all, fmt.Sprintf("the restored database has %q besides", line))
	}
	return all
}
