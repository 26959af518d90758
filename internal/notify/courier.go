package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pgcourier/pgcourier/events"
)

// DefaultTimeout bounds one attempt.
const DefaultTimeout = 30 * time.Second

// firstWarning is the failed write of a record that is logged first. With the pauses between them it
// comes after 0.7 s, when a reconnection to the broker would be over.
const firstWarning = 4

// CourierConfig describes a Courier.
type CourierConfig struct {
	// Senders has a sender for each configured channel. Required.
	Senders map[Channel]Sender
	// Policy is checked at each attempt. Required.
	Policy Policy
	// Records is required.
	Records Records
	// Link returns the URL of a download link. Nil: this process cannot send links. The error is a
	// *PermanentError if a retry cannot help.
	Link func(events.LinkIssued) (string, error)
	// Pause is the pause after the first failed attempt. It doubles with each attempt, up to 720 times
	// its value. Default: DefaultPause.
	Pause time.Duration
	// Tries is the number of attempts after which a notification is parked. Default: DefaultTries.
	Tries int
	// Timeout bounds one attempt. Default: DefaultTimeout.
	Timeout time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Log receives failures. Default: slog.Default().
	Log *slog.Logger
}

// Courier delivers notifications. It is safe for concurrent use.
type Courier struct{ CourierConfig }

// NewCourier returns a courier.
func NewCourier(c CourierConfig) *Courier {
	c.Pause = cmp.Or(c.Pause, DefaultPause)
	c.Tries = cmp.Or(c.Tries, DefaultTries)
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	if c.Now == nil {
		c.Now = func() time.Time { return time.Now().UTC() }
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Courier{c}
}

// Deliver makes one attempt if one is due. done means that n needs no more work: it was sent, now
// or before, or it is parked. Otherwise n must be delivered again after pause. An error means that
// the state of n could not be read or written. A new delivery after a short pause is then safe.
func (c *Courier) Deliver(ctx context.Context, n Notification) (done bool, pause time.Duration, err error) {
	r, revision, err := c.read(ctx, n)
	if err != nil {
		return false, 0, err
	}
	if done, pause := c.notDue(r); done || pause > 0 {
		return done, pause, nil
	}
	return c.finish(ctx, r, revision, c.try(ctx, n))
}

// read returns the record of n and its revision.
func (c *Courier) read(ctx context.Context, n Notification) (Record, uint64, error) {
	r, revision, err := c.Records.Get(ctx, n.Key)
	if errors.Is(err, ErrNotFound) {
		// The record was deleted because of its age. The notification is delivered as a new one.
		project, request := "", ""
		if of, err := n.Event.Decode(); err == nil {
			project, request = of.IDs()
		}
		return newRecord(n, project, request, c.Now()), 0, nil
	}
	if err != nil {
		return Record{}, 0, fmt.Errorf("read the record of notification %s: %w", n.Key, err)
	}
	return r, revision, nil
}

// notDue reports that no attempt is due: r is final, or its next attempt has to wait.
func (c *Courier) notDue(r Record) (done bool, pause time.Duration) {
	if r.State != Waiting {
		return true, 0
	}
	// A restarted broker delivers earlier than requested.
	return false, max(r.NextTryAt.Sub(c.Now()), 0)
}

// finish records the result of an attempt. It returns what Deliver returns.
func (c *Courier) finish(ctx context.Context, r Record, revision uint64, fault error) (done bool, pause time.Duration, err error) {
	if fault != nil && ctx.Err() != nil {
		return false, 0, fmt.Errorf("deliver notification %s: %w", r.Key, context.Cause(ctx))
	}
	pause = c.judge(ctx, &r, fault)
	if err := c.record(ctx, r, revision); err != nil {
		return false, 0, fmt.Errorf("record notification %s as %s: %w", r.Key, r.State, err)
	}
	return r.State != Waiting, pause, nil
}

func (c *Courier) try(ctx context.Context, n Notification) error {
	sender := c.Senders[n.Channel]
	if sender == nil {
		return &PermanentError{Reason: "the channel is not set up"}
	}
	if err := c.Policy.permits(n); err != nil {
		return err
	}
	if l := n.Event.LinkIssued(); l != nil {
		var err error
		if n.Link, err = c.link(*l); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	return sender.Send(ctx, n)
}

// judge writes the result of an attempt into r and returns the pause before the next one.
func (c *Courier) judge(ctx context.Context, r *Record, fault error) time.Duration {
	now := c.Now()
	r.UpdatedAt, r.NextTryAt = now, time.Time{}
	log := c.Log.With("notification", string(r.Key), "channel", string(r.Channel), "project_id", r.ProjectID, "request_id", r.RequestID)
	if fault == nil {
		r.State, r.Cause = Sent, ""
		log.InfoContext(ctx, "notification sent")
		return 0
	}
	r.Tries++
	r.Cause = cause(fault)
	if _, permanent := errors.AsType[*PermanentError](fault); permanent {
		r.State = Parked
		log.WarnContext(ctx, "notification parked", "cause", r.Cause)
		return 0
	}
	if r.Tries >= c.Tries {
		r.State = Parked
		log.WarnContext(ctx, "notification parked, its tries are used up", "tries", r.Tries, "cause", r.Cause)
		return 0
	}
	pause := c.pauseAfter(r.Tries, fault)
	r.NextTryAt = now.Add(pause)
	log.InfoContext(ctx, "notification not delivered, it is tried again", "tries", r.Tries, "pause", pause, "cause", r.Cause)
	return pause
}

// record stores the result of an attempt. It retries until ctx ends, because a sent notification without a
// record would be sent again. It logs a failure that lasts, at growing intervals. A record of a sent
// notification replaces a record from another process. No other record replaces one.
func (c *Courier) record(ctx context.Context, r Record, revision uint64) error {
	for failures := 0; ; {
		err := c.Records.Put(ctx, r, revision)
		if err == nil {
			return nil
		}
		if errors.Is(err, ErrConflict) {
			var there Record
			there, revision, err = c.Records.Get(ctx, r.Key)
			if err == nil && there.State == Sent {
				return nil
			}
			if errors.Is(err, ErrNotFound) {
				revision, err = 0, nil
			}
		}
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return err
		}
		failures++
		if failures >= firstWarning && failures&(failures-1) == 0 { // a power of two: each interval is twice the last
			c.Log.WarnContext(ctx, "the result of a notification is not recorded, it is tried again: until then the notification holds a slot, and after a restart it is sent again",
				"notification", string(r.Key), "channel", string(r.Channel), "state", string(r.State), "failures", failures, "error", err)
		}
		pause(ctx, failures)
	}
}

// pause waits between two tries to reach the records.
func pause(ctx context.Context, failures int) {
	const first, limit = 100 * time.Millisecond, 5 * time.Second
	t := time.NewTimer(min(first<<min(failures-1, 10), limit))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// link returns the URL of a link that is still valid.
func (c *Courier) link(l events.LinkIssued) (string, error) {
	switch {
	case c.Link == nil:
		return "", errors.New("this notifier makes no links: set PUBLIC_URL, and LINK_KEY as at the API")
	case !l.ExpiresAt.After(c.Now()):
		return "", &PermanentError{Reason: "the link has expired"}
	}
	return c.Link(l)
}
