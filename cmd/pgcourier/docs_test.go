package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/config"
)

var update = flag.Bool("update", false, "rewrite the generated parts of docs and the golden screens")

// The tables of docs/settings.md are generated from the code that they describe.
func TestTheTableOfSettingsIsTrue(t *testing.T) {
	file := filepath.Join("..", "..", "docs", "settings.md")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := string(b)
	for name, text := range map[string]string{"settings": settingsTable(), "exit codes": exitCodesTable()} {
		begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
		before, rest, ok := strings.Cut(want, begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("docs/settings.md lacks the part %q", name)
		}
		want = before + begin + text + end + after
	}
	if want == string(b) {
		return
	}
	if !*update {
		t.Fatal("docs/settings.md is not up to date: go test ./cmd/pgcourier -run TestTheTableOfSettingsIsTrue -update")
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Each direct dependency has a line with the reason for it.
func TestEachDependencyIsAccountedFor(t *testing.T) {
	t.Parallel()
	decision, err := os.ReadFile(filepath.Join("..", "..", "docs", "decisions", "0001-dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	direct := 0
	for line := range strings.Lines(string(mod)) {
		f := strings.Fields(line)
		if len(f) != 2 || !strings.HasPrefix(line, "\t") {
			continue // not a requirement, or an indirect one
		}
		direct++
		if !strings.Contains(string(decision), "`"+f[0]+"`") {
			t.Errorf("0001-dependencies.md has no line for `%s`", f[0])
		}
	}
	if direct == 0 {
		t.Error("go.mod names no direct dependency: the test reads it wrongly")
	}
}

// settingsTable returns the table of all settings, as docs/settings.md shows it.
func settingsTable() string {
	var b strings.Builder
	b.WriteString("| variable | default | meaning |\n|---|---|---|\n")
	for _, s := range config.Settings() {
		def := ""
		if s.Default != "" {
			def = "`" + s.Default + "`"
		}
		help := s.Help
		if s.Secret {
			help += "; also `" + s.Env + "_FILE`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Env, def, help)
	}
	return b.String()
}

// exitCodesTable returns the table of exit codes, as docs/settings.md shows it.
func exitCodesTable() string {
	var b strings.Builder
	b.WriteString("| code | meaning |\n|---|---|\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "| %d | %s |\n", c.code, c.meaning)
	}
	return b.String()
}
