package telegram

import (
	"context"
	"sync"
	"time"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// The service's published limits: one message a second to a chat, 20 messages a minute to a
// group or channel (https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this).
const (
	chatInterval = time.Second
	groupWindow  = time.Minute
	groupLimit   = 20
)

// lane paces the messages to one chat. One message is under way at a time, and the next
// starts only when the limits hold counted from the end of those before it. Telegram counts
// from when it accepted a message, which is never later than that end; so the lane alone
// never provokes a 429, whatever the network does to each request.
type lane struct {
	clock Clock
	turn  chan struct{} // holds one token, the right to send
	group bool          // the limit for groups and channels applies

	mu   sync.Mutex
	sent []time.Time // ends of the last groupLimit messages, oldest first
	hold time.Time   // Telegram asked for silence until then
}

// newLane returns the lane of a chat. Telegram's ids tell its kind: private chats have
// positive ids, groups, supergroups and channels negative ones.
func newLane(clock Clock, chat int64) *lane {
	l := &lane{clock: clock, turn: make(chan struct{}, 1), group: chat < 0}
	l.turn <- struct{}{}
	return l
}

// acquire waits for the right to send one message; release gives it back.
func (l *lane) acquire(ctx context.Context) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	select {
	case <-l.turn:
	case <-ctx.Done():
		return ended(ctx)
	}
	for {
		wait := l.next().Sub(l.clock.Now())
		if wait <= 0 {
			return nil
		}
		resume := func() {}
		if wait > groupWindow { // the pace alone never asks for so much: Telegram did
			resume = storage.Pause(ctx)
		}
		err := l.clock.Sleep(ctx, wait)
		resume()
		if err != nil {
			l.turn <- struct{}{}
			return err
		}
	}
}

// release notes that a message was handed over, or may have been, and lets the next one go.
func (l *lane) release() {
	l.mu.Lock()
	l.sent = append(l.sent, l.clock.Now())
	if len(l.sent) > groupLimit {
		l.sent = append(l.sent[:0], l.sent[1:]...)
	}
	l.mu.Unlock()
	l.turn <- struct{}{}
}

// silence keeps the lane quiet for d from now on.
func (l *lane) silence(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := l.clock.Now().Add(d); until.After(l.hold) {
		l.hold = until
	}
}

// next returns the earliest time at which a message may start.
func (l *lane) next() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.hold
	if n := len(l.sent); n > 0 {
		at = later(at, l.sent[n-1].Add(chatInterval))
	}
	if l.group && len(l.sent) == groupLimit {
		at = later(at, l.sent[0].Add(groupWindow))
	}
	return at
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
