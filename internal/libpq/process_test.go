package libpq_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/internal/libpq"
)

func TestTailKeepsTheEnd(t *testing.T) {
	t.Parallel()
	var tail libpq.Tail
	want := ""
	for i, n := range []int{0, 10, 5000, 5000, 1, 20000, 3, 8192, 7} {
		piece := strings.Repeat(string(rune('a'+i)), n)
		want += piece
		if m, err := tail.Write([]byte(piece)); m != n || err != nil {
			t.Fatalf("write = %d, %v", m, err)
		}
		if got := tail.String(); got != want[max(0, len(want)-8192):] {
			t.Fatalf("after %d pieces the tail is %d bytes, not the last of %d", i+1, len(got), len(want))
		}
	}
}

// A tool is a batch process, with no smaller share than its parent.
func TestAToolIsABatchProcess(t *testing.T) {
	t.Parallel()
	p, err := libpq.StartProcess(libpq.Command{Path: "/bin/sleep", Args: []string{"1000"}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Terminate(time.Second)
	got, err := unix.SchedGetAttr(p.ID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	own, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got.Nice != own.Nice {
		t.Errorf("nice is %d, of the worker %d", got.Nice, own.Nice)
	}
	want := own.Policy
	if refused := libpq.MakeBatch(p.ID()); refused != nil {
		t.Logf("policies are refused here: %v", refused)
	} else if want == unix.SCHED_NORMAL {
		want = unix.SCHED_BATCH
	}
	if got.Policy != want {
		t.Errorf("the policy is %d, want %d", got.Policy, want)
	}
}

// A process that has left the tool's group and keeps its stderr open changes neither the tool's
// result nor its last output.
func TestAnotherProcessThatKeepsStderrOpen(t *testing.T) {
	t.Parallel()
	for _, status := range []int{0, 3} {
		t.Run(fmt.Sprintf("exit %d", status), func(t *testing.T) {
			t.Parallel()
			left := filepath.Join(t.TempDir(), "left")
			p, err := libpq.StartProcess(libpq.Command{
				Path: "/bin/sh", Env: []string{"PATH=/usr/bin:/bin"},
				Args: []string{"-c", fmt.Sprintf(`setsid sh -c 'echo $$ >%[1]s.new; mv %[1]s.new %[1]s; exec sleep 1000' &
until [ -e %[1]s ]; do sleep 0.01; done; echo "the last words" >&2; exit %[2]d`, left, status)},
			})
			if err != nil {
				t.Fatal(err)
			}
			ended := p.Wait()
			text, err := os.ReadFile(left)
			if err != nil {
				t.Fatal(err)
			}
			stranger, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(stranger, syscall.SIGKILL); err != nil {
				t.Errorf("the other process: %v", err)
			}
			exit, failed := errors.AsType[*exec.ExitError](ended)
			if failed != (status != 0) || failed && exit.ExitCode() != status || !failed && ended != nil {
				t.Errorf("the tool ended with %v, want status %d", ended, status)
			}
			if got := p.Stderr(); got != "the last words\n" {
				t.Errorf("stderr is %q", got)
			}
		})
	}
}

// All output before the tool's end is read, however soon it ends.
func TestAllOutputOfAnEndedToolIsRead(t *testing.T) {
	t.Parallel()
	for range 50 {
		p, err := libpq.StartProcess(libpq.Command{
			Path: "/bin/sh", Env: []string{"PATH=/usr/bin:/bin"},
			Args: []string{"-c", `head -c 60000 /dev/zero >&2; echo "the last words" >&2; kill -KILL $$`},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Wait(); err == nil {
			t.Error("a killed tool ended well")
		}
		if got := p.Stderr(); len(got) != 8<<10 || !strings.HasSuffix(got, "the last words\n") {
			t.Fatalf("stderr has %d bytes and ends with %q", len(got), got[max(0, len(got)-20):])
		}
	}
}
