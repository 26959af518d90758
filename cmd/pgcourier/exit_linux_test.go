package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestErrorsAreSafeForATerminal(t *testing.T) {
	t.Parallel()
	const hostile = "--\x1b[2J\u202e"
	screen, terminal := openTerminal(t)
	run(t.Context(), []string{hostile}, process{stderr: terminal, stdout: terminal})
	if err := terminal.Close(); err != nil {
		t.Fatal(err)
	}
	shown := make([]byte, 4096)
	n, err := screen.Read(shown)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(shown[:n]); strings.ContainsAny(got, "\x1b\u202e") || !strings.Contains(got, `\x1b[2J\u202e`) {
		t.Errorf("a terminal is shown %q", got)
	}
	var file bytes.Buffer
	run(t.Context(), []string{hostile}, process{stderr: &file, stdout: &file})
	if !strings.Contains(file.String(), hostile) {
		t.Errorf("a file is written %q", file.String())
	}
}

// openTerminal makes a terminal: the first file returns what is written to the second.
func openTerminal(t *testing.T) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	return screen, terminal
}
