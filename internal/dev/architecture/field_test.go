package architecture_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fieldCases is the number of cases in docs/field.md under each letter.
var fieldCases = map[string]int{"A": 4, "B": 3, "C": 7, "D": 7, "E": 5, "F": 5, "G": 6, "H": 16, "I": 6}

var (
	quoted   = regexp.MustCompile("`([^`]+)`")
	testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// Each field case has a row in docs/field.md, and its evidence exists: a test, a case of
// TestFieldCases, a target of the Makefile, or a file.
func TestEachFieldCaseIsShown(t *testing.T) {
	t.Parallel()
	const root = "../../.."
	tests := map[string]bool{}
	if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "node_modules" || d.Name() == "build" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllSubmatch(text, -1) {
			tests[string(m[1])] = true
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	read := func(path string) string {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	there := func(name string) bool {
		switch target, isTarget := strings.CutPrefix(name, "make "); {
		case isTarget:
			return strings.Contains(read("Makefile"), "\n"+strings.Fields(target)[0]+":")
		case strings.HasPrefix(name, "Test"):
			return tests[name]
		case strings.HasSuffix(name, ".sql"):
			_, err := os.Stat(filepath.Join(root, "internal/dev/roundtrip/testdata/field", name))
			return err == nil
		}
		_, err := os.Stat(filepath.Join(root, name))
		return err == nil
	}
	seen := map[string]bool{}
	for line := range strings.Lines(read("docs/field.md")) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| case") {
			continue
		}
		for id := range strings.SplitSeq(strings.TrimSpace(cells[0]), ", ") {
			seen[id] = true
		}
		shown := quoted.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if len(cells) != 5 || len(shown) == 0 {
			t.Errorf("a row with %d cells that names %d things to show it: %s", len(cells), len(shown), line)
		}
		for _, name := range shown {
			if !there(name[1]) {
				t.Errorf("there is no %s, which is to show: %s", name[1], strings.TrimSpace(cells[1]))
			}
		}
	}
	for letter, n := range fieldCases {
		for i := range n {
			if id := fmt.Sprint(letter, i+1); !seen[id] {
				t.Errorf("%s has no row", id)
			}
		}
	}
}
