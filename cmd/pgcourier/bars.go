package main

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/pgcourier/pgcourier/events"
)

// bars draws one bar for each running export, and a line for each that ended.
type bars struct {
	p    *mpb.Progress
	runs map[string]*barRun
}

// barRun is one export's bar.
type barRun struct {
	bar   *mpb.Bar
	table atomic.Pointer[string] // written here, read where the bar is drawn
}

func newBars(w io.Writer) *bars {
	return &bars{p: mpb.New(mpb.WithOutput(w), mpb.WithWidth(32), mpb.WithAutoRefresh()), runs: map[string]*barRun{}}
}

func (b *bars) show(e events.Event) {
	project, id := e.IDs()
	name := project + "/" + id
	switch {
	case e.Started != nil:
		b.at(name, e.Started.EstimatedBytes)
	case e.Progress != nil:
		r := b.at(name, e.Progress.EstimatedBytes)
		table := shown(e.Progress.Table)
		r.table.Store(&table)
		// The estimate is of the tables on disk; the dump may be larger.
		r.bar.SetTotal(max(e.Progress.EstimatedBytes, e.Progress.SizeBytes+1), false)
		r.bar.SetCurrent(e.Progress.SizeBytes)
	default:
		if r := b.runs[name]; r != nil {
			r.bar.Abort(true)
			r.bar.Wait()
			delete(b.runs, name)
		}
		fmt.Fprintln(b.p, eventLine(e))
	}
}

func (b *bars) at(name string, total int64) *barRun {
	if r := b.runs[name]; r != nil {
		return r
	}
	r := new(barRun)
	r.table.Store(new(string))
	r.bar = b.p.AddBar(max(total, 1),
		mpb.PrependDecorators(decor.Name(shown(name), decor.WCSyncSpaceR)),
		mpb.AppendDecorators(
			decor.CurrentKibiByte("% .1f", decor.WCSyncSpace),
			decor.AverageSpeed(decor.SizeB1024(0), "% .1f", decor.WCSyncSpace),
			decor.Any(func(decor.Statistics) string { return " " + *r.table.Load() }),
		))
	b.runs[name] = r
	return r
}

func (b *bars) close() {
	for _, r := range b.runs {
		r.bar.Abort(false)
	}
	b.p.Wait()
}
