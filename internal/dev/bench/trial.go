package main

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// trial is one measured run of a variant. Times are in seconds, sizes in bytes.
type trial struct {
	Wall     float64 `json:"wall"`              // as seen by the requester
	Service  float64 `json:"service,omitempty"` // ours: from started_at to finished_at of the outcome
	CPU      float64 `json:"cpu"`               // of the client's processes, all together, in user and system mode
	Dump     float64 `json:"pg_dump_cpu"`       // of these, pg_dump's: what the worker started, or a pipeline's first process
	Others   float64 `json:"others_cpu"`        // of the processes that are neither the client's, the server's nor the driver's
	Server   float64 `json:"server_cpu"`        // of PostgreSQL's
	Memory   int64   `json:"memory"`            // peak resident: our worker, or all processes of a peer
	Children int64   `json:"children"`          // ours: peak of what the worker started
	Spooled  int64   `json:"temporary"`         // most bytes at a time in temporary files
	Output   int64   `json:"output"`            // what was stored or written; 0: /dev/null
}

// variant is one way of doing the work.
type variant struct {
	name string
	run  func(ctx context.Context) (trial, error)
	// missing says why it cannot be measured here; empty: it can.
	missing string
}

// interleave runs each variant once a round. A missing or unwanted tool has no trials.
func (l *lab) interleave(ctx context.Context, what string, variants []variant) (map[string][]trial, error) {
	out := map[string][]trial{}
	for round := range l.rounds {
		for _, v := range variants {
			if v.missing != "" || !l.wants(v.name) {
				continue
			}
			l.settle()
			t, err := v.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", v.name, err)
			}
			l.tell("%s, round %d of %d: %s: %.3f s", what, round+1, l.rounds, v.name, t.Wall)
			out[v.name] = append(out[v.name], t)
		}
	}
	return out, nil
}

// pick takes one value of each trial.
func pick(trials []trial, of func(trial) float64) []float64 {
	out := make([]float64, len(trials))
	for i, t := range trials {
		out[i] = of(t)
	}
	return out
}

func wallOf(t trial) float64    { return t.Wall }
func serviceOf(t trial) float64 { return t.Service }
func cpuOf(t trial) float64     { return t.CPU }
func serverOf(t trial) float64  { return t.Server }
func dumpOf(t trial) float64    { return t.Dump }

// restOf is what the worker itself or the compressor takes.
func restOf(t trial) float64 { return t.CPU - t.Dump }

// othersOf is the share of all processors that others had, in percent.
func othersOf(t trial) float64 {
	return 100 * t.Others / t.Wall / float64(runtime.NumCPU())
}

const mebibyte = 1 << 20

func memoryOf(t trial) float64   { return float64(t.Memory) / mebibyte }
func childrenOf(t trial) float64 { return float64(t.Children) / mebibyte }
func spooledOf(t trial) float64  { return float64(t.Spooled) / mebibyte }
func outputOf(t trial) float64   { return float64(t.Output) / mebibyte }

// observed runs f and adds the samples of the processes. Files without a name below keep, and files
// outside of tmp, are not temporary.
func (l *lab) observed(roots func() []int, tmp, keep string, f func() error) (trial, error) {
	var t trial
	before, own := 0.0, 0.0
	for _, pid := range roots() {
		before += processor(pid)
		self, _ := times(pid)
		own += self
	}
	server, busy, driver := l.serverProcessor(), busyProcessors(), driverProcessor()
	stop := watch(roots, tmp, keep)
	began := time.Now()
	err := f()
	t.Wall = time.Since(began).Seconds()
	seen := stop()
	for _, pid := range roots() {
		t.CPU += processor(pid)
	}
	t.CPU -= before
	for _, pid := range roots() {
		self, _ := times(pid)
		t.Dump -= self
	}
	t.Dump += t.CPU + own
	t.Server = l.serverProcessor() - server
	t.Others = busyProcessors() - busy - (driverProcessor() - driver) - t.Server - t.CPU
	t.Memory, t.Children, t.Spooled = seen.own, seen.children, seen.spooled
	return t, err
}
