package roundtrip_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// What completed can be restored on another server of the same version: what has to be there
// first is made by the script of restore --prepare, or named in it or in the warnings.
func TestWhatCompletedCanBeRestoredAsItsWarningsSay(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/field/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d cases (%v)", len(files), err)
	}
	started, err := pgcluster.Start(t.Context(), pgcluster.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := started.Stop(); err != nil {
			t.Error(err)
		}
	})
	other := server{Cluster: started, clients: started.BinDir}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".sql"), func(t *testing.T) {
			t.Parallel()
			c := readFieldCase(t, path)
			from := fieldDatabase(t, c.sql[""], c.encoding)
			for _, format := range c.formats {
				c.prepareAndRestore(t, cluster.URL(from), other, format)
			}
		})
	}
}

func (c fieldCase) prepareAndRestore(t *testing.T, from string, on server, format export.Format) {
	t.Helper()
	var store memory
	out := c.export(t, &store, from, format)
	if out.State != export.Completed {
		return // TestFieldCases has said whether that is right
	}
	name := fmt.Sprintf("prepared_%d", fieldDatabases.Add(1))
	execute := func(database, sql string) {
		if err := on.execute(t.Context(), database, sql); err != nil {
			t.Fatalf("%s: %v in\n%s", format, err, sql)
		}
	}
	execute("postgres", createDatabase(name, c.encoding))
	execute(name, restore.Prepare("acme/r", *out.Artifact))
	needs := out.Artifact.Needs
	byHand := len(needs.Objects)+len(needs.Parents) > 0 || slices.ContainsFunc(out.Artifact.Warnings, namesSchemas)
	if byHand {
		execute(name, c.sql["target"]) // as the script's comments say
	}
	to, err := libpq.Parse(secret.String(on.URL(name)))
	if err != nil {
		t.Fatal(err)
	}
	x := restore.Export{Manifest: store.manifest, Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(store.data)), nil
	}}
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
