package consumer

import "time"

// turns orders the parked messages of a subscription by start-time fair queuing over their keys. A
// pulled message gets a tag: one more than the last tag of its key, and at least the tag of the
// message that was started last. The message with the lowest tag is next. So a key with many
// waiting messages and a key with one take turns.
//
// The caller of its methods holds the subscription's lock.
type turns struct {
	clock   uint64               // the tag of the message that was started last
	last    map[string]uint64    // the tag of the latest message of each key
	running map[string]int       // started messages of each key
	until   map[string]time.Time // deferred keys and the end of their deferral
	parked  map[*held]struct{}   // held and not started
	bytes   int                  // of the parked messages
}

func newTurns() turns {
	return turns{
		last: map[string]uint64{}, running: map[string]int{}, until: map[string]time.Time{}, parked: map[*held]struct{}{},
	}
}

// tag assigns a tag to a message that was just pulled.
func (t *turns) tag(h *held) {
	h.tag = t.clock
	if last, known := t.last[h.key]; known {
		h.tag = max(h.tag, last+1)
	}
	t.last[h.key] = h.tag
}

func (t *turns) park(h *held) {
	t.parked[h] = struct{}{}
	t.bytes += h.raw.Size()
}

func (t *turns) unpark(h *held) {
	if _, there := t.parked[h]; there {
		delete(t.parked, h)
		t.bytes -= h.raw.Size()
	}
}

// next returns the parked message with the lowest tag, among the keys that are neither running nor
// deferred; nil: there is none. certain reports that no message still to be pulled can come before
// it.
func (t *turns) next(now time.Time) (h *held, certain bool) {
	h = t.best(now, func(*held) bool { return true })
	return h, h != nil && h.tag <= t.clock
}

// best returns the message with the lowest tag among the wanted ones.
func (t *turns) best(now time.Time, wanted func(*held) bool) (h *held) {
	for p := range t.parked {
		if !wanted(p) || t.running[p.key] > 0 || now.Before(t.until[p.key]) {
			continue
		}
		if h == nil || p.tag < h.tag || p.tag == h.tag && p.delivery.Sequence < h.delivery.Sequence {
			h = p
		}
	}
	return h
}

func (t *turns) start(h *held) {
	t.unpark(h)
	t.clock = max(t.clock, h.tag)
	t.running[h.key]++
	// A tag below the clock has no effect any more.
	if len(t.last) > 2*len(t.parked)+64 {
		for key, tag := range t.last {
			if tag < t.clock {
				delete(t.last, key)
			}
		}
	}
}

func (t *turns) end(h *held) {
	if t.running[h.key]--; t.running[h.key] <= 0 {
		delete(t.running, h.key)
	}
}

// postpone defers the messages of a key until the given time.
func (t *turns) postpone(key string, until, now time.Time) {
	for k, u := range t.until {
		if !now.Before(u) {
			delete(t.until, k)
		}
	}
	t.until[key] = until
}

// wakeAt returns when the first deferral of a parked message ends; zero if none is deferred.
func (t *turns) wakeAt() (first time.Time) {
	for h := range t.parked {
		if u, deferred := t.until[h.key]; deferred && t.running[h.key] == 0 && (first.IsZero() || u.Before(first)) {
			first = u
		}
	}
	return first
}
