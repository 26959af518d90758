package handover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	// lookEvery is the pause between two queries for due deliveries: it bounds their delay after the
	// outcome.
	lookEvery = time.Second
	// Idle is how long a download may be silent before it counts as over.
	Idle = time.Hour
	// Settled is how long after its last byte a complete download is over. Until then a client after a
	// lost connection may request the end again.
	Settled = 10 * time.Second
	// batch is the most rows of one query.
	batch = 100
	// announceFor bounds one round of events: without the broker one publish of each kind waits for its own
	// timeout of 10 seconds.
	announceFor = 45 * time.Second
)

// Run issues the links that requests name in deliver, and publishes the changes of links, until ctx
// ends. Several processes may run it. After an error it tries again at the next look.
func (l *Links) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	remind := export.Reminder{After: 1}
	for {
		err := l.Look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			remind.End()
		} else if lasted, due := remind.Due(); due {
			l.config.Log.WarnContext(ctx, "links are not delivered or announced now, it is tried again", "for", lasted.Round(time.Second), "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Look is one round of Run.
func (l *Links) Look(ctx context.Context) error {
	return errors.Join(l.deliver(ctx), l.announce(ctx))
}

// deliver issues the due links. Without PublicURL they wait.
func (l *Links) deliver(ctx context.Context) error {
	if l.config.PublicURL == "" {
		return nil
	}
	due, err := l.config.Records.DueDeliveries(ctx, batch)
	for _, d := range due {
		err = errors.Join(err, l.deliverOne(ctx, d))
	}
	return err
}

func (l *Links) deliverOne(ctx context.Context, d Delivery) error {
	r, err := l.config.Read(d.Payload)
	if err != nil {
		return fmt.Errorf("read the delivery of %s: %w", d.ID, err)
	}
	_, err = l.config.Records.IssueLink(ctx, Link{
		ID: deliveryID(d.ID, d.Attempt), Project: d.Project, Request: d.Request, IssuedBy: r.By, OfRequest: true,
		NotifyEmail: r.NotifyEmail, MaxDownloads: r.MaxDownloads,
	}, min(r.TTL, MaxTTL))
	if err != nil && !errors.Is(err, ErrNoExport) { // it was deleted meanwhile
		return fmt.Errorf("issue the link of %s: %w", d.ID, err)
	}
	return l.config.Records.Delivered(ctx, d.ID)
}

// announce publishes the changes of links. It goes on past a change that fails, so that one refused
// event does not hold back the events of other projects. The broker may refuse all events of one kind by not
// answering: after such a failure the others of this kind wait for the next round.
func (l *Links) announce(ctx context.Context) error {
	if l.config.Announcer == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, announceFor)
	defer cancel()
	changes, err := l.config.Records.Changes(ctx, Idle, batch)
	if err != nil {
		return err
	}
	failed := 0
	waits := map[string]bool{}
	for _, c := range changes {
		if waits[c.kind()] {
			continue
		}
		if one := l.announceOne(ctx, c); one != nil {
			failed++
			waits[c.kind()] = errors.Is(one, export.ErrUnavailable)
			if err == nil {
				err = one
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("announce changes of links, %d failed: %w", failed, err)
	}
	return nil
}

func (l *Links) announceOne(ctx context.Context, c Change) error {
	err := l.config.Announcer.Announce(ctx, c)
	if err != nil && !errors.Is(err, ErrNoEvent) {
		return err
	}
	if noteErr := l.config.Records.ChangeAnnounced(ctx, c); noteErr != nil || err == nil {
		return noteErr
	}
	id, link := c.Link.Of(), c.Link.ID
	if c.Download != nil {
		id, link = c.Download.ID, c.Download.Link
	}
	l.config.Log.ErrorContext(ctx, "a change of a link is not published: it has no valid event", "project_id", id.Project, "request_id", id.Request, "link_id", link, "error", err)
	return nil
}
