package pgdump

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

// NewGroup returns the members of a group of n waiting requests with the same key. Each request must
// open its dump at its Member, or leave. When all have, or Wait has passed since the first, the
// members that can be are dumped together.
func (g *GroupDumper) NewGroup(k export.GroupKey, n int) []*Member {
	p := &group{dumper: g, key: k, expected: n, slots: make(chan struct{}, g.config.Open)}
	members := make([]*Member, n)
	for i := range members {
		members[i] = &Member{group: p, part: make(chan *memberPart, 1)}
	}
	return members
}

// Member is one request's membership of a group. It is safe for concurrent use.
type Member struct {
	group  *group
	came   sync.Once        // for join or leave
	job    export.DumpJob   // since it joined
	part   chan *memberPart // receives one value; nil: dump it alone
	absent bool             // its Open no longer waits; guarded by the group's mu

	// Set while the group dump is prepared.
	oids      []int64
	relations []relation
	bytes     int64
	notes     notes
}

var _ export.Member = (*Member)(nil)

// Leave removes the member, so that the others do not wait for it. After Open it does nothing. It may
// be called several times.
func (m *Member) Leave() { m.came.Do(m.group.leave) }

// Open is Dumper.Open for a member. The Dump belongs to the job, and a fault of another member does
// not affect it. Open waits for the other members, for the group dump, and for a free slot, until the
// end of ctx. A member that cannot be dumped with the others is dumped alone. So is a second dump of a
// member, and a member that comes after the group dump has begun.
func (m *Member) Open(ctx context.Context, j export.DumpJob) (export.Dump, error) {
	if err := check(j); err != nil {
		m.Leave()
		return nil, err
	}
	joined := false
	m.came.Do(func() { joined = m.group.join(ctx, m, j) })
	if !joined {
		return m.group.openAlone(ctx, j)
	}
	over := m.group.tell(ctx, j, "the dump of its group")
	defer over()
	select {
	case <-ctx.Done():
		m.group.withdraw(m)
		return nil, ended(context.Cause(ctx))
	case s := <-m.part:
		over()
		if s == nil {
			return m.group.openAlone(ctx, j)
		}
		return m.group.openPart(ctx, j, s)
	}
}

// group holds the requests that were gathered together.
type group struct {
	dumper *GroupDumper
	key    export.GroupKey
	slots  chan struct{} // one for each open dump

	mu       sync.Mutex
	expected int // members that have neither joined nor left
	members  []*Member
	begun    bool
	deadline *time.Timer // begins without members that did not join
	waiting  int         // members that wait for their part
	cancel   context.CancelFunc
}

// join adds a member. It returns false if the group dump has begun or the job has another key.
func (g *group) join(ctx context.Context, m *Member, j export.DumpJob) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expected--
	admitted := !g.begun && g.key.Admits(j, jobs(g.members)...)
	if admitted {
		m.job = j
		g.members = append(g.members, m)
		g.waiting++
		if g.deadline == nil {
			g.deadline = time.AfterFunc(g.dumper.config.Wait, func() {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.begin(ctx)
			})
		}
	}
	if g.expected <= 0 {
		g.begin(ctx)
	}
	return admitted
}

func jobs(members []*Member) []export.DumpJob {
	out := make([]export.DumpJob, len(members))
	for i, m := range members {
		out[i] = m.job
	}
	return out
}

func (g *group) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.expected--; g.expected <= 0 {
		g.begin(context.Background())
	}
}

// begin starts the group dump once. The caller holds mu. The group dump does not end with the context
// of one member.
func (g *group) begin(ctx context.Context) {
	if g.begun {
		return
	}
	g.begun = true
	if g.deadline != nil {
		g.deadline.Stop()
	}
	if len(g.members) == 0 {
		return
	}
	ctx, g.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if g.waiting == 0 {
		g.cancel()
	}
	go func() {
		defer g.cancel()
		g.run(ctx)
	}()
}

// run dumps the members together and gives each its part.
func (g *group) run(ctx context.Context) {
	var parts map[*Member]*memberPart
	if len(g.members) > 1 {
		begun := time.Now()
		var err error
		parts, err = g.dumper.dump(ctx, g.key, g.members)
		switch {
		case errors.Is(err, errNoGroup) || ctx.Err() != nil:
		case err != nil:
			g.dumper.log.WarnContext(ctx, "group dump failed, its projects are dumped alone", "projects", len(g.members), "error", err)
		default:
			g.dumper.log.DebugContext(ctx, "group dumped", "projects", len(g.members), "parts", len(parts), "took", time.Since(begun))
		}
	}
	for _, m := range g.members {
		g.deliver(m, parts[m])
	}
}

func (g *group) deliver(m *Member, s *memberPart) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.absent {
		if s != nil {
			s.release()
		}
		return
	}
	g.waiting--
	m.part <- s
}

// withdraw removes a member after the end of its context. When no member waits, the group dump is
// cancelled.
func (g *group) withdraw(m *Member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case s := <-m.part: // arrived at the same time
		if s != nil {
			s.release()
		}
		return
	default:
	}
	m.absent = true
	if g.waiting--; g.waiting == 0 && g.cancel != nil {
		g.cancel()
	}
}

// tell logs a long wait of one member until over is called.
func (g *group) tell(ctx context.Context, j export.DumpJob, what string) (over func()) {
	return export.Wait{For: what, Log: g.dumper.log.With("project_id", j.Project.ID)}.Begin(ctx)
}

// slot waits for a free slot and returns the function that frees it.
func (g *group) slot(ctx context.Context, j export.DumpJob) (free func(), err error) {
	defer g.tell(ctx, j, "another dump of its group to end")()
	select {
	case g.slots <- struct{}{}:
		return func() { <-g.slots }, nil
	case <-ctx.Done():
		return nil, ended(context.Cause(ctx))
	}
}

// openAlone opens a dump outside of the group.
func (g *group) openAlone(ctx context.Context, j export.DumpJob) (export.Dump, error) {
	free, err := g.slot(ctx, j)
	if err != nil {
		return nil, err
	}
	d, err := g.dumper.config.Dumper.Open(ctx, j)
	if err != nil {
		free()
		return nil, err
	}
	return &slottedDump{Dump: d, free: free}, nil
}

// openPart opens a member's part.
func (g *group) openPart(ctx context.Context, j export.DumpJob, s *memberPart) (export.Dump, error) {
	free, err := g.slot(ctx, j)
	if err != nil {
		s.release()
		return nil, err
	}
	d, err := s.open(ctx)
	if err != nil {
		s.release()
		free()
		return nil, err
	}
	return &slottedDump{Dump: d, free: free}, nil
}

// slottedDump is a Dump that frees its slot in Close.
type slottedDump struct {
	export.Dump
	free func()
	once sync.Once
}

// Close closes the Dump and frees its slot.
func (d *slottedDump) Close() error {
	err := d.Dump.Close()
	d.once.Do(d.free)
	return err
}
