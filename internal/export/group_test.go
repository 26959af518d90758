package export_test

import (
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
)

func TestMembersOfAGroupKey(t *testing.T) {
	t.Parallel()
	key := export.GroupKey{DSN: "postgres://source", Role: "dumper"}
	job := func(format export.Format, dsn export.Secret, role string, schemas ...string) export.DumpJob {
		return export.DumpJob{Project: export.Project{DSN: dsn, Role: role}, Format: format, Schemas: schemas}
	}
	members := []export.DumpJob{job(export.SQL, key.DSN, key.Role, "a"), job(export.Custom, key.DSN, key.Role, "b", "c")}
	for name, c := range map[string]struct {
		job  export.DumpJob
		want bool
	}{
		"a script":                  {job(export.SQL, key.DSN, key.Role, "d"), true},
		"a custom archive":          {job(export.Custom, key.DSN, key.Role, "d", "e"), true},
		"a tar archive":             {job(export.Tar, key.DSN, key.Role, "d"), false},
		"a directory":               {job(export.Directory, key.DSN, key.Role, "d"), false},
		"another source":            {job(export.SQL, "postgres://other", key.Role, "d"), false},
		"another role":              {job(export.SQL, key.DSN, "", "d"), false},
		"a schema of another":       {job(export.SQL, key.DSN, key.Role, "d", "c"), false},
		"a schema with a like name": {job(export.SQL, key.DSN, key.Role, "C"), true},
	} {
		if got := key.Admits(c.job, members...); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
