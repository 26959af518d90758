// Package faketool installs scripts in the place of programs, for tests.
package faketool

import (
	"os/exec"
	"strings"
	"testing"
)

// Install makes an executable file with the text of a script. The file can be executed at once,
// because another process writes it: a fork of this process could still have it open for writing,
// and then the kernel refuses to execute it (ETXTBSY).
func Install(t testing.TB, file, text string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "install", "-m", "700", "/dev/stdin", file) //nolint:gosec // the test names the file
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("install: %v\n%s", err, out)
	}
}
