package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// scaled is one run of a platform with a number of workers.
type scaled struct {
	Workers    int      `json:"workers"`
	Grouped    bool     `json:"grouped"` // small projects shared dumps
	Requests   int      `json:"requests"`
	Lost       int      `json:"lost"`
	Doubled    int      `json:"doubled"`
	Shares     []int    `json:"shares"`
	Contended  int      `json:"contended"` // projects completed by more than one worker
	Seconds    float64  `json:"seconds"`   // from the first publish to the last outcome
	Consumed   consumed `json:"consumed"`
	Violations []string `json:"violations,omitempty"`
}

// scaleReport is what `make scale` writes to build/scale.json.
type scaleReport struct {
	Begun  time.Time `json:"begun"`
	Runs   []scaled  `json:"runs"`
	Stored stored    `json:"stored"`
	// Kinds are the messages of Counted requests for as many projects, grouping off.
	Counted int              `json:"counted"`
	Kinds   map[string]count `json:"kinds"`
	Alone   []alone          `json:"broker_alone"`
}

// publishers publish the load of a platform concurrently, like many gateways.
const publishers = 8

// scale runs the same load with each number of workers, the last one once more with shared
// dumps, and then measures the broker by itself.
func (l *lab) scale(ctx context.Context, workers []int, stdout io.Writer) error {
	rep := scaleReport{Begun: time.Now().UTC()}
	fmt.Fprintf(stdout, "%-8s %-8s %9s %8s %10s %9s | %s | %s\n", "workers", "grouped", "requests", "seconds", "exports/s", "msgs each",
		"core-seconds each: workers, broker, PostgreSQL", "completed by each worker (projects completed by several)")
	for i, n := range workers {
		for _, grouped := range []bool{false, true} {
			last := i == len(workers)-1
			if grouped && !last {
				continue
			}
			if err := l.scaleRun(ctx, n, grouped, last, &rep, stdout); err != nil {
				return err
			}
		}
	}
	rep.print(stdout)
	if err := writeReport(l.options.out, rep); err != nil {
		return err
	}
	return rep.verdict(stdout, workers)
}

// scaleRun is one run. After the last one it counts the messages and measures the broker.
func (l *lab) scaleRun(ctx context.Context, workers int, grouped, last bool, rep *scaleReport, stdout io.Writer) (err error) {
	f := fault{name: fmt.Sprintf("scale-%d-%t", workers, grouped), platform: true, workers: workers, grouped: grouped}
	l.options.log.InfoContext(ctx, "run", "workers", workers, "grouped", grouped)
	w, err := l.openWorld(ctx, f, l.options.requests)
	if w != nil {
		defer func() { err = errors.Join(err, w.close(), os.RemoveAll(w.dir)) }()
	}
	if err != nil {
		return err
	}
	s := scaled{Workers: workers, Grouped: grouped, Requests: len(w.jobs)}
	if s.Seconds, s.Consumed, err = w.timed(ctx); err != nil {
		return err
	}
	if !grouped && last {
		if rep.Stored, err = w.measureStored(ctx); err != nil {
			return err
		}
		if rep.Counted, rep.Kinds, err = w.countKinds(ctx); err != nil {
			return err
		}
	}
	r := result{Attempts: map[int]int{}}
	if err := w.closeWorkers(); err != nil {
		r.blame("%v", err)
	}
	if err := w.account(ctx, &r); err != nil {
		return err
	}
	if r.Completed != len(w.jobs) && len(r.Violations) == 0 {
		r.blame("%d of %d completed", r.Completed, len(w.jobs))
	}
	s.Lost, s.Doubled, s.Shares, s.Contended, s.Violations = r.Lost, r.Double, r.Shares, r.Contended, r.Violations
	rep.Runs = append(rep.Runs, s)
	s.print(stdout)
	if !grouped && last {
		if rep.Stored.LedgerBytes, err = w.ledgerBytes(ctx); err != nil {
			return err
		}
		rep.Alone, err = w.brokerAlone(ctx, &rep.Stored)
	}
	return err
}

// timed publishes the load and waits until it has settled.
func (w *world) timed(ctx context.Context) (seconds float64, used consumed, err error) {
	before, err := w.consumption(ctx)
	if err != nil {
		return 0, used, err
	}
	begun := time.Now()
	if err := w.publishAbreast(ctx, w.jobs); err != nil {
		return 0, used, err
	}
	if err := w.finished(ctx, len(w.jobs)); err != nil {
		return 0, used, err
	}
	seconds = time.Since(begun).Seconds()
	after, err := w.consumption(ctx)
	if err != nil {
		return 0, used, err
	}
	return seconds, after.minus(before), w.settle(ctx)
}

// publishAbreast publishes jobs side by side.
func (w *world) publishAbreast(ctx context.Context, jobs []job) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(publishers)
	for _, j := range jobs {
		group.Go(func() error { return w.publish(ctx, []job{j}) })
	}
	return group.Wait()
}

// countKinds requests an export of each of some projects and counts the messages.
func (w *world) countKinds(ctx context.Context) (int, map[string]count, error) {
	more := slices.Clone(w.jobs[len(w.jobs)*3/4:]) // of each of these projects one
	for i := range more {
		more[i].RequestID += "-counted"
	}
	t, err := w.broker.tap()
	if err != nil {
		return 0, nil, err
	}
	w.jobs = append(w.jobs, more...)
	if err := errors.Join(w.publishAbreast(ctx, more), w.settle(ctx)); err != nil {
		return 0, nil, err
	}
	kinds, err := t.end()
	return len(more), kinds, err
}

func (s scaled) each(v float64) float64 { return v / float64(s.Requests) }

func (s scaled) print(w io.Writer) {
	var shares []string
	for _, n := range s.Shares {
		shares = append(shares, strconv.Itoa(n))
	}
	fmt.Fprintf(w, "%-8d %-8t %9d %8.1f %10.1f %9.1f | %.3f, %.4f, %.3f | %s (%d)\n", s.Workers, s.Grouped, s.Requests, s.Seconds,
		float64(s.Requests)/s.Seconds, s.each(float64(s.Consumed.Messages)),
		s.each(s.Consumed.Workers), s.each(s.Consumed.Broker), s.each(s.Consumed.PostgreSQL), strings.Join(shares, " "), s.Contended)
	for _, v := range s.Violations {
		fmt.Fprintf(w, "    VIOLATION %s\n", v)
	}
}

// verdict prints the last line: what was lost or doubled over all runs.
func (rep scaleReport) verdict(stdout io.Writer, workers []int) error {
	var names []string
	for _, n := range workers {
		names = append(names, strconv.Itoa(n))
	}
	lost, doubled, broken := 0, 0, false
	for _, s := range rep.Runs {
		lost, doubled, broken = lost+s.Lost, doubled+s.Doubled, broken || len(s.Violations) > 0
	}
	fmt.Fprintf(stdout, "scale: %s workers: %d requests each, %d lost, %d doubled\n", strings.Join(names, ", "), rep.Runs[0].Requests, lost, doubled)
	if broken {
		return errViolations
	}
	return nil
}

// workerCounts reads "2,4,8".
func workerCounts(text string) (counts []int, err error) {
	for field := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil || n < 1 || n > 64 {
			return nil, fmt.Errorf("%q is no number of workers", field)
		}
		counts = append(counts, n)
	}
	return counts, nil
}
