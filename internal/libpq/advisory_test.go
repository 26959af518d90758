package libpq_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/dev/faketool"
	"github.com/pgcourier/pgcourier/internal/libpq"
)

// pretend makes a folder with a tool that reports this version.
func pretend(t *testing.T, tool, version string) string {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\necho '%s (PostgreSQL) %s'\n", tool, version)
	faketool.Install(t, filepath.Join(dir, tool), script)
	return dir
}

func TestOldToolsAreFoundWithTheirFix(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		tool, version string
		ids           []string
		fixes         string
	}{
		{"pg_dump", "15.18 (Debian 15.18-0+deb12u1)", []string{"CVE-2026-18408"}, "15.19"},
		{"pg_restore", "15.18", []string{"CVE-2026-116314", "CVE-2026-18408"}, "15.20"},
		{"psql", "15.18", []string{"CVE-2026-18408"}, "15.19"},
		{"psql", "15.19", nil, ""},
		{"pg_restore", "18.7", nil, ""},
		{"pg_restore", "18.6", []string{"CVE-2026-116314"}, "18.7"},
		{"pg_dump", "18beta1", []string{"CVE-2026-18408", "CVE-2026-6477"}, "18.6"},
		{"pg_dump", "16.3", []string{"CVE-2026-18408", "CVE-2026-6477", "CVE-2025-8714", "CVE-2025-8715", "CVE-2024-7348"}, "16.15"},
		{"pg_restore", "19.0", nil, ""},
		// PostgreSQL 13 ended with 13.23: no release fixes what was found later.
		{"psql", "13.23", []string{"CVE-2026-18408", "CVE-2026-6477"}, ""},
	} {
		found, err := libpq.Examine([]string{pretend(t, c.tool, c.version)}, c.tool)
		if err != nil {
			t.Error(err)
		}
		if len(c.ids) == 0 {
			if len(found) != 0 {
				t.Errorf("%s %s: %v", c.tool, c.version, found)
			}
			continue
		}
		if len(found) != 1 {
			t.Fatalf("%s %s: %d findings", c.tool, c.version, len(found))
		}
		var ids []string
		for _, a := range found[0].Advisories {
			ids = append(ids, a.ID)
		}
		if !slices.Equal(ids, c.ids) || found[0].Fixes != c.fixes {
			t.Errorf("%s %s has %q, fixed by %q; want %q, %q", c.tool, c.version, ids, found[0].Fixes, c.ids, c.fixes)
		}
		want := "install " + c.fixes + " or a later release"
		if c.fixes == "" {
			want = "no release of PostgreSQL 13 fixes it"
		}
		if text := found[0].String(); !strings.Contains(text, want) || !strings.HasPrefix(text, c.tool+" ") || !strings.Contains(text, c.ids[0]) {
			t.Errorf("%s %s: the finding says %q", c.tool, c.version, text)
		}
	}
}
