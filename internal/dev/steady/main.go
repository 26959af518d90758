// Command steady runs the tests many times while other work loads every core. It prints each failed
// test with the number of its failures and the paths of their output. It finds tests that depend on
// the machine's speed or on the order of goroutines. Its exit code is 1 when any test failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	var c config
	flag.IntVar(&c.rounds, "n", 20, "how often the tests run")
	flag.IntVar(&c.load, "load", runtime.NumCPU(), "how many cores this command loads; 0: none, for a load of your own beside it")
	flag.StringVar(&c.which, "run", "", "only tests whose name matches this regular expression; empty: all")
	flag.StringVar(&c.logs, "logs", filepath.Join("build", "steady"), "folder for the output of what failed")
	flag.Parse()
	c.packages = flag.Args()
	if len(c.packages) == 0 {
		c.packages = []string{"./..."}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, c); err != nil {
		fmt.Fprintln(os.Stderr, "steady:", err)
		os.Exit(1)
	}
}

type config struct {
	rounds   int
	load     int
	which    string
	logs     string
	packages []string
}

func run(ctx context.Context, out io.Writer, c config) error {
	if err := os.RemoveAll(c.logs); err != nil {
		return fmt.Errorf("empty %s: %w", c.logs, err)
	}
	// The load is part of this process, so it ends with it.
	runtime.GOMAXPROCS(c.load + 1)
	loading, unload := context.WithCancel(ctx)
	defer unload()
	for range c.load {
		go spin(loading)
	}
	found := make(map[string][]string) // a test: the logs of its failures
	done := 0
	for ; done < c.rounds && ctx.Err() == nil; done++ {
		begun, before := time.Now(), cores()
		failed, err := round(ctx, c, filepath.Join(c.logs, fmt.Sprintf("run-%02d", done+1)))
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "run %d of %d: %d failures, %s, cores %s\n", done+1, c.rounds, len(failed), time.Since(begun).Round(time.Second), before.busySince())
		for name, log := range failed {
			found[name] = append(found[name], log)
		}
	}
	if len(found) > 0 {
		fmt.Fprintln(out)
		if err := table(out, found); err != nil {
			return err
		}
	}
	if len(found) > 0 || done < c.rounds {
		return fmt.Errorf("%d of %d runs were made, %d tests failed in them", done, c.rounds, len(found))
	}
	return nil
}

// ticks are the processor times of all cores since boot, in ticks of the kernel (proc_stat(5)).
type ticks struct{ idle, all uint64 }

// cores returns zeros where there is no /proc/stat.
func cores() ticks {
	stat, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(stat), "\n")
	var t ticks
	for i, field := range strings.Fields(line) {
		n, _ := strconv.ParseUint(field, 10, 64)
		switch i {
		case 0, 9, 10: // the word "cpu", and the times of guests, which are part of user and nice
			continue
		case 4, 5: // idle and iowait
			t.idle += n
		}
		t.all += n
	}
	return t
}

// busySince returns the share of time in which the cores were busy since t, in percent.
func (t ticks) busySince() string {
	now := cores()
	if now.all == t.all {
		return "unknown"
	}
	return fmt.Sprintf("%d %% busy", 100-100*(now.idle-t.idle)/(now.all-t.all))
}

// spin loads one core.
func spin(ctx context.Context) {
	for ctx.Err() == nil {
		for begun := time.Now(); time.Since(begun) < time.Millisecond; {
		}
	}
}

// round runs the tests once, as make test does but without the test cache, and returns the log of
// each test that failed.
func round(ctx context.Context, c config, logs string) (map[string]string, error) {
	args := []string{"test", "-json", "-count=1", "-timeout=40m", "-vet=off"}
	if c.which != "" {
		args = append(args, "-run="+c.which)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, c.packages...)...) //nolint:gosec // what the command line says
	cmd.Stderr = os.Stderr
	// The test binaries are in go test's group, which ends as a whole.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	// Pdeathsig is sent when the thread that started the child ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start go test: %w", err)
	}
	failed, err := read(stdout)
	exit := cmd.Wait()
	if err != nil {
		return nil, err
	}
	if len(failed) == 0 && exit != nil {
		return nil, fmt.Errorf("go test: %w", exit)
	}
	return write(logs, failed)
}

// write puts the output of each failure into a file of its own.
func write(folder string, failed map[string][]byte) (map[string]string, error) {
	logs := make(map[string]string, len(failed))
	for name, output := range failed {
		file := filepath.Join(folder, strings.Map(plain, name)+".log")
		if err := errors.Join(os.MkdirAll(folder, 0o750), os.WriteFile(file, output, 0o600)); err != nil {
			return nil, fmt.Errorf("write the log of %s: %w", name, err)
		}
		logs[name] = file
	}
	return logs, nil
}

func plain(r rune) rune {
	if r < 128 && (r == '.' || r == '-' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z') {
		return r
	}
	return '_'
}

// table lists the tests, the most frequent failures first.
func table(out io.Writer, found map[string][]string) error {
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if n := len(found[b]) - len(found[a]); n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FAILED\tTEST\tLOG OF THE LAST")
	for _, name := range names {
		logs := found[name]
		fmt.Fprintf(w, "%d\t%s\t%s\n", len(logs), name, logs[len(logs)-1])
	}
	return w.Flush()
}
