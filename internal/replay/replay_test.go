package replay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/replay"
)

// past is a history and a queue in memory.
type past struct {
	outcomes map[string]events.Outcome // by project/request
	failed   []events.Failed
	queued   map[string]map[string]bool // by project
	looks    int                        // for outcomes
}

func newPast() *past {
	return &past{outcomes: map[string]events.Outcome{}, queued: map[string]map[string]bool{}}
}

func (p *past) Failed(_ context.Context, project string, _ time.Time) (out []events.Failed, err error) {
	for _, f := range p.failed {
		if project == "" || f.ProjectID == project {
			out = append(out, f)
		}
	}
	return out, nil
}

func (p *past) Outcome(_ context.Context, project, request string) (events.Outcome, error) {
	p.looks++
	return p.outcomes[project+"/"+request], nil
}

func (p *past) Projects(_ context.Context, request string) (out []string, err error) {
	for _, o := range p.outcomes {
		if project, id := o.IDs(); id == request {
			out = append(out, project)
		}
	}
	return out, nil
}

func (p *past) Queued(_ context.Context, project string) (map[string]bool, error) {
	return p.queued[project], nil
}

func (p *past) Holders(_ context.Context, request string) (out []string, err error) {
	for project, ids := range p.queued {
		if ids[request] {
			out = append(out, project)
		}
	}
	return out, nil
}

func request(project, id string) *events.Requested {
	return &events.Requested{ProjectID: project, RequestID: id, Format: events.FormatSQL, Compression: events.CompressionGzip}
}

// fail records a failure; its request is nil for one that could not be decoded.
func (p *past) fail(project, id string, r *events.Requested, code codes.Code) {
	permanent := code == codes.InvalidRequest || code == codes.SizeLimit || code == codes.Cancelled
	f := events.Failed{ProjectID: project, RequestID: id, Code: code, Permanent: permanent, Request: r,
		FinishedAt: time.Unix(int64(len(p.failed)), 0)}
	p.failed = append(p.failed, f)
	p.outcomes[project+"/"+id] = events.Outcome{Failed: &f}
}

func (p *past) complete(project, id string, r *events.Requested) {
	p.outcomes[project+"/"+id] = events.Outcome{Completed: &events.Completed{ProjectID: project, RequestID: id, Request: r}}
}

func (p *past) queue(project, id string) {
	if p.queued[project] == nil {
		p.queued[project] = map[string]bool{}
	}
	p.queued[project][id] = true
}

func (p *past) planner() *replay.Planner { return &replay.Planner{History: p, Queue: p} }

func replayOf(r *events.Requested, n int) *events.Requested {
	next := r.Replay(n)
	return &next
}

func TestAChainIsFollowedToItsEnd(t *testing.T) {
	t.Parallel()
	x := request("acme", "x")
	for name, tc := range map[string]struct {
		given   func(p *past)
		verdict replay.Verdict
		next    string
		err     error
	}{
		"failed once": {func(p *past) { p.fail("acme", "x", x, codes.LockTimeout) }, replay.Due, "x-r1", nil},
		"its replay failed": {func(p *past) {
			p.fail("acme", "x", x, codes.LockTimeout)
			p.fail("acme", "x-r1", replayOf(x, 1), codes.LockTimeout)
		}, replay.Due, "x-r2", nil},
		"its replay completed": {func(p *past) {
			p.fail("acme", "x", x, codes.LockTimeout)
			p.complete("acme", "x-r1", replayOf(x, 1))
		}, replay.Completed, "x-r1", nil},
		"its replay waits": {func(p *past) {
			p.fail("acme", "x", x, codes.LockTimeout)
			p.queue("acme", "x-r1")
		}, replay.Underway, "x-r1", nil},
		"another's request took the place": {func(p *past) {
			p.fail("acme", "x", x, codes.LockTimeout)
			p.complete("acme", "x-r1", request("acme", "x-r1"))
		}, replay.Due, "x-r2", nil},
		"not decoded":            {func(p *past) { p.fail("acme", "x", nil, codes.InvalidRequest) }, replay.Undecodable, "", nil},
		"completed":              {func(p *past) { p.complete("acme", "x", x) }, "", "", replay.ErrNotFailed},
		"waits":                  {func(p *past) { p.queue("acme", "x") }, "", "", replay.ErrNotFailed},
		"unknown":                {func(*past) {}, "", "", replay.ErrUnknown},
		"of two projects":        {func(p *past) { p.fail("acme", "x", x, codes.LockTimeout); p.queue("globex", "x") }, "", "", replay.ErrAmbiguous},
		"known to another alone": {func(p *past) { p.fail("globex", "x", request("globex", "x"), codes.LockTimeout) }, replay.Due, "x-r1", nil},
	} {
		p := newPast()
		tc.given(p)
		item, err := p.planner().One(t.Context(), "", "x")
		if !errors.Is(err, tc.err) || item.Verdict != tc.verdict || item.Next.RequestID != tc.next {
			t.Errorf("%s: %+v, %v; want %s as %q, %v", name, item, err, tc.verdict, tc.next, tc.err)
		}
	}
	p := newPast()
	p.fail("acme", "x", x, codes.LockTimeout)
	if _, err := p.planner().One(t.Context(), "globex", "x"); !errors.Is(err, replay.ErrUnknown) {
		t.Errorf("of a project that does not know it: %v", err)
	}
}

