package architecture_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTheDocumentsNameWhatExists checks the paths and the tests that the documents name in code
// spans. A bare name such as `pull.go` belongs to the folder of the path before it. CHANGELOG.md is
// history and may name removed ones.
func TestTheDocumentsNameWhatExists(t *testing.T) {
	t.Parallel()
	documents, err := filepath.Glob("../../../*.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	err = filepath.WalkDir("../../..", func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{".git", "build", "node_modules"}, entry.Name()):
			return fs.SkipDir
		case strings.HasPrefix(file, "../../../docs/") && filepath.Ext(file) == ".md":
			documents = append(documents, file)
		case strings.HasSuffix(file, "_test.go"):
			text, err := os.ReadFile(file) // #nosec G304 -- a file of this repository
			if err != nil {
				return err
			}
			for _, m := range function.FindAllSubmatch(text, -1) {
				tests[string(m[1])] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, document := range documents {
		if filepath.Base(document) == "CHANGELOG.md" {
			continue
		}
		text, err := os.ReadFile(document) // #nosec G304 -- a file of this repository
		if err != nil {
			t.Fatal(err)
		}
		n, missing := unknownNames(string(text), tests)
		named += n
		for _, name := range missing {
			t.Errorf("%s names %s, which does not exist", strings.TrimPrefix(document, "../../../"), name)
		}
	}
	if named < 300 {
		t.Errorf("the documents name %d paths and tests: the pattern finds too few", named)
	}
}

func TestUnknownNamesAreFound(t *testing.T) {
	t.Parallel()
	_, missing := unknownNames("`internal/dev/architecture/doc.go`, `gone.go` `doc.go` `internal/gone` `internal/dev.FuzzGone`\n`TestGone/part` `TestKnown`", map[string]bool{"TestKnown": true})
	if want := []string{"internal/dev/architecture/gone.go", "internal/gone", "FuzzGone", "TestGone"}; !slices.Equal(missing, want) {
		t.Errorf("%q, want %q", missing, want)
	}
}

var (
	codeSpan = regexp.MustCompile("`([^`\n]+)`")
	ourPath  = regexp.MustCompile(`^(?:cmd|deploy|docs|events|handlers|internal|schemas|testdata)/[\w./-]*\w$`)
	bareFile = regexp.MustCompile(`^\w+\.go$`)
	testName = regexp.MustCompile(`^(?:Test|Fuzz|Benchmark)[A-Z]\w*`)
	inFolder = regexp.MustCompile(`^([\w./-]+)\.((?:Test|Fuzz|Benchmark)[A-Z]\w*)$`)
)

// unknownNames returns how many paths and tests a document names, and those that do not exist.
func unknownNames(text string, tests map[string]bool) (named int, missing []string) {
	for line := range strings.Lines(text) {
		folder := ""
		for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
			name := m[1]
			if f := inFolder.FindStringSubmatch(name); f != nil {
				name = f[2]
			}
			switch {
			case testName.MatchString(name):
				name = testName.FindString(name)
				if !tests[name] {
					missing = append(missing, name)
				}
			case ourPath.MatchString(name), bareFile.MatchString(name) && folder != "":
				if bareFile.MatchString(name) {
					name = folder + "/" + name
				} else if folder = name; filepath.Ext(name) != "" {
					folder = filepath.Dir(name)
				}
				if _, err := os.Stat("../../../" + name); err != nil {
					missing = append(missing, name)
				}
			default:
				continue
			}
			named++
		}
	}
	return named, missing
}
