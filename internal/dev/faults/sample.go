package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// sampled is a process with its recorded memory, descriptors and goroutines.
type sampled struct {
	name       string
	process    *process
	goroutines bool

	series map[string][]int64
}

// slack is the increase from the first to the second half of the samples that does not count as
// growth: a share and a constant, because of the garbage collector and the load of the moment.
var slack = map[string]struct {
	unit  string
	share float64
	plus  int64
}{
	"memory":      {"KiB", 0.10, 8 << 10},
	"descriptors": {"", 0.10, 4},
	"goroutines":  {"", 0.10, 10},
}

// take adds one sample of each quantity.
func (s *sampled) take(ctx context.Context) error {
	if s.series == nil {
		s.series = map[string][]int64{}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.pid()))
	if err != nil {
		return err
	}
	var rss int64
	for line := range bytes.Lines(status) {
		if v, ok := bytes.CutPrefix(line, []byte("VmRSS:")); ok {
			if _, err := fmt.Sscanf(string(v), "%d", &rss); err != nil {
				return fmt.Errorf("read VmRSS: %w", err)
			}
		}
	}
	descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.process.pid()))
	if err != nil {
		return err
	}
	s.series["memory"] = append(s.series["memory"], rss)
	s.series["descriptors"] = append(s.series["descriptors"], int64(len(descriptors)))
	if !s.goroutines {
		return nil
	}
	n, err := s.countGoroutines(ctx)
	if err == nil {
		s.series["goroutines"] = append(s.series["goroutines"], n)
	}
	return err
}

const goroutinesLine = "failpoint goroutines: "

func (s *sampled) countGoroutines(ctx context.Context) (n int64, err error) {
	text, _ := s.process.output()
	before := strings.Count(text, goroutinesLine)
	if err := s.process.signal(goroutinesSignal); err != nil {
		return 0, err
	}
	err = until(ctx, 5*time.Second, "the count of goroutines", func(context.Context) (bool, error) {
		text, _ = s.process.output()
		return strings.Count(text, goroutinesLine) > before, nil
	})
	if err != nil {
		return 0, err
	}
	last := text[strings.LastIndex(text, goroutinesLine)+len(goroutinesLine):]
	_, err = fmt.Sscanf(last, "%d", &n)
	return n, err
}

// halves returns the samples after the first fifth, in which a process warms up, as two halves.
func halves(series []int64) (first, second []int64) {
	series = series[len(series)/5:]
	return series[:len(series)/2], series[len(series)/2:]
}

func median(series []int64) int64 {
	if len(series) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(series))
	return sorted[len(sorted)/2]
}

func (s *sampled) print(w io.Writer) {
	for _, name := range []string{"memory", "descriptors", "goroutines"} {
		if series := s.series[name]; len(series) > 0 {
			first, second := halves(series)
			fmt.Fprintf(w, "%-12s %-12s %4d samples, from %d to %d; median of the first half %d, of the second %d %s\n",
				s.name, name, len(series), slices.Min(series), slices.Max(series), median(first), median(second), slack[name].unit)
		}
	}
}

// judge compares the second half with the first.
func (s *sampled) judge(r *result) {
	for name, allowed := range slack {
		series := s.series[name]
		if name == "goroutines" && !s.goroutines {
			continue
		}
		if len(series) < 10 {
			r.blame("%s: only %d samples of %s", s.name, len(series), name)
			continue
		}
		first, second := halves(series)
		limit := int64(float64(median(first))*(1+allowed.share)) + allowed.plus
		if median(second) > limit {
			r.blame("%s: %s grew from %d to %d", s.name, name, median(first), median(second))
		}
	}
}
