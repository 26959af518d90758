package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
)

// History is how requests ended.
type History interface {
	// Failed returns the failed outcomes that were stored since a time, oldest first: of
	// one project, or of all if project is empty.
	Failed(ctx context.Context, project string, since time.Time) ([]events.Failed, error)
	// Outcome returns a request's outcome; the zero Outcome if it has none.
	Outcome(ctx context.Context, project, request string) (events.Outcome, error)
	// Projects returns the projects that have an outcome or a start of a request id.
	Projects(ctx context.Context, request string) ([]string, error)
}

// Queue is where requests wait, and stay until they have ended.
type Queue interface {
	// Queued returns the request ids of one project that wait or run.
	Queued(ctx context.Context, project string) (map[string]bool, error)
	// Holders returns the projects that have a request with an id that waits or runs.
	Holders(ctx context.Context, request string) ([]string, error)
}

// Verdict is what a plan says of one failed request.
type Verdict string

// The verdicts.
const (
	Due         Verdict = "due"         // to be asked for again
	Completed   Verdict = "completed"   // an earlier replay has completed: nothing to do
	Underway    Verdict = "underway"    // an earlier replay waits or runs
	Undecodable Verdict = "undecodable" // the request could not be decoded, so there is none to repeat
)

// Item is the latest failure of one chain of replays, and what is to be done about it.
type Item struct {
	Failed  events.Failed
	Verdict Verdict
	// Next is the replay: to be published when Due, else the earlier one that Completed
	// or is Underway.
	Next events.Requested
}

var (
	// ErrUnknown says that nothing is known of the request.
	ErrUnknown = errors.New("no such request")
	// ErrAmbiguous says that several projects use the request id.
	ErrAmbiguous = errors.New("several projects use the request id")
	// ErrNotFailed says that the request has completed, or has not ended.
	ErrNotFailed = errors.New("the request has not failed")
	// ErrNotReplayable says that the request cannot be decoded, or that its replay waits or runs.
	ErrNotReplayable = errors.New("the request cannot be replayed")
)

// Refusal is an ErrNotReplayable of an item that cannot be replayed now. nil: it is due, or a
// replay of it completed.
func (i Item) Refusal() error {
	name := i.Failed.ProjectID + "/" + i.Failed.RequestID
	switch i.Verdict {
	case Undecodable:
		return &refusal{fmt.Sprintf("%s cannot be replayed: the request could not be decoded (%s)", name, i.Failed.Code)}
	case Underway:
		return &refusal{fmt.Sprintf("%s is replayed already: %s waits or runs", name, i.Next.RequestID)}
	case Due, Completed:
	}
	return nil
}

// refusal is an ErrNotReplayable in words of its own.
type refusal struct{ text string }

func (e *refusal) Error() string { return e.text }

// Is implements errors.Is.
func (e *refusal) Is(target error) bool { return target == ErrNotReplayable }

// Filter narrows which failures are replayed.
type Filter struct {
	Project string        // exactly this one; empty: all
	Code    codes.Code    // the latest failure's; empty: any but CodeCancelled, which was intended
	Since   time.Duration // failed within this time, by the broker's clock
	// Permanent and Transient ask for failures that trying again can, or cannot, help by
	// itself; both or none: all.
	Permanent, Transient bool
}

func (f Filter) takes(failed events.Failed) bool {
	switch {
	case f.Code != "" && failed.Code != f.Code:
		return false
	case f.Code == "" && failed.Code == codes.Cancelled:
		return false
	}
	return f.Permanent == f.Transient || failed.Permanent == f.Permanent
}

