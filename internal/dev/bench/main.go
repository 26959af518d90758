package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
)

func main() { os.Exit(mainCode()) }

func mainCode() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		return 2
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 1
}

var errUsage = errors.New("wrong arguments")

// options select the parts and the scale.
type options struct {
	size     int64          // of the large dump in bytes, about
	rounds   int            // of each variant
	tenants  int            // in one database; twice as many more are idle in the second
	requests int            // of each variant of the part events, over all rounds
	waiting  int            // requests that wait while memory is read
	tables   int            // of the part evidence
	versions string         // folder of servers and clients, for the part matrix
	only     *regexp.Regexp // names of variants; nil: all
	progress io.Writer
	began    time.Time
}

// tell prints the current step.
func (o options) tell(format string, args ...any) {
	fmt.Fprintf(o.progress, "%7.1fs  %s\n", time.Since(o.began).Seconds(), fmt.Sprintf(format, args...))
}

// wants reports whether a variant is to be measured.
func (o options) wants(name string) bool { return o.only == nil || o.only.MatchString(name) }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if kind := strings.Join(args, " "); strings.HasPrefix(kind, serveFlag) {
		return serve(ctx, strings.TrimPrefix(kind, serveFlag), stdout)
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	names := flags.String("part", "", "parts to run, separated by commas; empty: all but matrix and evidence")
	size := flags.String("size", "1GB", "size of the large dump, about; the other formats and peers are measured on a quarter of it")
	only := flags.String("only", "", "regular expression: measure only the variants whose name it matches")
	doc := flags.String("doc", "docs/benchmarks.md", "page whose sections are rewritten; empty: none")
	out := flags.String("out", "build/bench.json", "file for the figures; parts that did not run stay as they are; empty: none")
	list := flags.Bool("list", false, "list the parts and exit")
	o := options{progress: stderr, began: time.Now()}
	flags.IntVar(&o.rounds, "rounds", 5, "rounds, each of which runs every variant once")
	flags.IntVar(&o.tenants, "tenants", 500, "tenants of the part tenants, of 10 tables each; twice as many idle ones stand beside them in a second database")
	flags.IntVar(&o.requests, "requests", 1000, "requests for each variant of the part events, over all rounds")
	flags.IntVar(&o.waiting, "waiting", 10_000, "requests that wait while the worker's memory is read")
	flags.IntVar(&o.tables, "tables", 20_000, "small tables of the part evidence")
	flags.StringVar(&o.versions, "versions", "build/postgres", "folder with server-MAJOR and client-MAJOR, for the part matrix")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 || o.rounds < 1 || o.tenants < o.rounds || o.requests < o.rounds || o.waiting < 1 || o.tables < 1 {
		return errUsage
	}
	bytes, err := humanize.ParseBytes(*size)
	if err != nil || bytes < 1<<20 || bytes > 1<<40 {
		fmt.Fprintln(stderr, "bench: -size is not a size of at least 1MiB")
		return errUsage
	}
	o.size = int64(bytes)
	if *only != "" {
		if o.only, err = regexp.Compile(*only); err != nil {
			fmt.Fprintln(stderr, "bench:", err)
			return errUsage
		}
	}
	if *list {
		for _, p := range parts() {
			fmt.Fprintf(stdout, "%-10s %s\n", p.name, p.title)
		}
		return nil
	}
	selected, err := choose(*names)
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return errUsage
	}
	return runParts(ctx, o, selected, files{doc: *doc, figures: *out}, stdout)
}

// part is one selectable part of the benchmark.
type part struct {
	name  string
	title string
	alone bool // it runs only if it is named
	run   func(ctx context.Context, l *lab) (result, error)
}

func parts() []part {
	return []part{
		{"wall", "One large project: time, processor, memory, disk", false, wall},
		{"tenants", "Many tenants in one database", false, manyTenants},
		{"events", "Many events", false, manyEvents},
		{"fairness", "Waiting behind another project's flood", false, fairness},
		{"api", "The HTTP API and download links", false, handOver},
		{"matrix", "Four kinds of data on PostgreSQL 15, 17 and 18", true, matrix},
		{"evidence", "What counting the rows costs", true, evidence},
	}
}

// choose picks parts by name, in the order of parts.
func choose(names string) ([]part, error) {
	if names == "" {
		return slices.DeleteFunc(parts(), func(p part) bool { return p.alone }), nil
	}
	var out []part
	wanted := strings.Split(names, ",")
	for _, p := range parts() {
		for i, name := range wanted {
			if name == p.name {
				out, wanted[i] = append(out, p), ""
			}
		}
	}
	if left := strings.Join(wanted, ""); left != "" {
		return nil, fmt.Errorf("no part is named %q; see -list", left)
	}
	return out, nil
}

// files are the outputs for the figures; an empty name means no output.
type files struct{ doc, figures string }

// runParts runs parts one after another, and writes each result as soon as it is complete.
func runParts(ctx context.Context, o options, selected []part, f files, stdout io.Writer) (err error) {
	l, err := openLab(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	m, err := l.machine(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, m)
	for _, p := range selected {
		began, load := time.Now(), loadAverage()
		r, err := p.run(ctx, l)
		if err != nil {
			return fmt.Errorf("part %s: %w", p.name, err)
		}
		r.Load = [2]string{load, loadAverage()}
		r.Part, r.Title, r.Machine, r.Began = p.name, p.title, m, began.UTC().Truncate(time.Second)
		if r.servers != "" {
			r.Machine.Tools = maps.Clone(m.Tools)
			r.Machine.Tools["server"], r.Machine.Tools["pg_dump"] = r.servers, "each with the pg_dump of its major"
		}
		r.Took = time.Since(began).Round(time.Second).Seconds()
		fmt.Fprintf(stdout, "\n%s", r.markdown())
		if err := errors.Join(f.keepSection(r), f.keepFigures(r)); err != nil {
			return err
		}
		runtime.GC() // nothing of one part in the next
	}
	return nil
}
