// Command fuzz runs the fuzz targets of this module one after the other and reports for each the
// executions, the inputs that reached new code, and the crashes. It finds the targets itself. Its
// exit code is 1 when a target crashed or could not be run. The input of a crash is then in the
// package's testdata/fuzz, where it remains as a test.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	each := flag.Duration("time", 10*time.Minute, "how long each target runs")
	which := flag.String("run", "", "only targets whose name, as in events.FuzzDecode, matches this regular expression")
	parallel := flag.Int("parallel", 0, "inputs tried at once; 0: one for each processor")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, *which, *each, *parallel); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, which string, each time.Duration, parallel int) error {
	pattern, err := regexp.Compile(which)
	if err != nil {
		return fmt.Errorf("read -run: %w", err)
	}
	targets, err := discover(".")
	if err != nil {
		return err
	}
	targets = slices.DeleteFunc(targets, func(t target) bool { return !pattern.MatchString(t.String()) })
	if len(targets) == 0 {
		return fmt.Errorf("no target matches %q", which)
	}
	var results []result
	for _, t := range targets {
		if ctx.Err() != nil {
			break
		}
		fmt.Fprintf(out, "%s for %s\n", t, each)
		results = append(results, t.fuzz(ctx, out, each, parallel))
	}
	fmt.Fprintln(out)
	if err := table(out, results); err != nil {
		return err
	}
	bad := 0
	for _, r := range results {
		if r.err != nil {
			bad++
		}
	}
	if bad > 0 || len(results) < len(targets) {
		return fmt.Errorf("%d of %d targets crashed or could not be run, %d were not reached", bad, len(targets), len(targets)-len(results))
	}
	return nil
}

// target is one fuzz function.
type target struct {
	dir  string // relative to the module, with slashes
	name string
}

func (t target) String() string { return t.dir + "." + t.name }

// discover lists the fuzz functions in the test files below root.
func discover(root string) ([]target, error) {
	var out []target
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (name == "testdata" || name == "node_modules" || name == "build" || strings.HasPrefix(name, ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Fuzz") && len(f.Type.Params.List) == 1 {
				out = append(out, target{filepath.ToSlash(dir), f.Name.Name})
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for fuzz targets: %w", err)
	}
	slices.SortFunc(out, func(a, b target) int { return strings.Compare(a.String(), b.String()) })
	return out, nil
}

// result is the result of one target's run.
type result struct {
	target
	executions  int64
	interesting int64
	took        time.Duration
	err         error // it crashed, or did not run
}

// fuzz runs a target. The output of go test about a crash goes to out.
func (t target) fuzz(ctx context.Context, out io.Writer, each time.Duration, parallel int) result {
	// Go shortens each input that reaches new code, for up to a minute. In ten minutes that leaves
	// little time for other inputs.
	const shorten = "5s"
	args := []string{"test", "-run", "^$", "-fuzz", "^" + t.name + "$", "-fuzztime", each.String(), "-fuzzminimizetime", shorten, "-timeout", "0"}
	if parallel > 0 {
		args = append(args, "-parallel", strconv.Itoa(parallel))
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./"+t.dir)...) //nolint:gosec // names of this module's own source
	// An interrupted run then reports its progress.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	began := time.Now()
	r := result{target: t}
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		cmd.Stderr = cmd.Stdout
		err = cmd.Start()
	}
	if err != nil {
		r.err = fmt.Errorf("start go test: %w", err)
		return r
	}
	r.read(pipe, out)
	r.err = cmd.Wait()
	r.took = time.Since(began)
	if r.err == nil && r.executions == 0 {
		r.err = errIdle
	}
	return r
}

// errIdle says that the time was too short to run the known inputs.
var errIdle = errors.New("nothing new was executed: give it more time")

// progress matches a progress line of go test's fuzzing.
var progress = regexp.MustCompile(`^fuzz: elapsed: \S+, execs: (\d+) \([^)]*\)(?:, new interesting: (\d+) \(total: \d+\))?$`)

// read parses the figures in go test's output and passes on all other lines.
func (r *result) read(in io.Reader, out io.Writer) {
	lines := bufio.NewScanner(in)
	const longest = 1 << 20 // a failing input is quoted in one line
	lines.Buffer(nil, longest)
	for lines.Scan() {
		line := lines.Text()
		m := progress.FindStringSubmatch(line)
		switch {
		case m != nil:
			r.executions = number(m[1])
			r.interesting = max(r.interesting, number(m[2]))
		case strings.HasPrefix(line, "fuzz: elapsed:"), line == "PASS", strings.HasPrefix(line, "ok "), strings.HasPrefix(line, "warning: starting with empty corpus"):
		default:
			fmt.Fprintln(out, "  "+line)
		}
	}
	_, _ = io.Copy(io.Discard, in) // behind a line that was too long
}

func number(digits string) int64 {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// table prints the result of each target.
func table(out io.Writer, results []result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TARGET\tEXECUTIONS\tNEW INTERESTING\tCRASHES\tTOOK")
	var executions int64
	for _, r := range results {
		crashes := "0"
		switch {
		case errors.Is(r.err, errIdle):
			crashes = "0 (" + r.err.Error() + ")"
		case r.err != nil:
			crashes = "1 (" + r.err.Error() + ")"
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\n", r.target, r.executions, r.interesting, crashes, r.took.Round(time.Second))
		executions += r.executions
	}
	fmt.Fprintf(w, "%d targets\t%d\t\t\t\n", len(results), executions)
	return w.Flush()
}
