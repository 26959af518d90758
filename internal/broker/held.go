package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/internal/failpoint"
)

const (
	settleRequest = 5 * time.Second // one try of an ack, nak or revival
	// After this many failures on a live connection an ack is given up: the consumer is
	// not coming back. With the pauses between them that is about a minute and a half. It
	// costs a redelivery at most, to a handler that finds the outcome recorded.
	ackTries = 20
	// How often the stream's identity is looked up before a nak is given up. What is not
	// nacked comes back after AckWait, so there is less to lose than with an ack.
	nakTries = 5
)

// held is one delivery from its pull to its settlement.
type held struct {
	sub       *subscription
	delivery  Delivery
	ackWait   time.Duration
	reply     string
	msg       *message.Message
	log       *slog.Logger
	abandoned atomic.Bool
	delay     atomic.Int64  // of a redelivery, set by Delay; 0: Backoff's
	settled   chan struct{} // closed when nothing more is sent for it

	endMsg    context.CancelFunc
	stopBeats func() // ends the heartbeats and waits for the one under way

	mu     sync.Mutex // orders heartbeats and revivals before the one nak
	over   bool
	lastOK time.Time // sending time of the last confirmed heartbeat
	lost   bool      // was without one for longer than AckWait, once
}

func (s *subscription) hold(m *nats.Msg, d Delivery, b bound) *held {
	h := &held{
		sub: s, delivery: d, ackWait: b.ackWait, reply: m.Reply, msg: toMessage(m, d),
		log:     s.log.With("event_id", d.EventID, "delivery", d.Number),
		settled: make(chan struct{}), lastOK: time.Now(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[h] = struct{}{}
	return h
}

// begin gives the message its context, which ends with working, and starts the heartbeats,
// which end with settling.
func (h *held) begin(settling, working context.Context) {
	msgCtx, endMsg := context.WithCancel(context.WithValue(working, heldKey{}, h))
	h.msg.SetContext(msgCtx)
	h.endMsg = endMsg
	beating, cancel := context.WithCancel(settling)
	var beats sync.WaitGroup
	beats.Go(func() { h.beat(beating) })
	h.stopBeats = func() { cancel(); beats.Wait() }
}

// attend waits for the handler's verdict and settles.
func (h *held) attend(settling, working context.Context) {
	defer h.release()
	select {
	case <-h.msg.Acked():
		h.endMsg()
		if h.abandoned.Load() {
			return
		}
		failpoint.Hit(failpoint.BeforeAck)
		// The heartbeats go on until the ack is confirmed.
		if err := h.ack(settling); err != nil {
			h.log.WarnContext(settling, "gave up acknowledging, the message may come back", "error", err)
		}
		failpoint.Hit(failpoint.AfterAck)
	case <-h.msg.Nacked():
		h.endMsg()
		if h.abandoned.Load() {
			return
		}
		delay := time.Duration(h.delay.Load())
		if delay == 0 {
			delay = h.sub.cfg.Backoff(h.delivery.Number)
		}
		if errors.Is(context.Cause(working), ErrDraining) {
			delay = 0 // nothing is wrong with the message: let another worker have it
		}
		h.nak(settling, delay)
	case <-settling.Done():
	}
}

// giveBack settles a message that no handler saw.
func (h *held) giveBack(settling context.Context) {
	defer h.release()
	h.nak(settling, 0)
}

func (h *held) release() {
	h.endMsg()
	h.stopBeats()
	h.sub.mu.Lock()
	delete(h.sub.held, h)
	h.sub.mu.Unlock()
	close(h.settled)
}

// beat keeps the delivery alive. Each heartbeat is a request: a published one would be
// thought sent on a dead link. It goes on after the delivery was lost: if nobody else has
// the message yet, that keeps it so, and if somebody has, they stand by for the ledger's
// lease with heartbeats of their own.
func (h *held) beat(ctx context.Context) {
	every := h.ackWait / 3
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if h.overdue() { // a cluster's leader may change for long, with no reconnect
				h.revive(ctx)
				continue
			}
			h.confirm(ctx, []byte("+WPI"), every)
		}
	}
}

// overdue says that the broker may have the message on its list of redeliveries.
func (h *held) overdue() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.lastOK) > h.ackWait
}

// revive is a heartbeat that also takes the message off the broker's list of those to be
// redelivered. Once it is on that list (after an outage longer than AckWait, or as soon as
// a restarted broker has read its state) "+WPI" does not help any more, while a nak with a
// delay takes it off, sets its timer and counts nothing.
func (h *held) revive(ctx context.Context) {
	h.confirm(ctx, nakBody(h.ackWait), settleRequest)
}

// confirm sends a sign of life and notes whether the broker answered it.
func (h *held) confirm(ctx context.Context, body []byte, timeout time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over || !h.sameStream() {
		return
	}
	sent := time.Now()
	err := h.request(ctx, body, timeout)
	if ctx.Err() != nil {
		return
	}
	wasLost := h.lost
	h.lost = h.lost || time.Since(h.lastOK) > h.ackWait
	if h.lost && !wasLost {
		h.log.WarnContext(ctx, "no heartbeat was confirmed within the ack wait, another worker may get the message")
	}
	if err == nil {
		h.lastOK = sent
	}
}

func (h *held) ack(ctx context.Context) error {
	var err error
	for failures := 0; failures < ackTries; {
		connected := h.sub.nc.IsConnected()
		if err = h.sub.identify(ctx); err == nil {
			if !h.sameStream() {
				return errors.New("the stream was made anew, its sequences mean other messages")
			}
			if err = h.request(ctx, []byte("+ACK"), settleRequest); err == nil {
				return nil
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("drain ended: %w", err)
		}
		if connected {
			failures++
		}
		pause(ctx, failures)
	}
	return err
}

// nak asks for a redelivery after delay. It is sent once: a second one, after a lost
// answer, could hit the next delivery. If it fails the message comes back after AckWait.
func (h *held) nak(ctx context.Context, delay time.Duration) {
	err := h.sub.identify(ctx)
	for tries := 1; err != nil && tries < nakTries && ctx.Err() == nil; tries++ {
		pause(ctx, tries) // the heartbeats go on
		err = h.sub.identify(ctx)
	}
	h.stopBeats() // a later heartbeat would undo the delay
	if err != nil {
		h.log.WarnContext(ctx, "not nacked, the message comes back after the ack wait", "error", err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	if h.lost || time.Since(h.lastOK) > h.ackWait || !h.sameStream() {
		h.log.InfoContext(ctx, "not nacked, the delivery is no longer known to be ours")
		return
	}
	if err := h.request(ctx, nakBody(delay), settleRequest); err != nil {
		h.log.WarnContext(ctx, "nack failed, the message comes back after the ack wait", "error", err)
	}
}

func nakBody(delay time.Duration) []byte {
	if delay <= 0 {
		return []byte("-NAK")
	}
	return fmt.Appendf(nil, `-NAK {"delay": %d}`, delay.Nanoseconds())
}

func (h *held) request(ctx context.Context, body []byte, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := h.sub.nc.RequestWithContext(ctx, h.reply, body)
	return err
}

// sameStream guards against a stream that was wiped and made again: an ack for the old
// sequence 5 would remove the new message 5. identify comes first where it matters.
func (h *held) sameStream() bool {
	b, _ := h.sub.state()
	return b.identity == h.delivery.Stream
}
