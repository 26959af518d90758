package export

import "sync"

// Nudges wakes the lease keepers of running requests, so that they look at the ledger at once. The
// zero value is ready. It is safe for concurrent use.
type Nudges struct {
	mu      sync.Mutex
	waiting map[ID][]chan struct{}
}

// Join returns the channel of a request's nudges. The caller must call leave.
func (n *Nudges) Join(id ID) (nudged <-chan struct{}, leave func()) {
	c := make(chan struct{}, 1)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waiting == nil {
		n.waiting = map[ID][]chan struct{}{}
	}
	n.waiting[id] = append(n.waiting[id], c)
	return c, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		var rest []chan struct{}
		for _, other := range n.waiting[id] {
			if other != c {
				rest = append(rest, other)
			}
		}
		if n.waiting[id] = rest; len(rest) == 0 {
			delete(n.waiting, id)
		}
	}
}

// Nudge wakes all lease keepers of a request. It never blocks.
func (n *Nudges) Nudge(id ID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.waiting[id] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
