package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/failpoint"
)

const (
	settleRequest = 5 * time.Second // one try of an ack, nak or revival
	// After this many failures on a working connection an ack is given up, because the consumer does
	// not come back. With the pauses this takes about 90 seconds. It costs at most a redelivery, and
	// the handler then finds the recorded outcome.
	ackTries = 20
	// How often the stream's identity is looked up before a nak is given up. A message without a nak
	// is delivered again after AckWait, so giving up costs less than for an ack.
	nakTries = 5
)

// held is one delivery from its pull to its settlement. It is parked until its turn, then offered
// to the handler, and parked again if the handler snoozes it.
type held struct {
	sub      *subscription
	delivery delivery.Delivery
	ackWait  time.Duration
	made     time.Time // creation time of the consumer that delivered it
	raw      *nats.Msg
	log      *slog.Logger
	key      string // of its turns
	tag      uint64 // of its turn
	// Guarded by the subscription's lock.
	slot    *held // the message that took its slot, itself or another
	snoozed bool  // it was gathered and then snoozed, and is not gathered again

	heartbeat // its state on the broker
}

// offer is one start of a held message.
type offer struct {
	held     *held
	msg      *message.Message
	decision error // the handler's decision, see Settle; nil: the message's own ack or nak

	endMsg    context.CancelFunc
	stopBeats func() // ends the heartbeats and waits for the running one
}

func (s *subscription) newHeld(m *nats.Msg, d delivery.Delivery, b bound) *held {
	h := &held{
		sub: s, delivery: d, ackWait: b.ackWait, made: b.made, raw: m, key: d.EventID,
		log: s.log.With("event_id", d.EventID, "delivery", d.Number),
	}
	if s.cfg.Turn != nil {
		if key := s.cfg.Turn(d); key != "" {
			h.key = key
		}
	}
	h.lastOK = time.Now()
	h.tried.Store(h.lastOK.UnixNano())
	return h
}

// begin builds the message with its context, which ends with working. It starts the heartbeats of a
// running message, which end with settling. joined is the value from Gather; nil: the message was
// not gathered.
func (h *held) begin(settling, working context.Context, joined any) *offer {
	o := &offer{held: h, msg: toMessage(h.raw, h.delivery)}
	ctx := delivery.NewContext(context.WithValue(working, offerKey{}, o), h.delivery)
	if joined != nil {
		ctx = delivery.WithJoined(ctx, joined)
	} else {
		ctx = delivery.WithGatherer(ctx, func(n int, join func(int) []any) int {
			return h.sub.gather(o.msg.Context(), h, n, join)
		})
	}
	msgCtx, endMsg := context.WithCancel(ctx)
	o.msg.SetContext(msgCtx)
	o.endMsg = endMsg
	beating, cancel := context.WithCancel(settling)
	var beats sync.WaitGroup
	beats.Go(func() { h.beat(beating) })
	o.stopBeats = func() { cancel(); beats.Wait() }
	return o
}

// attend waits for the handler's result and settles the message.
func (o *offer) attend(settling, working context.Context) {
	select {
	case <-o.msg.Acked():
		o.endMsg()
		if snooze, ok := errors.AsType[*delivery.SnoozeError](o.decision); ok {
			o.putBack(settling, max(snooze.After, 1))
			return
		}
		defer o.release()
		if errors.Is(o.decision, delivery.ErrDrop) {
			return
		}
		failpoint.Hit(failpoint.BeforeAck)
		// The heartbeats go on until the ack is confirmed.
		if err := o.held.ack(settling); err != nil {
			o.held.log.WarnContext(settling, "gave up acknowledging, the message may come back", "error", err)
		}
		failpoint.Hit(failpoint.AfterAck)
	case <-o.msg.Nacked():
		defer o.release()
		o.endMsg()
		pause := time.Duration(0)
		if retry, ok := errors.AsType[*delivery.RetryError](o.decision); ok {
			pause = retry.After
		}
		if pause == 0 {
			pause = o.held.sub.cfg.Backoff(o.held.delivery.Number)
		}
		if errors.Is(context.Cause(working), ErrDraining) {
			pause = 0 // the message is not at fault, so another worker may take it at once
		}
		o.nak(settling, pause)
	case <-settling.Done():
		o.release()
	}
}

// putBack parks a snoozed message. After the end of pulling it gives the message back to the
// broker, because nothing is offered any more.
func (o *offer) putBack(settling context.Context, pause time.Duration) {
	if o.held.sub.repark(o.held, pause) {
		o.stopBeats() // keepParked sends them from now on
		return
	}
	defer o.release()
	o.nak(settling, 0)
}

// giveBack settles a message that no handler received.
func (o *offer) giveBack(settling context.Context) {
	defer o.release()
	o.nak(settling, 0)
}

func (o *offer) release() {
	o.endMsg()
	o.stopBeats()
	o.held.sub.drop(o.held)
}

// nak requests a redelivery after delay.
func (o *offer) nak(ctx context.Context, delay time.Duration) {
	h := o.held
	err := h.sub.identify(ctx)
	for tries := 1; err != nil && tries < nakTries && ctx.Err() == nil; tries++ {
		pause(ctx, tries) // the heartbeats continue
		err = h.sub.identify(ctx)
	}
	o.stopBeats() // a later heartbeat would undo the delay
	if err != nil {
		h.log.WarnContext(ctx, "not nacked, the message comes back after the ack wait", "error", err)
		return
	}
	h.nak(ctx, delay)
}

// nak is sent once, because a second one after a lost answer could affect the next delivery. If it
// fails, the message is redelivered after AckWait. The caller has looked up the stream's identity.
func (h *held) nak(ctx context.Context, delay time.Duration) {
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

func (h *held) ack(ctx context.Context) error {
	var err error
	for failures := 0; failures < ackTries; {
		// A consumer that was removed and made again does not answer for earlier deliveries. It delivers
		// the message again, and the handler finds the recorded outcome.
		if h.anotherConsumer() {
			return errors.New("the consumer was made anew, and delivers the message again")
		}
		connected := h.sub.nc.IsConnected()
		if err = h.sub.identify(ctx); err == nil {
			if !h.sameStream() {
				return errors.New("the stream was made anew, its sequences mean other messages")
			}
			if err = h.request(ctx, []byte("+ACK"), settleRequest); err == nil {
				return nil
			}
			if h.sub.bind(ctx) == nil && h.anotherConsumer() {
				continue
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

func nakBody(delay time.Duration) []byte {
	if delay <= 0 {
		return []byte("-NAK")
	}
	return fmt.Appendf(nil, `-NAK {"delay": %d}`, delay.Nanoseconds())
}

func (h *held) request(ctx context.Context, body []byte, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := h.sub.nc.RequestWithContext(ctx, h.raw.Reply, body)
	return err
}

// sameStream reports whether the stream is still the one that delivered h. In a stream that was
// removed and made again, an ack for the old sequence 5 would remove the new message 5. The caller
// calls identify first where that matters.
func (h *held) sameStream() bool {
	b, _ := h.sub.state()
	return b.identity == h.delivery.Stream
}

// anotherConsumer reports whether the consumer was removed and made again since it delivered h.
func (h *held) anotherConsumer() bool {
	b, _ := h.sub.state()
	return !b.made.Equal(h.made)
}