// Planner finds out what there is to replay. It publishes nothing.
type Planner struct {
	History History
	Queue   Queue
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// One plans the replay of one request or of one of its replays. project may be empty when
// only one uses the id. ErrUnknown, ErrAmbiguous, ErrNotFailed.
func (p *Planner) One(ctx context.Context, project, request string) (Item, error) {
	project, waits, err := p.resolve(ctx, project, request)
	if err != nil {
		return Item{}, err
	}
	out, err := p.History.Outcome(ctx, project, request)
	switch {
	case err != nil:
		return Item{}, err
	case out.Completed != nil:
		return Item{}, fmt.Errorf("%s/%s: %w: it has completed", project, request, ErrNotFailed)
	case out.Failed == nil && waits:
		return Item{}, fmt.Errorf("%s/%s: %w: it still waits or runs", project, request, ErrNotFailed)
	case out.Failed == nil:
		return Item{}, fmt.Errorf("%s/%s: %w", project, request, ErrUnknown)
	}
	queued, err := p.Queue.Queued(ctx, project)
	if err != nil {
		return Item{}, err
	}
	return p.decide(ctx, *out.Failed, queued)
}

// resolve finds the project, and whether the request is known to have begun or to wait.
func (p *Planner) resolve(ctx context.Context, project, request string) (string, bool, error) {
	// The queue first: what leaves it meanwhile has an outcome then.
	holders, err := p.Queue.Holders(ctx, request)
	if err != nil {
		return "", false, err
	}
	seen, err := p.History.Projects(ctx, request)
	if err != nil {
		return "", false, err
	}
	all := append(holders, seen...)
	slices.Sort(all)
	all = slices.Compact(all)
	switch {
	case project != "":
		return project, slices.Contains(all, project), nil
	case len(all) == 0:
		return "", false, fmt.Errorf("%s: %w", request, ErrUnknown)
	case len(all) > 1:
		return "", false, fmt.Errorf("%s: %w", request, ErrAmbiguous)
	}
	return all[0], true, nil
}

// All plans the replays of all failures that f takes, one for each chain, oldest first.
func (p *Planner) All(ctx context.Context, f Filter) ([]Item, error) {
	now := time.Now
	if p.Now != nil {
		now = p.Now
	}
	failures, err := p.History.Failed(ctx, f.Project, now().Add(-f.Since))
	if err != nil {
		return nil, err
	}
	var out []Item
	queues := map[string]map[string]bool{}
	for _, failed := range latest(failures) {
		if !f.takes(failed) {
			continue
		}
		queued, known := queues[failed.ProjectID]
		if !known {
			if queued, err = p.Queue.Queued(ctx, failed.ProjectID); err != nil {
				return nil, err
			}
			queues[failed.ProjectID] = queued
		}
		item, err := p.decide(ctx, failed, queued)
		if err != nil {
			return nil, err
		}
		out = append(out, item)
	}
	return out, nil
}

// latest keeps the last failure of each chain, in the order in which they failed.
func latest(failures []events.Failed) []events.Failed {
	type chain struct{ project, first string }
	last := map[chain]events.Failed{}
	for _, f := range failures {
		c, generation := chain{f.ProjectID, f.RequestID}, 0
		if f.Request != nil {
			c.first, generation = f.Request.First()
		}
		if before, ok := last[c]; ok && before.Request != nil {
			if _, n := before.Request.First(); n > generation {
				continue
			}
		}
		last[c] = f
	}
	out := make([]events.Failed, 0, len(last))
	for _, f := range last {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b events.Failed) int {
		return cmp.Or(a.FinishedAt.Compare(b.FinishedAt), cmp.Compare(a.ProjectID, b.ProjectID), cmp.Compare(a.RequestID, b.RequestID))
	})
	return out
}

// decide follows the chain of a failure to its end. queued was read before.
func (p *Planner) decide(ctx context.Context, failed events.Failed, queued map[string]bool) (Item, error) {
	item := Item{Failed: failed}
	if failed.Request == nil {
		item.Verdict = Undecodable
		return item, nil
	}
	first, generation := failed.Request.First()
	for n := generation + 1; n <= events.MaxGeneration; n++ {
		next := failed.Request.Replay(n)
		out, err := p.History.Outcome(ctx, failed.ProjectID, next.RequestID)
		if err != nil {
			return Item{}, err
		}
		if out == (events.Outcome{}) {
			item.Next, item.Verdict = next, Due
			if queued[next.RequestID] {
				item.Verdict = Underway
			}
			return item, nil
		}
		// A gateway may have chosen such an id for another request: that number is
		// taken, and the next one is as good.
		switch {
		case out.Completed != nil && of(out.Completed.Request, first):
			item.Next, item.Verdict = next, Completed
			return item, nil
		case out.Failed != nil && of(out.Failed.Request, first):
			item.Failed = *out.Failed
			if n, err = p.reach(ctx, &item, first, n); err != nil {
				return Item{}, err
			}
		}
	}
	return Item{}, fmt.Errorf("%s/%s: replayed too often", failed.ProjectID, failed.RequestID)
}

// reach sets item.Failed to a late failure of the chain, for the most part the last one, and returns its
// generation. A chain can be long and each look is a call of the broker, so it doubles its steps and
// then halves them. A generation of the chain is only made after the one before it has failed, so what
// is stepped over needs no look.
func (p *Planner) reach(ctx context.Context, item *Item, first string, generation int) (int, error) {
	origin := *item.Failed.Request
	low, high := generation, events.MaxGeneration+1
	for step := 1; high-low > 1; {
		n := low + step
		if n >= high {
			n = low + (high-low)/2
		}
		out, err := p.History.Outcome(ctx, item.Failed.ProjectID, origin.Replay(n).RequestID)
		if err != nil {
			return 0, err
		}
		if out.Failed != nil && of(out.Failed.Request, first) {
			low, step, item.Failed = n, 2*step, *out.Failed
		} else {
			high = n
		}
	}
	return low, nil
}

// of reports whether r is a replay of first.
func of(r *events.Requested, first string) bool { return r != nil && r.ReplayOf == first }
