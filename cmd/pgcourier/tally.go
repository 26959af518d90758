package main

import (
	"fmt"
	"os"
)

// tally shows how many of many are done: as a bar on a terminal, else not at all.
type tally struct {
	screen screen
	name   string
	total  int
	live   *live
	line   *lineOf
}

// tally draws on standard error, so that standard output holds the result only.
func (a *app) tally(name string, total int) *tally {
	t := &tally{screen: a.screen(), name: name, total: total}
	if f, ok := a.stderr.(*os.File); ok && total > 0 && isTerminal(f) && a.output == "text" {
		l := newLive(f)
		t.live, t.line = &l, l.add(t.text(0, ""))
	}
	return t
}

// at says how many are done, and which project, if any, is waited for.
func (t *tally) at(done int, full string) {
	if t.line != nil {
		t.line.set(t.text(done, full))
	}
}

func (t *tally) text(done int, full string) string {
	text := fmt.Sprintf("%s %s %d of %d", t.name, filled(int64(done), int64(t.total)), done, t.total)
	if full != "" {
		text += ", the queue of " + shown(full) + " is full"
	}
	return t.screen.cut(text)
}

func (t *tally) close() {
	if t.live != nil {
		t.line.bar.Abort(false)
		t.live.Wait()
	}
}
