package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// build builds a package of the module.
func build(ctx context.Context, output, pkg string, flags ...string) error {
	args := append(append([]string{"build"}, flags...), "-o", output, pkg)
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // our own packages
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

const module = "github.com/pgcourier/pgcourier"

// buildAll builds the programs of the harness. It checks that the shipped build has no fail points,
// which are its only difference from the tested build.
func (l *lab) buildAll(ctx context.Context) error {
	l.pgcourier, l.natsd = filepath.Join(l.dir, "pgcourier"), filepath.Join(l.dir, "natsd")
	if err := build(ctx, l.pgcourier, module+"/cmd/pgcourier", "-tags", "failpoints"); err != nil {
		return err
	}
	if err := build(ctx, l.natsd, module+"/internal/dev/faults/natsd"); err != nil {
		return err
	}
	shipped := filepath.Join(l.dir, "shipped")
	if err := build(ctx, shipped, module+"/cmd/pgcourier"); err != nil {
		return err
	}
	defer func() { _ = os.Remove(shipped) }()
	for binary, want := range map[string]bool{shipped: false, l.pgcourier: true} {
		b, err := os.ReadFile(binary) //nolint:gosec // just built
		if err != nil {
			return err
		}
		if bytes.Contains(b, []byte("FAILPOINTS")) != want {
			return fmt.Errorf("%s: that it knows FAILPOINTS must be %t", filepath.Base(binary), want)
		}
	}
	return nil
}

// buildShifted builds a pgcourier with every wall clock an hour ahead, also in its libraries. A
// statically linked program cannot get another clock from outside, and a test must not set the
// machine's clock, so the standard library's time.Now is overlaid. The monotonic clock is
// unchanged.
func (l *lab) buildShifted(ctx context.Context) error {
	if l.shifted != "" {
		return nil
	}
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("find GOROOT: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	b, err := os.ReadFile(original) //nolint:gosec // the toolchain's own source
	if err != nil {
		return err
	}
	const read = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(b), read) != 1 {
		return errors.New("this Go's time.Now is not the one that can be shifted")
	}
	source, overlay := filepath.Join(l.dir, "time.go"), filepath.Join(l.dir, "overlay.json")
	shifted := strings.Replace(string(b), read, read+"\tsec += 3600\n", 1)
	if err := os.WriteFile(source, []byte(shifted), 0o600); err != nil { //nolint:gosec // in the lab's own folder
		return err
	}
	doc, err := json.Marshal(map[string]any{"Replace": map[string]string{original: source}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(overlay, doc, 0o600); err != nil {
		return err
	}
	binary := filepath.Join(l.dir, "pgcourier-shifted")
	if err := build(ctx, binary, module+"/cmd/pgcourier", "-tags", "failpoints", "-overlay", overlay); err != nil {
		return err
	}
	l.shifted = binary
	return nil
}
