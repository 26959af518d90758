package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pgcourier/pgcourier/internal/dev/faketool"
)

// fakePgDump makes a folder for PG_BIN_DIR. Its pg_dump answers --version as the real one ($real)
// does. The body, a bash script in that folder ($dir), handles everything else.
func fakePgDump(t *testing.T, body string) (dir string) {
	t.Helper()
	return fakePgDumpVersion(t, `exec "$real" --version`, body)
}

func fakePgDumpVersion(t *testing.T, version, body string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	text := fmt.Sprintf("#!/bin/bash\nset -o pipefail\nPATH=/usr/bin:/bin\nreal=%s/pg_dump\ndir=%s\n"+
		"if [ \"$1\" = --version ]; then\n%s\nexit 0\nfi\necho \"$@\" >>\"$dir/executed\"\n%s\n",
		cluster.BinDir, dir, version, body)
	file := filepath.Join(dir, "pg_dump")
	faketool.Install(t, file, text)
	return dir
}

// executed lists the arguments of each pg_dump that ran.
func executed(t *testing.T, dir string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "executed"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// gate stops the pg_dumps of one schema before they begin.
type gate struct {
	t   *testing.T
	dir string // for PG_BIN_DIR
	in  *os.File
}

func newGate(t *testing.T, schema string) *gate {
	t.Helper()
	g := &gate{t: t, dir: fakePgDump(t, `case "$*" in *`+schema+`*) echo held >>"$dir/held"; read -r _ <"$dir/gate" ;; esac; exec "$real" "$@"`)}
	name := filepath.Join(g.dir, "gate")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	// It is open for both, so that neither side waits for the other.
	if g.in, err = os.OpenFile(name, os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.in.Close() })
	return g
}

// awaitHeld waits until so many pg_dumps have reached the gate.
func (g *gate) awaitHeld(n int) {
	g.t.Helper()
	eventually(g.t, fmt.Sprintf("%d dumps at the gate", n), func() bool {
		b, err := os.ReadFile(filepath.Join(g.dir, "held"))
		return err == nil && strings.Count(string(b), "\n") == n
	})
}

// pass lets n pg_dumps through, now or when they arrive.
func (g *gate) pass(n int) {
	g.t.Helper()
	if _, err := g.in.WriteString(strings.Repeat("\n", n)); err != nil {
		g.t.Fatal(err)
	}
}
