package service

import (
	"slices"
	"sync"
	"time"
)

// loopGrace is how late a loop may be. It must cover a machine without a free core.
const loopGrace = time.Minute

// loops records which loops of this process turn: the health check, and each consumer's loop that
// keeps messages alive. It is safe for concurrent use.
//
// A loop may take long for each turn, but never for ever: it says when the next turn is due. Work
// that has a limit of its own, such as an export, is no loop here.
type loops struct {
	mu  sync.Mutex
	due map[string]time.Time
}

func newLoops() *loops { return &loops{due: map[string]time.Time{}} }

// turn records that a loop turns, and that its next turn comes within next. 0: it has ended.
func (l *loops) turn(name string, next time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if next == 0 {
		delete(l.due, name)
		return
	}
	l.due[name] = time.Now().Add(next)
}

// late returns the names of the loops that have not turned in time.
func (l *loops) late() (names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, due := range l.due {
		if time.Since(due) > loopGrace {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
