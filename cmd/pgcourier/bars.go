package main

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/pgcourier/pgcourier/events"
)

// live is the part of a terminal that is drawn anew, below the lines that stay.
type live struct{ *mpb.Progress }

// newLive draws on w. What is written to it appears above.
func newLive(w io.Writer) live { return live{mpb.New(mpb.WithOutput(w), mpb.WithAutoRefresh())} }

// lineOf is one line of a live part. set may be called while it is drawn.
type lineOf struct {
	bar  *mpb.Bar
	text atomic.Pointer[string]
}

func (l live) add(text string) *lineOf {
	out := &lineOf{}
	out.set(text)
	draw := mpb.BarFillerFunc(func(w io.Writer, _ decor.Statistics) error {
		_, err := io.WriteString(w, *out.text.Load())
		return err
	})
	out.bar = l.MustAdd(0, draw, mpb.BarFillerTrim())
	return out
}

func (o *lineOf) set(text string) { o.text.Store(&text) }

// remove takes the line away and waits until it is gone.
func (o *lineOf) remove() {
	o.bar.Abort(true)
	o.bar.Wait()
}

// bars draws one bar for each running export, and a line for each that ended.
type bars struct {
	screen screen
	live   live
	runs   map[string]*barRun
}

// barRun is one export's bar.
type barRun struct {
	line  *lineOf
	begun time.Time // of the attempt, or when it was first seen
}

func newBars(w io.Writer, s screen) *bars {
	return &bars{screen: s, live: newLive(w), runs: map[string]*barRun{}}
}

func (b *bars) show(e events.Event) {
	project, id := e.IDs()
	name := project + "/" + id
	switch {
	case e.Started != nil:
		b.progress(name, e.Started.StartedAt, events.Progress{
			ProjectID: project, RequestID: id, EstimatedBytes: e.Started.EstimatedBytes, At: e.Started.StartedAt,
		})
	case e.Progress != nil:
		b.progress(name, e.Progress.At, *e.Progress)
	default:
		if r := b.runs[name]; r != nil {
			r.line.remove()
			delete(b.runs, name)
		}
		fmt.Fprintln(b.live, b.screen.eventLine(e))
	}
}

func (b *bars) progress(name string, begun time.Time, p events.Progress) {
	r := b.runs[name]
	if r == nil {
		r = &barRun{begun: begun}
		b.runs[name] = r
	}
	text := b.screen.bar(p, r.begun)
	if r.line == nil {
		r.line = b.live.add(text)
		return
	}
	r.line.set(text)
}

func (b *bars) close() {
	for _, r := range b.runs {
		r.line.bar.Abort(false)
	}
	b.live.Wait()
}

// barWidth is the width of a bar's inside.
const barWidth = 20

// filled is a bar that is filled as far as done is of total. It is full only when it is
// known to be.
func filled(done, total int64) string {
	n := 0
	if total > 0 {
		n = int(min(done*barWidth/total, barWidth))
	}
	return "[" + strings.Repeat("=", n) + strings.Repeat(" ", barWidth-n) + "]"
}

// bar is a running export in one line. The estimate is of the tables on disk, and the dump
// may be larger: then the bar stays short of its end.
func (s screen) bar(p events.Progress, begun time.Time) string {
	total := max(p.EstimatedBytes, p.SizeBytes*20/19)
	speed := "-"
	if d := p.At.Sub(begun); d > 0 {
		speed = size(int64(float64(p.SizeBytes)/d.Seconds())) + "/s"
	}
	return s.cut(fmt.Sprintf("%s %8s %10s  %s/%s  %s", filled(p.SizeBytes, total), size(p.SizeBytes), speed,
		shown(p.ProjectID), shown(p.RequestID), shown(p.Table)))
}
