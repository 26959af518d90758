package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// fairness runs the broker's own benchmark, which needs no PostgreSQL, once a round.
func fairness(ctx context.Context, l *lab) (result, error) {
	args := []string{"test", "-run", "^$", "-bench", "^BenchmarkFairness$", "-benchtime", "10x", "-count", strconv.Itoa(l.rounds), "-timeout", "30m", module + "/internal/broker/consumer"}
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // our own package
	out, err := cmd.CombinedOutput()
	if err != nil {
		return result{}, fmt.Errorf("go test: %w: %s", err, out)
	}
	medians, longest := fairnessOf(string(out))
	r := result{Scale: fmt.Sprintf("%d rounds of 10 requests, as `make bench-fairness` measures them.", l.rounds)}
	r.about = []string{"How long another project's single request waits from its publish to its start, on a worker with one slot whose runs take 50 ms: " +
		"on an idle worker, behind a flood of 1,000 requests of one project, and, in plain order instead of turns, behind 50 (of whose ten requests only the first finds the flood)."}
	t := table{head: []string{"", "median, ms", "longest, ms"}}
	for _, name := range []string{"idle", "flood=1000", "plain-order/flood=50"} {
		if len(medians[name]) == 0 {
			return r, errors.New("the benchmark of fairness told no figure for " + name)
		}
		t.add(name, over(medians[name]).text(1), over(longest[name]).text(1))
		key := strings.NewReplacer("=", "_", "/", "_", "-", "_").Replace(name)
		r.Figures = append(r.Figures, figure{Name: key, Text: "the longest wait, " + name, Value: over(longest[name]), Unit: "ms"})
	}
	r.tables = []table{t}
	return r, nil
}

var (
	fairnessLine   = regexp.MustCompile(`(?m)^BenchmarkFairness/(\S+?)(?:-\d+)?\s.*$`)
	fairnessMetric = regexp.MustCompile(`([0-9.]+) ms/(median|longest)`)
)

// fairnessOf parses go test's output: milliseconds by case.
func fairnessOf(out string) (medians, longest map[string][]float64) {
	medians, longest = map[string][]float64{}, map[string][]float64{}
	for _, m := range fairnessLine.FindAllStringSubmatch(out, -1) {
		for _, v := range fairnessMetric.FindAllStringSubmatch(m[0], -1) {
			to := longest
			if v[2] == "median" {
				to = medians
			}
			n, _ := strconv.ParseFloat(v[1], 64)
			to[m[1]] = append(to[m[1]], n)
		}
	}
	return medians, longest
}