// Each look is a call to the broker: a request that was replayed hundreds of times needs a few of
// them.
func TestALongChainNeedsFewLooks(t *testing.T) {
	t.Parallel()
	x := request("acme", "x")
	for _, length := range []int{1, 2, 3, 7, 8, 100, 500} {
		for _, taken := range []int{0, 1, 2, 4, 64, 77, length - 1} { // a number that another request's replay has
			p := newPast()
			p.fail("acme", "x", x, codes.LockTimeout)
			for n := 1; n <= length; n++ {
				if n == taken && n < length {
					p.complete("acme", fmt.Sprintf("x-r%d", n), request("acme", fmt.Sprintf("x-r%d", n)))
					continue
				}
				p.fail("acme", fmt.Sprintf("x-r%d", n), replayOf(x, n), codes.LockTimeout)
			}
			p.queue("acme", fmt.Sprintf("x-r%d", length+1))
			item, err := p.planner().One(t.Context(), "acme", "x")
			if err != nil || item.Verdict != replay.Underway || item.Next.RequestID != fmt.Sprintf("x-r%d", length+1) || item.Failed.RequestID != fmt.Sprintf("x-r%d", length) {
				t.Errorf("%d replays, number %d taken: %+v, %v", length, taken, item, err)
			}
			if p.looks > 45 {
				t.Errorf("%d replays, number %d taken: %d looks", length, taken, p.looks)
			}
		}
	}
}

func TestWhichFailuresAreReplayed(t *testing.T) {
	t.Parallel()
	p := newPast()
	p.fail("acme", "big", request("acme", "big"), codes.SizeLimit)
	p.fail("acme", "lock", request("acme", "lock"), codes.LockTimeout)
	p.fail("acme", "lock-r1", replayOf(request("acme", "lock"), 1), codes.DumpFailed) // the latest of its chain counts
	p.fail("globex", "lock", request("globex", "lock"), codes.LockTimeout)
	p.fail("acme", "wanted", request("acme", "wanted"), codes.Cancelled)
	p.fail("acme", "rubbish", nil, codes.InvalidRequest)
	for name, tc := range map[string]struct {
		filter replay.Filter
		want   []string
	}{
		"all":             {replay.Filter{}, []string{"acme/big>big-r1", "acme/lock-r1>lock-r2", "globex/lock>lock-r1", "acme/rubbish>"}},
		"a project":       {replay.Filter{Project: "globex"}, []string{"globex/lock>lock-r1"}},
		"a code":          {replay.Filter{Code: codes.LockTimeout}, []string{"globex/lock>lock-r1"}},
		"cancelled":       {replay.Filter{Code: codes.Cancelled}, []string{"acme/wanted>wanted-r1"}},
		"permanent":       {replay.Filter{Permanent: true}, []string{"acme/big>big-r1", "acme/rubbish>"}},
		"transient":       {replay.Filter{Transient: true}, []string{"acme/lock-r1>lock-r2", "globex/lock>lock-r1"}},
		"no such failure": {replay.Filter{Project: "nobody"}, nil},
	} {
		items, err := p.planner().All(t.Context(), tc.filter)
		var got []string
		for _, i := range items {
			got = append(got, i.Failed.ProjectID+"/"+i.Failed.RequestID+">"+i.Next.RequestID)
		}
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, tc.want)
		}
	}
}

func TestAFullQueueDelaysItsOwnProjectOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var took []string
		var waited bool
		p := replay.Publisher{
			Publish: func(_ context.Context, r events.Requested) (string, error) {
				if r.ProjectID == "full" && time.Since(begun) < time.Minute {
					return "", events.ErrQueueFull
				}
				took = append(took, r.ProjectID+"/"+r.RequestID)
				return r.RequestID, nil
			},
			Report: func(_ int, full string) { waited = waited || full == "full" },
		}
		all := []events.Requested{*request("full", "1"), *request("free", "1"), *request("full", "2"), *request("free", "2")}
		done, err := p.Run(t.Context(), all)
		if err != nil || len(done) != 4 || !slices.Equal(took, []string{"free/1", "free/2", "full/1", "full/2"}) || !waited {
			t.Errorf("took %q, %v", took, err)
		}
		// A limit on the whole ends it, and the report says what was done.
		begun = time.Now()
		ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, errors.New("enough"))
		defer cancel()
		done, err = p.Run(ctx, all)
		if err == nil || len(done) != 2 || done[0].ProjectID != "free" {
			t.Errorf("cut short: %d done, %v", len(done), err)
		}
	})
}

func TestTheRateIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		p := replay.Publisher{
			Publish: func(_ context.Context, r events.Requested) (string, error) { return r.RequestID, nil },
			Rate:    rate.NewLimiter(2, 1),
		}
		var all []events.Requested
		for range 11 {
			all = append(all, *request("acme", "x"))
		}
		if done, err := p.Run(t.Context(), all); err != nil || len(done) != 11 || time.Since(begun) != 5*time.Second {
			t.Errorf("%d within %s, %v; want 11 within 5s", len(done), time.Since(begun), err)
		}
		p.Publish = func(context.Context, events.Requested) (string, error) { return "", events.ErrUnavailable }
		if done, err := p.Run(t.Context(), all); !errors.Is(err, events.ErrUnavailable) || len(done) != 0 {
			t.Errorf("without a broker: %d, %v", len(done), err)
		}
	})
}
