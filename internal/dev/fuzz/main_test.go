package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTargetsAreDiscovered(t *testing.T) {
	t.Parallel()
	targets, err := discover(filepath.Join("..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, target := range targets {
		names = append(names, target.String())
	}
	for _, want := range []string{"events.FuzzDecode", "handlers.FuzzDecodeStored", "internal/storage/telegram.FuzzParseReference"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among %q", want, names)
		}
	}
	// Each has inputs in the repository, beside those in its code.
	for _, target := range targets {
		corpus, err := os.ReadDir(filepath.Join("..", "..", "..", target.dir, "testdata", "fuzz", target.name))
		if err != nil || len(corpus) == 0 {
			t.Errorf("%s has no committed corpus: %v", target, err)
		}
	}
}

func TestFiguresAreRead(t *testing.T) {
	t.Parallel()
	const text = `fuzz: elapsed: 0s, gathering baseline coverage: 0/5 completed
fuzz: elapsed: 0s, gathering baseline coverage: 5/5 completed, now fuzzing with 1 workers
fuzz: elapsed: 3s, execs: 100 (33/sec), new interesting: 7 (total: 12)
fuzz: elapsed: 6s, execs: 4491409 (15020/sec), new interesting: 9 (total: 14)
--- FAIL: FuzzX (6.00s)
    failing input written to testdata/fuzz/FuzzX/abc
`
	var shown strings.Builder
	r := result{target: target{"events", "FuzzX"}}
	r.read(strings.NewReader(text), &shown)
	if r.executions != 4491409 || r.interesting != 9 || shown.String() != "  --- FAIL: FuzzX (6.00s)\n      failing input written to testdata/fuzz/FuzzX/abc\n" {
		t.Errorf("read %+v, shown %q", r, shown.String())
	}
	r.err, r.took = errors.New("exit status 1"), 6*time.Second
	var out strings.Builder
	if err := table(&out, []result{r, {target: target{"events", "FuzzY"}, executions: 1}}); err != nil {
		t.Fatal(err)
	}
	const want = `TARGET        EXECUTIONS  NEW INTERESTING  CRASHES            TOOK
events.FuzzX  4491409     9                1 (exit status 1)  6s
events.FuzzY  1           0                0                  0s
2 targets     4491410                                         
`
	if out.String() != want {
		t.Errorf("table\n%s\nwant\n%s", out.String(), want)
	}
}

func TestAPatternThatFitsNothingIsAnError(t *testing.T) {
	t.Parallel()
	if err := run(t.Context(), &strings.Builder{}, "no-such-target", time.Second, 1); err == nil {
		t.Error("no target was run, and no error")
	}
	if err := run(t.Context(), &strings.Builder{}, "(", time.Second, 1); err == nil {
		t.Error("no pattern, and no error")
	}
}
