package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticks is the unit of /proc's times: USER_HZ is 100 on every architecture that Go supports.
const ticks = 100

// processor returns the processor seconds so far of a process, of its children that it waited for,
// and of its living descendants. It returns 0 for a process that is gone.
func processor(pid int) float64 {
	for {
		own, waited := times(pid)
		below := 0.0
		for _, child := range children(pid) {
			below += processor(child)
		}
		// A child that was waited for in between counts twice or not at all, so the times are read again.
		if _, again := times(pid); again == waited {
			return own + waited + below
		}
	}
}

// times reads the processor time of a process and of its children that it waited for.
func times(pid int) (own, waited float64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	// The name, in brackets, may contain anything, so the fields are counted from its end.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	const utime, stime, cutime, cstime = 11, 12, 13, 14
	at := func(i int) float64 {
		n, _ := strconv.ParseInt(f[i], 10, 64)
		return float64(n) / ticks
	}
	if len(f) <= cstime {
		return 0, 0
	}
	return at(utime) + at(stime), at(cutime) + at(cstime)
}

// busyProcessors returns the seconds that all processors have worked so far, for whatever process, for
// the kernel, or for another virtual machine (proc(5), /proc/stat).
func busyProcessors() float64 {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	f := strings.Fields(string(line))
	const idle, iowait, steal = 4, 5, 8
	total := 0.0
	for i := 1; i <= min(steal, len(f)-1); i++ { // guests are in the first two already
		if i != idle && i != iowait {
			n, _ := strconv.ParseInt(f[i], 10, 64)
			total += float64(n) / ticks
		}
	}
	return total
}

// driverProcessor returns the processor seconds of this process, without its children.
func driverProcessor() float64 {
	own, _ := times(os.Getpid())
	return own
}

// loadAverage returns the machine's load of the last minute; empty: not known.
func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

func children(pid int) []int {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	var out []int
	for _, list := range lists {
		b, _ := os.ReadFile(list) //nolint:gosec // of /proc
		for _, f := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}

// status reads one value of /proc/PID/status, in bytes; 0 when the process is gone.
func status(pid int, name string) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		if v, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			n, _ := strconv.ParseInt(strings.Fields(string(v))[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// watched is the result of a sampler.
type watched struct {
	own      int64 // most memory that the roots had resident, added up
	children int64 // the same of their descendants, those that follow one another once
	spooled  int64 // most bytes at a time in temporary files
}

// sampleEvery is the pause between two samples. One costs far less than a millisecond.
const sampleEvery = 100 * time.Millisecond

// watch samples processes and their temporary files until the returned function is called.
// Temporary files are the files in the folder tmp, and open files without a name outside of keep.
func watch(roots func() []int, tmp, keep string) (stop func() watched) {
	quit, done := make(chan struct{}), make(chan watched)
	go func() {
		s := sampler{tmp: tmp, keep: keep, peaks: map[int]int64{}, root: map[int]bool{}}
		t := time.NewTicker(sampleEvery)
		defer t.Stop()
		for {
			s.look(roots())
			select {
			case <-quit:
				s.look(roots())
				done <- s.result()
				return
			case <-t.C:
			}
		}
	}()
	return func() watched {
		close(quit)
		return <-done
	}
}

type sampler struct {
	tmp, keep string
	peaks     map[int]int64 // by process
	root      map[int]bool
	spooled   int64
	children  int64
}

func (s *sampler) look(roots []int) {
	bytes := folderSize(s.tmp)
	var below int64
	var visit func(pid int, root bool)
	visit = func(pid int, root bool) {
		s.peaks[pid] = max(s.peaks[pid], status(pid, "VmHWM"))
		s.root[pid] = root
		if !root {
			below += s.peaks[pid]
		}
		bytes += s.unnamed(pid)
		for _, c := range children(pid) {
			visit(c, false)
		}
	}
	for _, pid := range roots {
		visit(pid, true)
	}
	s.spooled, s.children = max(s.spooled, bytes), max(s.children, below)
}

func (s *sampler) result() watched {
	w := watched{children: s.children, spooled: s.spooled}
	for pid, peak := range s.peaks {
		if s.root[pid] {
			w.own += peak
		}
	}
	return w
}

// unnamed returns the size of a process's open files without a name, which pg_dump uses for its
// spool. Memory files and files in keep do not count.
func (s *sampler) unnamed(pid int) (total int64) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		to, err := os.Readlink(name)
		if err != nil || !strings.HasSuffix(to, " (deleted)") || strings.HasPrefix(to, "/memfd:") || strings.HasPrefix(to, s.keep+"/") {
			continue
		}
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
	}
	return total
}

func folderSize(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if info, err := e.Info(); err == nil {
				total += info.Size()
			}
		}
		return nil // a removed file has no size
	})
	return total
}
