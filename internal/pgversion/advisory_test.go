package pgversion_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/pgversion"
)

func TestTheAdvisoriesAreWellFormed(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, a := range pgversion.Advisories() {
		if seen[a.ID] || !strings.HasPrefix(a.ID, "CVE-") || a.What == "" || strings.HasSuffix(a.What, ".") || len(a.Tools) == 0 || len(a.Fixed) == 0 {
			t.Errorf("%+v is not a whole advisory", a)
		}
		seen[a.ID] = true
		for _, tool := range a.Tools {
			if !slices.Contains([]string{"pg_dump", "psql", "pg_restore"}, tool) {
				t.Errorf("%s names the tool %q", a.ID, tool)
			}
		}
	}
}

func TestTheAdvisoriesAreDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/hostile-source.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range pgversion.Advisories() {
		var fixed []string
		for _, major := range slices.Backward(slices.Sorted(maps.Keys(a.Fixed))) {
			fixed = append(fixed, fmt.Sprintf("%d.%d", major, a.Fixed[major]))
		}
		what := strings.ReplaceAll(a.What, `\restrict`, "`\\restrict`")
		row := fmt.Sprintf("| %s | %s | %s | %s |\n", a.ID, strings.Join(a.Tools, ", "), strings.Join(fixed, ", "), what)
		if !strings.Contains(string(doc), row) {
			t.Errorf("docs/hostile-source.md lacks the row\n%s", row)
		}
	}
}
