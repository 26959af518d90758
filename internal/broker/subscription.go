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
)

const (
	// Between tries of what the broker refused or could not do.
	troublePauseFirst = 100 * time.Millisecond
	troublePauseLimit = 5 * time.Second
)

// subscription is one call of Subscribe.
type subscription struct {
	cfg     SubscriberConfig
	binding Binding
	nc      *nats.Conn
	log     *slog.Logger
	out     chan *message.Message
	ended   chan struct{}

	refreshing chan struct{} // a lock that a context can give up on; holds one token
	stale      atomic.Bool   // what is bound must be looked at again
	seen       atomic.Uint64 // the connection's count of reconnects when it was bound
	troubled   atomic.Bool   // trouble was logged, its end was not

	mu    sync.Mutex
	bound bound
	link  chan struct{} // closed when the connection is lost
	held  map[*held]struct{}
}

func newSubscription(c SubscriberConfig, b Binding) *subscription {
	return &subscription{
		cfg: c, binding: b, nc: c.JetStream.Conn(),
		log:        c.Logger.With("stream", b.Stream, "consumer", b.Consumer),
		out:        make(chan *message.Message),
		ended:      make(chan struct{}),
		refreshing: make(chan struct{}, 1),
		link:       make(chan struct{}),
		held:       map[*held]struct{}{},
	}
}

// run pulls until pulling ends, then drains. base carries the subscriber's values and
// never ends by itself.
func (s *subscription) run(pulling, base context.Context) {
	working, endWork := context.WithCancelCause(base) // the messages' contexts
	settling, endSettling := context.WithCancel(base) // heartbeats, acks, naks
	defer endSettling()
	defer endWork(nil)

	status := s.nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.DISCONNECTED)
	var watching sync.WaitGroup
	watching.Go(func() { s.watch(settling, status) })

	var pullers, handlers sync.WaitGroup
	for range s.cfg.Slots {
		pullers.Go(func() { s.slot(pulling, working, settling, &handlers) })
	}
	pullers.Wait()
	close(s.out)

	idle := make(chan struct{})
	go func() { handlers.Wait(); close(idle) }()
	if !within(idle, s.cfg.DrainTimeout) {
		endWork(ErrDraining)
		if !within(idle, s.cfg.SettleTimeout) {
			s.log.WarnContext(base, "handlers outlived the drain, their messages come back after the ack wait", "messages", len(s.inFlight()))
			endSettling()
		}
	}
	<-idle
	endSettling()
	s.nc.RemoveStatusListener(status)
	watching.Wait()
}

// slot holds at most one message at a time, until pulling ends.
func (s *subscription) slot(pulling, working, settling context.Context, handlers *sync.WaitGroup) {
	failures := 0
	for pulling.Err() == nil {
		h, err := s.next(pulling)
		if pulling.Err() != nil && h == nil {
			return
		}
		if err != nil {
			s.trouble(pulling, err)
			pause(pulling, failures)
			failures++
			continue
		}
		failures = 0
		s.calm(pulling)
		if h == nil {
			continue
		}
		if !s.offer(pulling, working, settling, h) {
			return
		}
		handlers.Go(func() { h.attend(settling, working) })
		select {
		case <-h.settled:
		case <-pulling.Done():
			return
		}
	}
}

// offer starts the heartbeats of h and hands it to the subscriber's channel. When pulling
// ends first, the message goes back at once: its delivery is spent, but no time is.
func (s *subscription) offer(pulling, working, settling context.Context, h *held) bool {
	h.begin(settling, working)
	// Of two ready cases select takes either: nothing is handed out after the end.
	if pulling.Err() == nil {
		select {
		case s.out <- h.msg:
			return true
		case <-pulling.Done():
		}
	}
	h.giveBack(settling)
	return false
}

// next pulls one message; nil without an error when none came.
func (s *subscription) next(ctx context.Context) (*held, error) {
	if err := s.cfg.Ready(ctx); err != nil {
		return nil, fmt.Errorf("wait until ready: %w", err)
	}
	if err := s.refresh(ctx); err != nil {
		return nil, err
	}
	b, link := s.state()
	m, err := s.pull(ctx, link, b)
	if err != nil {
		s.stale.Store(true)
		return nil, err
	}
	if m == nil {
		return nil, nil //nolint:nilnil // no message in this pull is an ordinary answer
	}
	// The stream may have been made anew since it was bound, with nothing on the
	// connection to show it. A message whose identity cannot be told is left to AckWait:
	// under a wrong event id it would be taken for another request.
	if err := s.identifyBehind(ctx, m, b.ackWait); err != nil {
		return nil, err
	}
	b, _ = s.state()
	d, err := deliveryOf(m, b)
	if err != nil {
		return nil, err
	}
	return s.hold(m, d, b), nil
}

// identifyBehind looks up which life of the stream a pulled message is of, and keeps the
// message alive for as long as the broker answers, however slow it is with the look-up: a
// delivery is not spent on a slow broker. After the end of pulling it tries once, so that
// the message can be given back.
func (s *subscription) identifyBehind(ctx context.Context, m *nats.Msg, ackWait time.Duration) error {
	for {
		look, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackWait/3)
		err := s.identify(look)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		beat, cancel := context.WithTimeout(ctx, ackWait/3)
		_, beatErr := s.nc.RequestWithContext(beat, m.Reply, []byte("+WPI"))
		cancel()
		if beatErr != nil {
			return errors.Join(err, fmt.Errorf("keep the message alive: %w", beatErr))
		}
	}
}

// revive keeps everything held alive, at once and side by side.
func (s *subscription) revive(ctx context.Context) {
	var all sync.WaitGroup
	for _, h := range s.inFlight() {
		all.Go(func() { h.revive(ctx) })
	}
	all.Wait()
}

// watch aborts the waiting pulls when the connection is lost, because their requests are
// lost or hold a message back, and refreshes when it is restored, because a worker whose
// slots are all busy would not look otherwise.
func (s *subscription) watch(ctx context.Context, status <-chan nats.Status) {
	for {
		select {
		case <-ctx.Done():
			return
		case now, open := <-status:
			switch {
			case !open:
				return
			case now != nats.CONNECTED:
				s.mu.Lock()
				close(s.link)
				s.link = make(chan struct{})
				s.mu.Unlock()
			default:
				if err := s.refresh(ctx); err != nil {
					s.trouble(ctx, err)
				}
			}
		}
	}
}

func (s *subscription) state() (bound, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bound, s.link
}

func (s *subscription) inFlight() []*held {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*held, 0, len(s.held))
	for h := range s.held {
		all = append(all, h)
	}
	return all
}

// trouble logs the first failure of a row, not each.
func (s *subscription) trouble(ctx context.Context, err error) {
	if ctx.Err() == nil && !s.troubled.Swap(true) {
		s.log.WarnContext(ctx, "cannot pull messages, trying again", "error", err)
	}
}

func (s *subscription) calm(ctx context.Context) {
	if s.troubled.Swap(false) {
		s.log.InfoContext(ctx, "pulling messages again")
	}
}

func pause(ctx context.Context, failures int) {
	t := time.NewTimer(Exponential(troublePauseFirst, troublePauseLimit, nil)(failures + 1))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func within(done <-chan struct{}, limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}
