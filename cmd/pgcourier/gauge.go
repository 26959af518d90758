package main

import (
	"io"
	"os"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// gauge draws how far the reading of one export is, on a terminal only. It is safe for
// concurrent use.
type gauge struct {
	mu    sync.Mutex
	p     *mpb.Progress // nil: no terminal
	bar   *mpb.Bar
	stage string
}

func newGauge(w io.Writer) *gauge {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return &gauge{}
	}
	return &gauge{p: mpb.New(mpb.WithOutput(w), mpb.WithWidth(32), mpb.WithAutoRefresh())}
}

// at shows a stage that has come to done of total bytes; another stage begins a new bar.
func (m *gauge) at(stage string, done, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.p == nil {
		return
	}
	if m.bar == nil || m.stage != stage {
		if m.bar != nil {
			m.bar.Abort(false)
		}
		m.stage = stage
		m.bar = m.p.AddBar(max(total, 1), mpb.PrependDecorators(decor.Name(stage, decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f", decor.WCSyncSpace), decor.AverageSpeed(decor.SizeB1024(0), "% .1f", decor.WCSyncSpace)))
	}
	m.bar.SetCurrent(done)
}

// close leaves the terminal as it is. It is idempotent.
func (m *gauge) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.p == nil {
		return
	}
	if m.bar != nil {
		m.bar.Abort(false)
	}
	m.p.Wait()
	m.p = nil
}
