package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOnlyAcceptedLicencesPass(t *testing.T) {
	t.Parallel()
	const frame = `{"components":[{"name":"example.org/a","version":"v1.0.0",%s}]}`
	for name, c := range map[string]struct{ component, want string }{
		"declared":     {`"licenses":[{"license":{"id":"MIT"}}]`, ""},
		"detected":     {`"evidence":{"licenses":[{"license":{"id":"BSD-3-Clause"}}]}`, ""},
		"copyleft":     {`"licenses":[{"license":{"id":"AGPL-3.0-only"}}]`, `licence "AGPL-3.0-only" is not among the accepted`},
		"unknown":      {`"licenses":[{"license":{"name":"Our own"}}]`, `licence "Our own" is not`},
		"two, one bad": {`"licenses":[{"license":{"id":"MIT"}},{"expression":"SSPL-1.0"}]`, `licence "SSPL-1.0" is not`},
		"none":         {`"licenses":[]`, "no licence found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := read([]byte(strings.Replace(frame, "%s", c.component, 1)))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("read: %v, want %q", err, c.want)
			}
		})
	}
	if _, err := read([]byte(`{}`)); err == nil {
		t.Error("a bill without modules is accepted")
	}
}

func TestAStaleListIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sbom, list := filepath.Join(dir, "sbom.json"), filepath.Join(dir, "licences.md")
	write(t, sbom, `{"components":[{"name":"example.org/a","licenses":[{"license":{"id":"MIT"}}]}]}`)
	args := []string{"-sbom", sbom, "-file", list}
	if err := run(args, os.Stderr); err != nil {
		t.Fatal(err)
	}
	if err := run(append(args, "-check"), os.Stderr); err != nil {
		t.Errorf("the list just written: %v", err)
	}
	write(t, sbom, `{"components":[{"name":"example.org/b","licenses":[{"license":{"id":"MIT"}}]}]}`)
	if err := run(append(args, "-check"), os.Stderr); err == nil {
		t.Error("another module's list is accepted for this one")
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
