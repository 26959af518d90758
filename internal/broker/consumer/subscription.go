package consumer

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

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	// The pauses between attempts after a failure or a refusal of the broker.
	failurePauseFirst = 100 * time.Millisecond
	failurePauseLimit = 5 * time.Second
)

// subscription is one call of Subscribe.
type subscription struct {
	cfg     Config
	binding broker.Binding
	nc      *nats.Conn
	log     *slog.Logger
	out     chan *message.Message
	ended   chan struct{}

	refreshing chan struct{} // a lock with a context; holds one token
	stale      atomic.Bool   // the binding must be refreshed
	seen       atomic.Uint64 // the connection's count of reconnects when it was bound
	failing    failing

	freed chan struct{} // holds a token if a slot became free since the last check
	woken chan struct{} // holds a token if a parked message may have become startable

	handlers  sync.WaitGroup                   // running handlers and their settlement
	gathering sync.WaitGroup                   // running calls of gather
	stopping  <-chan struct{}                  // closed when pulling ends
	begin     func(h *held, joined any) *offer // see held.begin
	attend    func(o *offer)                   // see offer.attend

	mu     sync.Mutex
	bound  bound
	link   chan struct{} // closed when the connection is lost
	turns  turns
	busy   map[*held]struct{} // started
	slots  map[*held]int      // number of messages in each slot, by the message that took it
	closed bool               // nothing is started or parked any more
}

func newSubscription(c Config, b broker.Binding) *subscription {
	return &subscription{
		cfg: c, binding: b, nc: c.JetStream.Conn(),
		log:        c.Logger.With("stream", b.Stream, "consumer", b.Consumer),
		out:        make(chan *message.Message),
		ended:      make(chan struct{}),
		refreshing: make(chan struct{}, 1),
		link:       make(chan struct{}),
		freed:      make(chan struct{}, 1),
		woken:      make(chan struct{}, 1),
		turns:      newTurns(),
		busy:       map[*held]struct{}{},
		slots:      map[*held]int{},
	}
}

// run pulls until pulling ends, then drains. base carries the subscriber's values and never ends.
func (s *subscription) run(pulling, base context.Context) {
	working, endWork := context.WithCancelCause(base) // the messages' contexts
	settling, endSettling := context.WithCancel(base) // heartbeats, acks, naks
	defer endSettling()
	defer endWork(nil)

	status := s.nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.DISCONNECTED)
	var watching sync.WaitGroup
	watching.Go(func() { s.watch(settling, status) })

	watching.Go(func() { s.keepParked(settling) })

	s.stopping = pulling.Done()
	s.begin = func(h *held, joined any) *offer { return h.begin(settling, working, joined) }
	s.attend = func(o *offer) { s.handlers.Go(func() { o.attend(settling, working) }) }
	s.dispatch(pulling, settling)
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.gathering.Wait()
	close(s.out)
	s.handlers.Go(func() { s.returnParked(settling) })

	idle := make(chan struct{})
	go func() { s.handlers.Wait(); close(idle) }()
	if !within(idle, s.cfg.DrainTimeout) {
		endWork(ErrDraining)
		if !within(idle, s.cfg.SettleTimeout) {
			s.log.WarnContext(base, "handlers outlived the drain, their messages come back after the ack wait", "messages", s.started())
			endSettling()
		}
	}
	<-idle
	endSettling()
	s.nc.RemoveStatusListener(status)
	watching.Wait()
}

// identifyBehind looks up the stream identity of pulled messages. It keeps them alive while the
// broker answers, however slow the look-up is, so that a slow broker costs no delivery. After the
// end of pulling it tries once, so that the messages can be given back.
func (s *subscription) identifyBehind(ctx context.Context, pulled []*nats.Msg, ackWait time.Duration) error {
	for {
		look, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackWait/3)
		err := s.identify(look)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		beat, cancel := context.WithTimeout(ctx, ackWait/3)
		var failed atomic.Pointer[error]
		each(pulled, func(m *nats.Msg) {
			if _, err := s.nc.RequestWithContext(beat, m.Reply, []byte("+WPI")); err != nil {
				failed.Store(&err)
			}
		})
		cancel()
		if beatErr := failed.Load(); beatErr != nil {
			return errors.Join(err, fmt.Errorf("keep the message alive: %w", *beatErr))
		}
	}
}

// watch cancels the waiting pull when the connection is lost, because its request is lost or would
// keep a message from other workers. It calls refresh when the connection is restored, because a
// worker without a free slot would not call it otherwise.
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
					s.logFailure(ctx, err)
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

// logFailure logs the first failure of a series, and then a failure at growing intervals.
func (s *subscription) logFailure(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if lasted, due := s.failing.due(); due {
		s.log.WarnContext(ctx, "cannot pull messages, trying again", "for", lasted.Round(time.Second), "error", err)
	}
}

// logRecovered logs the end of a series of failures.
func (s *subscription) logRecovered(ctx context.Context) {
	if s.failing.end() {
		s.log.InfoContext(ctx, "pulling messages again")
	}
}

// failing is a series of failures. It is safe for concurrent use.
type failing struct {
	mu     sync.Mutex
	remind export.Reminder
}

// due records a failure. It returns the duration of the series, and whether a line is due: for the first
// failure, and then at growing intervals.
func (f *failing) due() (lasted time.Duration, due bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remind.After = 1
	return f.remind.Due()
}

// end records that the series is over, and reports whether there was one.
func (f *failing) end() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, was := f.remind.End()
	return was
}

func pause(ctx context.Context, failures int) {
	t := time.NewTimer(Exponential(failurePauseFirst, failurePauseLimit, nil)(failures + 1))
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
