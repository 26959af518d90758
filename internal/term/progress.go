package term

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Progress draws lines that change, below the lines that stay. Without a terminal it draws
// nothing. It is safe for concurrent use.
type Progress struct {
	screen Screen

	mu    sync.Mutex
	p     *mpb.Progress // nil: no terminal, or closed
	lines map[string]*line
}

// line is one line that changes.
type line struct {
	bar   *mpb.Bar
	text  atomic.Pointer[string] // read while it is drawn
	begun time.Time
}

// NewProgress draws on w, which environ describes as for [Open].
func NewProgress(w io.Writer, environ []string) *Progress {
	p := &Progress{screen: Open(w, environ), lines: map[string]*line{}}
	if IsTerminal(w) {
		p.p = mpb.New(mpb.WithOutput(w), mpb.WithAutoRefresh())
	}
	return p
}

// Set draws the line of that name, or draws it anew.
func (p *Progress) Set(name, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set(name, text)
}

func (p *Progress) set(name, text string) {
	if p.p == nil {
		return
	}
	l := p.lines[name]
	if l == nil {
		l = &line{begun: time.Now()}
		l.text.Store(&text)
		draw := mpb.BarFillerFunc(func(w io.Writer, _ decor.Statistics) error {
			_, err := io.WriteString(w, *l.text.Load())
			return err
		})
		var err error
		if l.bar, err = p.p.Add(0, draw, mpb.BarFillerTrim()); err != nil {
			return // mpb has stopped: the terminal is gone
		}
		p.lines[name] = l
	}
	l.text.Store(&text)
}

// Count draws how many of total are done, with a remark after it.
func (p *Progress) Count(name string, done, total int, remark string) {
	p.Set(name, p.screen.CountLine(name, done, total, remark))
}

// Bytes draws how far a stage is, and its speed.
func (p *Progress) Bytes(stage string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var took time.Duration
	if l := p.lines[stage]; l != nil {
		took = time.Since(l.begun)
	}
	p.set(stage, p.screen.Cut(fmt.Sprintf("%-9s %s %9s of %9s  %s", stage, bar(done, total), Size(done), Size(total), speed(done, took))))
}

// Println writes a line that stays.
func (p *Progress) Println(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.p != nil {
		fmt.Fprintln(p.p, text)
	}
}

// Remove takes a line away and waits until it is gone.
func (p *Progress) Remove(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.lines[name]; l != nil {
		l.bar.Abort(true)
		l.bar.Wait()
		delete(p.lines, name)
	}
}

// Close ends the drawing: the lines stay as they were drawn last. It is idempotent, and what is
// set later is not drawn.
func (p *Progress) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.p == nil {
		return
	}
	for _, l := range p.lines {
		l.bar.Abort(false)
	}
	p.p.Wait()
	p.p = nil
}

// barWidth is the width of a bar's inside.
const barWidth = 20

// bar is filled as far as done is of total. It is full only when it is known to be.
func bar(done, total int64) string {
	n := 0
	if total > 0 {
		n = int(min(done*barWidth/total, barWidth))
	}
	return "[" + strings.Repeat("=", n) + strings.Repeat(" ", barWidth-n) + "]"
}

// speed is bytes by time. "-": no time has passed.
func speed(n int64, took time.Duration) string {
	if took <= 0 {
		return "-"
	}
	return Size(int64(float64(n)/took.Seconds())) + "/s"
}

// CountLine is the line that [Progress.Count] draws.
func (s Screen) CountLine(name string, done, total int, remark string) string {
	return s.Cut(fmt.Sprintf("%s %s %d of %d%s", name, bar(int64(done), int64(total)), done, total, Sanitize(remark)))
}
