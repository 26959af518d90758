package main

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module writes a module with tests that pass, fail, panic, hang and do not compile.
func module(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module m\n\ngo 1.26.0\n"
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFailuresAreCountedByTest(t *testing.T) {
	dir := module(t, map[string]string{
		"good/a_test.go": "package a\nimport \"testing\"\nfunc TestGood(*testing.T) {}\n",
		"bad/a_test.go": "package a\nimport \"testing\"\nfunc TestGood(*testing.T) {}\n" +
			"func TestBad(t *testing.T) { t.Run(\"one\", func(t *testing.T) { t.Error(\"because\") }); t.Run(\"two\", func(*testing.T) {}) }\n",
		"panics/a_test.go":   "package a\nimport \"testing\"\nfunc TestGood(*testing.T) {}\nfunc TestPanics(*testing.T) { panic(\"oh\") }\n",
		"broken/a_test.go":   "package a\nimport \"testing\"\nfunc TestBroken(*testing.T) { x }\n",
		"exits/a_test.go":    "package a\nimport (\"os\"; \"testing\")\nfunc TestMain(*testing.M) { println(\"gone\"); os.Exit(3) }\n",
		"leaves/a_test.go":   "package a\nimport (\"os\"; \"testing\")\nfunc TestLeaves(*testing.T) { os.Exit(3) }\n",
		"nothing/nothing.go": "package nothing\n",
	})
	t.Chdir(dir)
	logs := filepath.Join(dir, "build")
	var out bytes.Buffer
	err := run(context.Background(), &out, config{rounds: 2, load: 1, logs: logs, packages: []string{"./..."}})
	if err == nil || !strings.Contains(err.Error(), "2 of 2 runs were made, 5 tests failed") {
		t.Errorf("error = %v", err)
	}
	if n := strings.Count(out.String(), "% busy\n"); n != 2 {
		t.Errorf("%d of 2 runs say how busy the cores were:\n%s", n, out.String())
	}
	for name, want := range map[string]string{
		"m/bad.TestBad/one": "because", "m/panics.TestPanics": "panic: oh", "m/broken": "undefined: x",
		"m/exits": "gone", "m/leaves.TestLeaves": "it did not end",
	} {
		file := filepath.Join(logs, "run-02", strings.Map(plain, name)+".log")
		if line := "2       " + name; !strings.Contains(out.String(), line) || !strings.Contains(out.String(), file) {
			t.Errorf("no line with %q and %s:\n%s", line, file, out.String())
		}
		if log, err := os.ReadFile(file); err != nil || !strings.Contains(string(log), want) {
			t.Errorf("%s: %v, %q has no %q", file, err, log, want)
		}
	}
}

func TestNothingFailed(t *testing.T) {
	dir := module(t, map[string]string{"a_test.go": "package a\nimport \"testing\"\nfunc TestGood(*testing.T) {}\nfunc TestBad(t *testing.T) { t.Fail() }\n"})
	t.Chdir(dir)
	var out bytes.Buffer
	if err := run(context.Background(), &out, config{rounds: 3, logs: filepath.Join(dir, "build"), which: "Good"}); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	if n := strings.Count(out.String(), ": 0 failures"); n != 3 {
		t.Errorf("%d lines of runs:\n%s", n, out.String())
	}
}

func TestOnlyTheInnermostTestIsNamed(t *testing.T) {
	t.Parallel()
	lines := `{"Action":"run","Package":"p","Test":"A"}
{"Action":"run","Package":"p","Test":"A/b"}
{"Action":"output","Package":"p","Test":"A/b","Output":"why\n"}
{"Action":"run","Package":"p","Test":"AB"}
{"Action":"fail","Package":"p","Test":"A/b"}
{"Action":"fail","Package":"p","Test":"A"}
{"Action":"pass","Package":"p","Test":"AB"}
{"Action":"fail","Package":"p"}
`
	failed, err := read(strings.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	if names := slices.Collect(maps.Keys(failed)); !slices.Equal(names, []string{"p.A/b"}) || string(failed["p.A/b"]) != "why\n" {
		t.Errorf("failed: %q", failed)
	}
	if _, err := read(strings.NewReader("no JSON")); err == nil {
		t.Error("no error for a line that is not an event")
	}
}
