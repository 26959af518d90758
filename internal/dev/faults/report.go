package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// report is what is written to build/faults.json.
type report struct {
	Begun   time.Time `json:"begun"`
	AckWait string    `json:"ack_wait"`
	Results []result  `json:"results"`
}

const columns = "%-32s %8s %9s %6s %5s %6s %10s %6s %7s %9s %8s  %s\n"

func (report) header(w io.Writer) {
	fmt.Fprintf(w, columns, "fault", "requests", "completed", "failed", "lost", "double", "unreadable", "behind", "leaked", "recovered", "ackwaits", "attempts 1/2/3")
}

func (report) line(w io.Writer, r result) {
	if r.Missing != "" {
		fmt.Fprintf(w, "%-32s %s\n", r.Fault, r.Missing)
		return
	}
	n := strconv.Itoa
	fmt.Fprintf(w, columns, r.Fault, n(r.Requests), n(r.Completed), n(r.Failed), n(r.Lost), n(r.Double), n(r.Unreadable),
		n(r.LeftBehind), n(r.Leaked), fmt.Sprintf("%.1f s", r.Recovered), fmt.Sprintf("%.1f", r.AckWaits),
		fmt.Sprintf("%d/%d/%d", r.Attempts[1], r.Attempts[2], r.Attempts[3]))
	for _, v := range r.Violations {
		fmt.Fprintf(w, "    VIOLATION %s\n", v)
	}
}

func (rep report) footer(w io.Writer) {
	var sum result
	broken, missing := 0, 0
	for _, r := range rep.Results {
		sum.Requests += r.Requests
		sum.Completed += r.Completed
		sum.Failed += r.Failed
		sum.Lost += r.Lost
		sum.Double += r.Double
		sum.Unreadable += r.Unreadable
		sum.LeftBehind += r.LeftBehind
		sum.Leaked += r.Leaked
		if len(r.Violations) > 0 {
			broken++
		}
		if r.Missing != "" {
			missing++
		}
	}
	fmt.Fprintf(w, "%d faults, %d not run, %d with violations; %d requests: %d completed, %d failed as permitted, %d lost, %d double, %d unreadable, %d left behind, %d leaked\n",
		len(rep.Results), missing, broken, sum.Requests, sum.Completed, sum.Failed, sum.Lost, sum.Double, sum.Unreadable, sum.LeftBehind, sum.Leaked)
}

// clean reports whether the report has no violation.
func (rep report) clean(allowMissing bool) bool {
	for _, r := range rep.Results {
		if len(r.Violations) > 0 || r.Missing != "" && !allowMissing {
			return false
		}
	}
	return true
}

// writeReport writes a report as JSON, unless file is empty.
func writeReport(file string, content any) error {
	if file == "" {
		return nil
	}
	b, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // a public report
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644) //nolint:gosec // the same
}
