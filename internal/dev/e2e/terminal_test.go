package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
)

// onTerminal runs a command beside the platform on a pseudo-terminal of that width and returns its
// output.
func (p *platform) onTerminal(width uint16, environ []string, args ...string) string {
	p.t.Helper()
	return p.showOn(width, append(append([]string{"TERM=xterm"}, p.environ("LOG_LEVEL=error")...), environ...), args...)
}

// showOn runs a command in that environment.
func (p *platform) showOn(width uint16, environ []string, args ...string) string {
	p.t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = master.Close() }()
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = errors.Join(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0),
			unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: width}))
	}
	if err != nil {
		p.t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	binary, err := exec.LookPath("pgcourier")
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.CommandContext(p.t.Context(), binary, args...)
	cmd.Env = append([]string{"PATH=/usr/bin:/bin"}, environ...)
	cmd.Stdout, cmd.Stderr = slave, slave
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	_ = slave.Close() // the command's end is open until the command ends; then reading fails
	var out bytes.Buffer
	if _, err := io.Copy(&out, master); err != nil && !errors.Is(err, syscall.EIO) {
		p.t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		p.t.Fatalf("%q: %v\n%s", args, err, out.String())
	}
	return strings.ReplaceAll(out.String(), "\r\n", "\n")
}

// The flags of a command, including those with long explanations, fit the terminal too.
func TestHelpFitsTheTerminal(t *testing.T) {
	t.Parallel()
	p := &platform{t: t}
	for _, width := range []uint16{80, 120} {
		for _, command := range []string{"serve", "verify", "list", "replay"} {
			out := p.showOn(width, []string{"TERM=xterm"}, command, "--help")
			_, flags, _ := strings.Cut(out, "\nFlags:\n")
			if !strings.Contains(flags, "PGCOURIER_DATA_DIR") {
				t.Errorf("%s --help: %q", command, out)
			}
			for line := range strings.Lines(flags) {
				if n := len([]rune(strings.TrimRight(line, "\n"))); n > int(width) {
					t.Errorf("%s --help at %d: %d columns: %q", command, width, n, line)
				}
			}
		}
	}
}

func TestATerminalGetsColoursAndLinesThatFit(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start()
	id := p.request(events.Requested{ProjectID: "acme", RequestID: strings.Repeat("long-", 12)})
	p.completed("acme", id)
	p.request(events.Requested{ProjectID: "unborn", RequestID: "bad"})
	p.failed("unborn", "bad", codes.SchemaNotFound, 1)
	for name, tc := range map[string]struct {
		width   uint16
		environ []string
		colour  bool
	}{
		"80":       {80, nil, true},
		"120":      {120, nil, true},
		"no color": {80, []string{"NO_COLOR=1"}, false},
		"dumb":     {80, []string{"TERM=dumb"}, false},
	} {
		for _, args := range [][]string{{"list"}, {"list", "--failed"}, {"show", "bad"}, {"replay", "--failed", "--dry-run"}} {
			out := p.onTerminal(tc.width, tc.environ, args...)
			if strings.Contains(out, "\x1b[") != tc.colour && args[0] == "list" {
				t.Errorf("%s, %q: colours %t, want %t\n%q", name, args, !tc.colour, tc.colour, out)
			}
			for _, code := range []string{"0", "1", "31", "32", "33"} {
				out = strings.ReplaceAll(out, "\x1b["+code+"m", "")
			}
			for line := range strings.Lines(out) {
				if n := len([]rune(strings.TrimRight(line, "\n"))); n > int(tc.width) {
					t.Errorf("%s, %q: %d columns: %q", name, args, n, line)
				}
			}
		}
	}
	if out := p.onTerminal(80, nil, "list", "--output", "json"); strings.Contains(out, "\x1b") || !strings.Contains(out, id) {
		t.Errorf("JSON on a terminal: %q", out)
	}
	if out, _, _ := p.cli("list"); strings.Contains(out, "\x1b") || !strings.Contains(out, id) {
		t.Errorf("piped: %q", out)
	}
	// The live part of a bulk replay is drawn and removed; the summary stays.
	p.outcomes++
	out := p.onTerminal(80, nil, "replay", "--failed", "--wait", "--project", "unborn", "--permanent", "--timeout", "60s", "--dry-run")
	if !strings.Contains(out, "1 to be asked for again") {
		t.Errorf("a dry run on a terminal: %q", out)
	}
	p.exec("CREATE SCHEMA tenant_unborn; CREATE TABLE tenant_unborn.t (n int)")
	out = p.onTerminal(80, nil, "replay", "--failed", "--wait", "--project", "unborn")
	if !strings.Contains(out, "replaying [====================] 1 of 1") || !strings.Contains(out, "1 asked for again") || !strings.Contains(out, "of the replays 1 completed") {
		t.Errorf("a replay on a terminal: %q", out)
	}
	out = p.onTerminal(80, nil, "watch", "bad-r1", "--project", "unborn")
	if !strings.Contains(out, "unborn/bad-r1") || !strings.Contains(out, "\x1b[32mcompleted") {
		t.Errorf("watch on a terminal: %q", out)
	}
}
