package notify

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

const (
	// DefaultDigest is the default window of digests.
	DefaultDigest = time.Minute
	// DigestMost is the number of notifications that wait for a digest at most, over all recipients.
	DigestMost = 46
)

// Gatherer delivers notifications with a Courier, and brings mails to one operator together. The
// first mail to an operator is sent at once. The ones that follow it within a window wait for the end
// of the window and go as one mail, a digest. Each notification keeps a record and retries of its own.
//
// Deliver blocks while a notification waits for its digest. A Gatherer is safe for concurrent use.
type Gatherer struct {
	courier *Courier
	window  time.Duration
	ending  <-chan struct{}
	sends   chan struct{} // holds one value for each attempt in progress

	mu         sync.Mutex
	recipients map[string]*recipient
	waits      int // notifications that wait for a digest
}

// recipient is one operator.
type recipient struct {
	free time.Time // the end of the window of the last mail
	next *digest   // nil: nothing waits
}

// digest is a group of notifications with one recipient.
type digest struct {
	members []*member
	full    chan struct{} // closed when it must not wait any longer
	sent    chan struct{} // closed when each member has its result
}

// member is one notification of a digest.
type member struct {
	Notification
	done  bool
	pause time.Duration
	err   error
}

// NewGatherer returns a gatherer. Up to slots attempts are made at the same time. Digests are sent
// before the end of their window when ending is closed. A window of 0 makes no digests.
func NewGatherer(c *Courier, window time.Duration, slots int, ending <-chan struct{}) *Gatherer {
	return &Gatherer{courier: c, window: window, ending: ending, sends: make(chan struct{}, slots), recipients: map[string]*recipient{}}
}

// Deliver is like Courier.Deliver.
func (g *Gatherer) Deliver(ctx context.Context, n Notification) (done bool, pause time.Duration, err error) {
	sender, can := g.courier.Senders[n.Channel].(DigestSender)
	if !can || g.window <= 0 || !g.courier.Policy.gathers(n) {
		return g.alone(ctx, n)
	}
	r, _, err := g.courier.read(ctx, n)
	if err != nil {
		return false, 0, err
	}
	if done, pause := g.courier.notDue(r); done || pause > 0 { // it must not wait for others first
		return done, pause, nil
	}
	m, of, first, until := g.join(n)
	switch {
	case of == nil:
		return g.alone(ctx, n)
	case first:
		g.await(ctx, of, until)
		g.send(ctx, n.Recipient, of, sender)
	default:
		select {
		case <-of.sent:
		case <-ctx.Done():
			return false, 0, context.Cause(ctx)
		}
	}
	return m.done, m.pause, m.err
}

// alone makes an attempt for one notification when a slot is free.
func (g *Gatherer) alone(ctx context.Context, n Notification) (done bool, pause time.Duration, err error) {
	select {
	case g.sends <- struct{}{}:
		defer func() { <-g.sends }()
	case <-ctx.Done():
		return false, 0, context.Cause(ctx)
	}
	return g.courier.Deliver(ctx, n)
}

// join adds n to the digest of its recipient. first reports that n is the first one there, which
// sends the digest after until. No digest: n is sent at once, and begins a window. The broker delivers
// n again after heartbeats that were not confirmed: both deliveries share one member.
func (g *Gatherer) join(n Notification) (m *member, of *digest, first bool, until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	to := g.recipients[n.Recipient]
	if to == nil {
		to = &recipient{}
		g.recipients[n.Recipient] = to
	}
	now := g.courier.Now()
	if to.next == nil && !now.Before(to.free) {
		to.free = now.Add(g.window)
		return nil, nil, false, time.Time{}
	}
	if first = to.next == nil; first {
		to.next = &digest{full: make(chan struct{}), sent: make(chan struct{})}
	}
	of, until = to.next, to.free
	if at := slices.IndexFunc(of.members, func(m *member) bool { return m.Key == n.Key }); at >= 0 {
		return of.members[at], of, false, until
	}
	m = &member{Notification: n}
	of.members = append(of.members, m)
	if g.waits++; g.waits >= DigestMost {
		g.close(to)
	}
	return m, of, first, until
}

// close lets no more notifications join the waiting digest of a recipient.
func (g *Gatherer) close(to *recipient) {
	g.waits -= len(to.next.members)
	close(to.next.full)
	to.next, to.free = nil, g.courier.Now().Add(g.window)
}

// await waits until a digest has to be sent: at the end of the window, when it is full, or at the end
// of the notifier.
func (g *Gatherer) await(ctx context.Context, of *digest, until time.Time) {
	t := time.NewTimer(until.Sub(g.courier.Now()))
	defer t.Stop()
	select {
	case <-t.C:
	case <-of.full:
	case <-g.ending:
	case <-ctx.Done():
	}
}

// send makes one attempt for a digest and gives each member its result.
func (g *Gatherer) send(ctx context.Context, to string, of *digest, sender DigestSender) {
	g.mu.Lock()
	if r := g.recipients[to]; r.next == of {
		g.close(r)
	}
	g.mu.Unlock()
	defer close(of.sent)
	select {
	case g.sends <- struct{}{}:
		defer func() { <-g.sends }()
	case <-ctx.Done():
		for _, m := range of.members {
			m.err = context.Cause(ctx)
		}
		return
	}
	g.courier.deliverAll(ctx, of.members, sender)
}

// deliverAll makes one attempt for members with the same recipient.
func (c *Courier) deliverAll(ctx context.Context, members []*member, sender DigestSender) {
	type attempt struct {
		*member
		record   Record
		revision uint64
	}
	var due []attempt
	var all []Notification
	for _, m := range members {
		a := attempt{member: m}
		// Another process may have sent it meanwhile.
		if a.record, a.revision, m.err = c.read(ctx, m.Notification); m.err != nil {
			continue
		}
		if m.done, m.pause = c.notDue(a.record); m.done || m.pause > 0 {
			continue
		}
		due, all = append(due, a), append(all, m.Notification)
	}
	var fault error
	together := len(all) > 1
	if together {
		fault = c.tryDigest(ctx, all, sender)
		if _, refused := errors.AsType[*PermanentError](fault); refused {
			together = false // the server may take each, for instance when a digest is too large
		}
	}
	for _, a := range due {
		if !together {
			fault = c.try(ctx, a.Notification)
		}
		a.done, a.pause, a.err = c.finish(ctx, a.record, a.revision, fault)
	}
}

// tryDigest sends all in one message. The policy permits them: they are to an operator.
func (c *Courier) tryDigest(ctx context.Context, all []Notification, sender DigestSender) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	return sender.SendDigest(ctx, all)
}
