package replay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/pgcourier/pgcourier/events"
)

// Publisher publishes replays, waiting where a project's queue is full.
type Publisher struct {
	// Publish queues one request; events.Client.RequestBackup does.
	Publish func(ctx context.Context, r events.Requested) (requestID string, err error)
	// Rate bounds how fast. Default: as fast as the broker takes them.
	Rate *rate.Limiter
	// Report is told after each step how many were published and which project, if any,
	// is waited for. Default: no callback.
	Report func(published int, full string)
}

const (
	// A full queue is tried again after these pauses, growing: there is room once an
	// export ends.
	firstPause, longestPause = 200 * time.Millisecond, 5 * time.Second
)

// lane is what is left to publish of one project, in order.
type lane struct {
	left  []events.Requested
	pause time.Duration
	next  time.Time
}

// Run publishes all requests. A full queue holds up its own project only. It returns what
// it has published, which is all of them unless err says why not: ctx ended, or the broker
// cannot be reached or refuses one.
func (p *Publisher) Run(ctx context.Context, requests []events.Requested) (published []events.Requested, err error) {
	lanes, order := map[string]*lane{}, []string(nil)
	for _, r := range requests {
		if lanes[r.ProjectID] == nil {
			lanes[r.ProjectID] = &lane{}
			order = append(order, r.ProjectID)
		}
		lanes[r.ProjectID].left = append(lanes[r.ProjectID].left, r)
	}
	for len(published) < len(requests) {
		var wake time.Time // when the next lane may be tried again
		full, moved := "", false
		for _, project := range order {
			l := lanes[project]
			if len(l.left) == 0 {
				continue
			}
			if time.Now().Before(l.next) {
				if wake.IsZero() || l.next.Before(wake) {
					wake, full = l.next, project
				}
				continue
			}
			ok, err := p.one(ctx, l)
			if err != nil {
				return published, err
			}
			if moved = true; ok {
				published = append(published, l.left[0])
				l.left = l.left[1:]
				p.report(len(published), "")
			}
		}
		if !moved {
			p.report(len(published), full)
			if err := sleep(ctx, time.Until(wake)); err != nil {
				return published, fmt.Errorf("the queue of project %s is full: %w", full, err)
			}
		}
	}
	return published, nil
}

// one publishes the first of a lane; false: its queue is full.
func (p *Publisher) one(ctx context.Context, l *lane) (bool, error) {
	if p.Rate != nil {
		if err := p.Rate.Wait(ctx); err != nil {
			return false, cause(ctx, err)
		}
	}
	_, err := p.Publish(ctx, l.left[0])
	if errors.Is(err, events.ErrQueueFull) {
		l.pause = min(max(2*l.pause, firstPause), longestPause)
		l.next = time.Now().Add(l.pause/2 + rand.N(l.pause)) //nolint:gosec // jitter, not a secret
		return false, nil
	}
	if err != nil {
		return false, cause(ctx, err)
	}
	l.pause = 0
	return true, nil
}

func (p *Publisher) report(published int, full string) {
	if p.Report != nil {
		p.Report(published, full)
	}
}

// cause is why ctx ended, if it has, else err.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// ParseRate reads a rate such as 10/s, 30/m or 2/h. Empty: nil, no bound.
func ParseRate(text string) (*rate.Limiter, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // no bound is an ordinary answer
	}
	count, unit, _ := strings.Cut(text, "/")
	per, known := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	n, err := strconv.ParseFloat(count, 64)
	if err != nil || !known || !(n > 0 && n <= 1e6) {
		return nil, fmt.Errorf("%q is not a number and /s, /m or /h, such as 10/s", text)
	}
	return rate.NewLimiter(rate.Limit(n/per.Seconds()), 1), nil
}
