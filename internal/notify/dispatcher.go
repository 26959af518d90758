package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgcourier/pgcourier/events"
)

// Dispatcher turns events into queued notifications. Repeating a dispatch changes nothing. It is
// safe for concurrent use.
type Dispatcher struct {
	Policy  Policy
	Records Records
	Queue   Queue
	// Now is the clock of records. Default: time.Now.
	Now func() time.Time
}

// Dispatch queues one notification for each recipient of an event. Errors are transient, and a
// repetition is safe.
func (d *Dispatcher) Dispatch(ctx context.Context, e Event, of events.Event) error {
	for _, t := range d.Policy.recipients(of) {
		n := Notification{Key: keyOf(e.Name(), t.channel, t.recipient), Channel: t.channel, Recipient: t.recipient, Event: e}
		if err := d.queue(ctx, n, of); err != nil {
			return fmt.Errorf("queue notification %s: %w", n.Key, err)
		}
	}
	return nil
}

// queue writes the record before it enqueues, so that a queued notification always has a record. If
// enqueuing fails, the event is delivered again.
func (d *Dispatcher) queue(ctx context.Context, n Notification, of events.Event) error {
	r, _, err := d.Records.Get(ctx, n.Key)
	switch {
	case errors.Is(err, ErrNotFound):
		project, request := of.IDs()
		err := d.Records.Put(ctx, newRecord(n, project, request, d.now()), 0)
		if err != nil && !errors.Is(err, ErrConflict) { // another process queues it too
			return err
		}
	case err != nil:
		return err
	case r.State != Waiting:
		return nil
	}
	return d.Queue.Enqueue(ctx, n)
}

// Replay puts a parked notification into the queue again and resets its number of attempts. e must
// be the outcome that the record names. A waiting notification keeps its time and is put into the
// queue if it is missing there. Errors: ErrNotFound; ErrSent, it was delivered; ErrConflict,
// another process is delivering it.
func (d *Dispatcher) Replay(ctx context.Context, key Key, e Event) (Record, error) {
	r, revision, err := d.Records.Get(ctx, key)
	if err != nil {
		return Record{}, fmt.Errorf("replay notification %s: %w", key, err)
	}
	if r.State == Sent {
		return r, fmt.Errorf("replay notification %s: %w", key, ErrSent)
	}
	if r.State == Parked {
		r.State, r.Tries, r.NextTryAt, r.UpdatedAt = Waiting, 0, time.Time{}, d.now()
		if err := d.Records.Put(ctx, r, revision); err != nil {
			return r, fmt.Errorf("replay notification %s: %w", key, err)
		}
	}
	n := Notification{Key: key, Channel: r.Channel, Recipient: r.Recipient, Event: e}
	if err := d.Queue.Enqueue(ctx, n); err != nil {
		return r, fmt.Errorf("replay notification %s: %w", key, err)
	}
	return r, nil
}

func (d *Dispatcher) now() time.Time {
	if d.Now == nil {
		return time.Now().UTC()
	}
	return d.Now()
}
