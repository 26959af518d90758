package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
)

// pages runs the API's own benchmark of its pages, which creates the 100,000 exports.
func pages(ctx context.Context, l *lab, r *result) error {
	l.tell("pages of 100,000 exports")
	args := []string{"test", "-run", "^$", "-bench", "^BenchmarkPageOfAHundredThousand$", "-benchtime", "2000x", "-count", strconv.Itoa(min(l.rounds, 3)), "-timeout", "30m", module + "/internal/api"}
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // our own package
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go test: %w: %s", err, out)
	}
	p50, p99 := pagesOf(string(out))
	if len(p50) == 0 || len(p50) != len(p99) {
		return errors.New("the benchmark of pages told no figures")
	}
	t := table{head: []string{"a page of 50 of 100,000 exports of one project, by cursor", "median, ms", "99th percentile, ms"}}
	t.add("every page from the first to the last, 2,000 pages", over(p50).text(2), over(p99).text(2))
	r.tables = append(r.tables, t)
	r.Figures = append(r.Figures, figure{Name: "page_p99", Text: "a page of 50 of 100,000 exports, 99th percentile", Value: over(p99), Unit: "ms", Kind: below, Limit: 20})
	return nil
}

var pagesMetric = regexp.MustCompile(`(?m)^BenchmarkPageOfAHundredThousand.*\s([0-9.]+) p50-ms\s+([0-9.]+) p99-ms`)

// pagesOf parses go test's output.
func pagesOf(out string) (p50, p99 []float64) {
	for _, m := range pagesMetric.FindAllStringSubmatch(out, -1) {
		for i, to := range []*[]float64{&p50, &p99} {
			n, _ := strconv.ParseFloat(m[i+1], 64)
			*to = append(*to, n)
		}
	}
	return p50, p99
}
