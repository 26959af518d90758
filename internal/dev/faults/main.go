package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
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
	fmt.Fprintln(os.Stderr, "faults:", err)
	return 1
}

var (
	errUsage      = errors.New("wrong arguments")
	errViolations = errors.New("a promise was broken")
)

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("faults", flag.ContinueOnError)
	flags.SetOutput(stderr)
	names := flags.String("fault", "", "faults to run, separated by commas; a name that ends with * is a prefix; empty: all")
	requests := flags.Int("requests", 40, "requests published under each fault")
	out := flags.String("out", "build/faults.json", "file for the report; empty: none")
	soak := flags.Duration("soak", 0, "instead of faults, run load for so long and kill a worker every 30 s")
	scale := flags.String("scale", "", "instead of faults, run -requests on a platform with each of these numbers of workers, such as 2,4,8")
	ackWait := flags.Duration("ack-wait", 3*time.Second, "the workers' ACK_WAIT")
	allowMissing := flags.Bool("allow-missing", false, "a fault that this machine cannot have is no violation")
	list := flags.Bool("list", false, "list the faults and exit")
	verbose := flags.Bool("v", false, "tell what is done")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 || *requests < 1 {
		return errUsage
	}
	if *list {
		for _, f := range catalogue() {
			fmt.Fprintf(stdout, "%-32s %s\n", f.name, f.about)
		}
		return nil
	}
	level := slog.LevelWarn
	if *verbose {
		level = slog.LevelInfo
	}
	o := options{
		requests: *requests, ackWait: *ackWait, out: *out, allowMissing: *allowMissing,
		log: slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})),
	}
	if *names != "" {
		o.faults = strings.Split(*names, ",")
	}
	selected, err := choose(o.faults)
	if err != nil {
		fmt.Fprintln(stderr, "faults:", err)
		return errUsage
	}
	var counts []int
	if *scale != "" {
		if counts, err = workerCounts(*scale); err != nil {
			fmt.Fprintln(stderr, "faults:", err)
			return errUsage
		}
	}
	l, err := openLab(ctx, o)
	if err != nil {
		return err
	}
	if len(counts) > 0 {
		return errors.Join(l.scale(ctx, counts, stdout), l.close())
	}
	if *soak > 0 {
		return errors.Join(l.soak(ctx, *soak, stdout), l.close())
	}
	return errors.Join(l.runAll(ctx, selected, stdout), l.close())
}

// choose picks faults by name or prefix, in the catalogue's order.
func choose(names []string) ([]fault, error) {
	all := catalogue()
	if len(names) == 0 {
		return all, nil
	}
	var out []fault
	for _, name := range names {
		found := false
		for _, f := range all {
			prefix, isPrefix := strings.CutSuffix(name, "*")
			if f.name == name || isPrefix && strings.HasPrefix(f.name, prefix) {
				out, found = append(out, f), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no fault is named %q; see -list", name)
		}
	}
	return out, nil
}

// runAll runs the faults one after another, prints a line for each, and writes the report.
func (l *lab) runAll(ctx context.Context, faults []fault, stdout io.Writer) error {
	rep := report{Begun: time.Now().UTC(), AckWait: l.options.ackWait.String()}
	rep.header(stdout)
	for _, f := range faults {
		if ctx.Err() != nil {
			break
		}
		r := l.runOne(ctx, f, l.options.requests)
		rep.Results = append(rep.Results, r)
		rep.line(stdout, r)
	}
	rep.footer(stdout)
	if err := writeReport(l.options.out, rep); err != nil {
		return err
	}
	if !rep.clean(l.options.allowMissing) || ctx.Err() != nil {
		return errors.Join(errViolations, ctx.Err())
	}
	return nil
}

// runOne runs one fault under n requests. Any failure of it is a violation in its result.
func (l *lab) runOne(ctx context.Context, f fault, n int) (r result) {
	begun := time.Now()
	r = result{Fault: f.name, About: f.about, Requests: n, Attempts: map[int]int{}}
	defer func() { r.Took = time.Since(begun).Seconds() }()
	l.options.log.InfoContext(ctx, "fault", "name", f.name)
	w, err := l.openWorld(ctx, f, n)
	if w != nil {
		defer func() {
			if err := w.close(); err != nil {
				r.blame("%v", err)
			}
			l.keep(w, &r)
		}()
	}
	if err == nil {
		err = w.play(ctx, &r)
	}
	if m, ok := errors.AsType[*missingError](err); ok {
		r.Missing = m.Error()
	} else if err != nil {
		r.blame("%v", err)
	}
	return r
}

// play publishes the load, strikes, and accounts.
func (w *world) play(ctx context.Context, r *result) error {
	if !w.fault.unpublished {
		if err := w.publish(ctx, w.jobs); err != nil {
			return err
		}
	}
	if err := w.fault.strike(ctx, w); err != nil {
		r.blame("strike: %v", err)
	}
	if err := w.settle(ctx); err != nil {
		r.blame("%v", err)
	}
	if err := w.closeWorkers(); err != nil {
		r.blame("%v", err)
	}
	if w.fault.embedded {
		if err := w.reopenEmbedded(ctx); err != nil {
			return err
		}
	}
	return w.account(ctx, r)
}

// keep removes a world's folder, unless something was wrong: then its logs are worth
// having.
func (l *lab) keep(w *world, r *result) {
	if len(r.Violations) > 0 {
		if kept, err := os.MkdirTemp("", "pgcourier-fault-"+w.fault.name+"-"); err == nil {
			if err := os.Rename(w.dir, kept+"/world"); err == nil {
				r.blame("logs are kept in %s", kept)
				return
			}
		}
	}
	_ = os.RemoveAll(w.dir) // the lab's folder goes in the end
}
