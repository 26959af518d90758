package pgdump

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

// Invite expects n requests that were found waiting together. Each gets a Guest of its own
// and calls its Open, or Leave if it will not open a dump. Once all have, or the first has
// waited for long enough, those that can be are dumped together.
func (g *Groups) Invite(n int) []*Guest {
	p := &party{groups: g, awaited: n, turns: make(chan struct{}, g.config.Open)}
	guests := make([]*Guest, n)
	for i := range guests {
		guests[i] = &Guest{party: p}
	}
	return guests
}

// Guest is one request's place among those that are dumped together. It is safe for
// concurrent use.
type Guest struct {
	party *party
	came  sync.Once
}

var _ export.Dumper = (*Guest)(nil)

// Leave says that this guest will open no dump, so that nobody waits for it. After Open it
// does nothing; it can be called more than once.
func (t *Guest) Leave() { t.came.Do(t.party.leave) }

// Open is Dumper.Open for one of a group: the Dump is the job's own, and nothing that befalls
// the others harms it. It waits for the other guests, for the dump they share, and for its
// turn, with ctx's end ending each. What cannot be dumped with the others is dumped alone.
// Whoever opens a second dump, or after the others went, opens it alone.
func (t *Guest) Open(ctx context.Context, j export.DumpJob) (export.Dump, error) {
	if err := check(j); err != nil {
		t.Leave()
		return nil, err
	}
	m := &member{job: j, answer: make(chan *share, 1)}
	joined := false
	t.came.Do(func() { joined = t.party.join(ctx, m) })
	if !joined {
		return t.party.alone(ctx, j)
	}
	select {
	case <-ctx.Done():
		t.party.desert(m)
		return nil, ended(context.Cause(ctx))
	case s := <-m.answer:
		if s == nil {
			return t.party.alone(ctx, j)
		}
		return t.party.shared(ctx, s)
	}
}

// party is the requests of one invitation.
type party struct {
	groups *Groups
	turns  chan struct{} // one for each open dump

	mu      sync.Mutex
	awaited int // guests who neither opened nor left
	members []*member
	begun   bool
	bell    *time.Timer // begins without those who do not come
	present int         // members who still want their dump
	cancel  context.CancelFunc
}

// member is a request that waits for its share.
type member struct {
	job    export.DumpJob
	answer chan *share // gets one; nil: to be dumped alone
	gone   bool        // nobody waits for the answer; guarded by the party

	// Found while the group is prepared.
	oids      []int64
	relations []relation
	bytes     int64
	notes     notes
}

// join adds a member, and reports false if it is too late or the job is for no group.
func (p *party) join(ctx context.Context, m *member) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.awaited--
	fits := !p.begun && (m.job.Format == export.SQL || m.job.Format == export.Custom)
	if fits {
		p.members = append(p.members, m)
		p.present++
		if p.bell == nil {
			p.bell = time.AfterFunc(p.groups.config.Wait, func() {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.begin(ctx)
			})
		}
	}
	if p.awaited <= 0 {
		p.begin(ctx)
	}
	return fits
}

func (p *party) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.awaited--; p.awaited <= 0 {
		p.begin(context.Background())
	}
}

// begin starts the dumps, once. The caller holds mu. No one member's end is theirs.
func (p *party) begin(ctx context.Context) {
	if p.begun {
		return
	}
	p.begun = true
	if p.bell != nil {
		p.bell.Stop()
	}
	if len(p.members) == 0 {
		return
	}
	ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if p.present == 0 {
		p.cancel()
	}
	go func() {
		defer p.cancel()
		p.run(ctx)
	}()
}

// run dumps each group of likes, one after the other: an invitation takes one slot.
func (p *party) run(ctx context.Context) {
	rest := p.members
	for len(rest) > 0 {
		first := rest[0].job.Project
		var group, others []*member
		taken := map[string]bool{}
		for _, m := range rest {
			like := m.job.Project.DSN == first.DSN && m.job.Project.Role == first.Role
			// Two that want the same schema cannot share: an entry has one owner.
			if like && !slices.ContainsFunc(m.job.Schemas, func(s string) bool { return taken[s] }) {
				group = append(group, m)
				for _, s := range m.job.Schemas {
					taken[s] = true
				}
				continue
			}
			others = append(others, m)
		}
		p.serve(ctx, group)
		rest = others
	}
}

// serve answers each member of a group of likes.
func (p *party) serve(ctx context.Context, group []*member) {
	var shares map[*member]*share
	if len(group) > 1 {
		begun := time.Now()
		var err error
		shares, err = p.groups.dump(ctx, group)
		switch {
		case errors.Is(err, errNoGroup) || ctx.Err() != nil:
		case err != nil:
			p.groups.log.WarnContext(ctx, "group given up, its projects are dumped alone", "projects", len(group), "error", err)
		default:
			p.groups.log.DebugContext(ctx, "group dumped", "projects", len(group), "shares", len(shares), "took", time.Since(begun))
		}
	}
	for _, m := range group {
		p.deliver(m, shares[m])
	}
}

func (p *party) deliver(m *member, s *share) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.gone {
		if s != nil {
			s.release()
		}
		return
	}
	p.present--
	m.answer <- s
}

// desert takes back a member who cannot wait any longer. When all have gone the dumping
// ends.
func (p *party) desert(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case s := <-m.answer: // it came at the same time
		if s != nil {
			s.release()
		}
		return
	default:
	}
	m.gone = true
	if p.present--; p.present == 0 && p.cancel != nil {
		p.cancel()
	}
}

// turn waits for a place among the open dumps, and returns how to give it back.
func (p *party) turn(ctx context.Context) (leave func(), err error) {
	select {
	case p.turns <- struct{}{}:
		return func() { <-p.turns }, nil
	case <-ctx.Done():
		return nil, ended(context.Cause(ctx))
	}
}

// alone opens a dump by itself.
func (p *party) alone(ctx context.Context, j export.DumpJob) (export.Dump, error) {
	leave, err := p.turn(ctx)
	if err != nil {
		return nil, err
	}
	d, err := p.groups.config.Dumper.Open(ctx, j)
	if err != nil {
		leave()
		return nil, err
	}
	return &turned{Dump: d, leave: leave}, nil
}

// shared opens a member's share.
func (p *party) shared(ctx context.Context, s *share) (export.Dump, error) {
	leave, err := p.turn(ctx)
	if err != nil {
		s.release()
		return nil, err
	}
	d, err := s.open(ctx)
	if err != nil {
		s.release()
		leave()
		return nil, err
	}
	return &turned{Dump: d, leave: leave}, nil
}

// turned is a Dump that gives its turn back.
type turned struct {
	export.Dump
	leave func()
	once  sync.Once
}

// Close closes the Dump and lets the next begin.
func (t *turned) Close() error {
	err := t.Dump.Close()
	t.once.Do(t.leave)
	return err
}
