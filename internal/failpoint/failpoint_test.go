package failpoint_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// victim builds testdata/victim, which reaches after-claim three times and then prints "survived".
func victim(t *testing.T, tags string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "victim")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", tags, "-o", binary, "./testdata/victim")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

func run(t *testing.T, binary, failpoints string) (out string, state *os.ProcessState) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Env = []string{"FAILPOINTS=" + failpoints}
	b, _ := cmd.CombinedOutput() // the state says how it ended
	return string(b), cmd.ProcessState
}

func TestArmedPoints(t *testing.T) {
	t.Parallel()
	binary := victim(t, "failpoints")
	signalled := func(s *os.ProcessState) bool {
		w, ok := s.Sys().(syscall.WaitStatus)
		return ok && w.Signaled() && w.Signal() == syscall.SIGKILL
	}
	for _, c := range []struct {
		name, failpoints string
		lines            []string
		ended            func(*os.ProcessState) bool
	}{
		{"nothing armed", "", []string{"1", "2", "3", "survived"}, (*os.ProcessState).Success},
		{"another point armed", "after-mark=exit", []string{"1", "2", "3", "survived"}, (*os.ProcessState).Success},
		{"exit", "after-claim=exit", []string{"1", "failpoint after-claim: exit"}, signalled},
		{"exit at the third hit", "after-claim=exit@3", []string{"1", "2", "3", "failpoint after-claim: exit"}, signalled},
		{"panic", "after-mark=exit,after-claim=panic@2", []string{"1", "2", "failpoint after-claim: panic", "panic: failpoint after-claim"}, func(s *os.ProcessState) bool { return s.ExitCode() == 2 }},
		{"a misspelt point", "after-clam=exit", []string{"1", "panic: FAILPOINTS"}, func(s *os.ProcessState) bool { return s.ExitCode() == 2 }},
		{"an unknown action", "after-claim=explode", []string{"1", "panic: FAILPOINTS"}, func(s *os.ProcessState) bool { return s.ExitCode() == 2 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, state := run(t, binary, c.failpoints)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			for i, want := range c.lines {
				if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
					t.Fatalf("line %d of %q is not %q", i, out, want)
				}
			}
			if !c.ended(state) {
				t.Errorf("it ended with %v", state)
			}
		})
	}
}

func TestStopWaitsForSIGCONT(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), victim(t, "failpoints"))
	cmd.Env = []string{"FAILPOINTS=after-claim=stop@2"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stat := fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid)
	deadline := time.Now().Add(time.Minute)
	for {
		b, err := os.ReadFile(stat)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), ") T ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it did not stop: %s", b)
		}
		time.Sleep(time.Millisecond)
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if want := "1\n2\nfailpoint after-claim: stop\n3\nsurvived\n"; out.String() != want {
		t.Errorf("it wrote %q, want %q", out.String(), want)
	}
}

// The shipped build has no fail points: the variable has no effect, and its name is not in the
// binary.
func TestTheShippedBuildHasNone(t *testing.T) {
	t.Parallel()
	binary := victim(t, "")
	for _, failpoints := range []string{"after-claim=exit", "nonsense"} {
		out, state := run(t, binary, failpoints)
		if out != "1\n2\n3\nsurvived\n" || !state.Success() {
			t.Errorf("FAILPOINTS=%s: it wrote %q and ended with %v", failpoints, out, state)
		}
	}
	b, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("FAILPOINTS")) {
		t.Error("the binary knows FAILPOINTS")
	}
}
