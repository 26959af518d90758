package term_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/internal/term"
)

// terminal returns the two ends of a pseudo-terminal of 80 columns.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = errors.Join(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0),
			unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 80}))
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	return master, slave
}

func TestProgressOnATerminalKeepsTheLastLinesAndEverythingPrinted(t *testing.T) {
	t.Parallel()
	master, slave := terminal(t)
	p := term.NewProgress(slave, []string{"TERM=xterm"})
	p.Count("replay", 1, 3, "")
	p.Set("gone", "a line that is removed")
	p.Println("a line that stays")
	p.Remove("gone")
	p.Bytes("upload", 512, 1024)
	p.Count("replay", 3, 3, ", 1 failed")
	p.Close()
	p.Set("late", "after the end")
	p.Close()
	if err := slave.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := io.Copy(&out, master); err != nil && !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	shown := out.String()
	for _, want := range []string{"a line that stays", "replay [====================] 3 of 3, 1 failed", "upload    [==========          ]"} {
		if !strings.Contains(shown, want) {
			t.Errorf("not shown: %q in %q", want, shown)
		}
	}
	if _, last, _ := strings.Cut(shown, "a line that stays"); strings.Contains(shown, "after the end") || strings.Count(last, "\n") < 2 {
		t.Errorf("shown: %q", shown)
	}
}

// The command goes on without its terminal, and Close returns.
func TestProgressSurvivesATerminalThatGoesAway(t *testing.T) {
	t.Parallel()
	master, slave := terminal(t)
	p := term.NewProgress(slave, []string{"TERM=xterm"})
	if err := master.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		name := fmt.Sprint("line ", i)
		p.Set(name, "text")
		p.Println("text")
		p.Remove(name)
	}
	p.Set("open", "text")
	p.Close()
}
