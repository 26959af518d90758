package handlers

import (
	"context"
	"sync"

	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// Groups gathers requests that wait, so that small projects share a group dump. It is safe for
// concurrent use; make it with NewGroups.
type Groups struct {
	members func(k export.GroupKey, n int) []export.Member
	most    int

	mu   sync.Mutex
	size int // how many to gather next
}

// firstGather is how many a request gathers at first. A request that is gathered and leaves
// waits in this worker, so the number grows only while they stay.
const firstGather = 4

// NewGroups returns Groups of at most so many requests, at least 2. members makes a group of n
// requests that have the key in common.
func NewGroups(members func(k export.GroupKey, n int) []export.Member, most int) *Groups {
	return &Groups{members: members, most: most, size: min(firstGather, most-1)}
}

// membership is what a gathered message is given.
type membership struct {
	member export.Member
	key    export.GroupKey
}

// of returns with what the request of a message may share its dump: the group that another
// request gathered, or one that it gathers itself.
func (g *Groups) of(ctx context.Context) export.Group {
	if g == nil {
		return export.Group{}
	}
	if m, ok := delivery.Joined(ctx).(membership); ok {
		return export.Group{Member: m.member, Key: m.key}
	}
	return export.Group{Gather: func(_ context.Context, k export.GroupKey) (own export.Member) {
		asked := g.next()
		delivery.Gather(ctx, asked, func(n int) []any {
			members := g.members(k, n+1)
			own = members[0]
			given := make([]any, n)
			for i, m := range members[1:] {
				given[i] = membership{m, k}
			}
			if n == asked {
				g.grow()
			}
			return given
		})
		return own
	}}
}

func (g *Groups) next() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.size
}

// grow notes that as many came as were asked for.
func (g *Groups) grow() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.size = min(4*g.size, g.most-1)
}

// shrink notes that a gathered request left its group.
func (g *Groups) shrink() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.size = max(g.size/2, min(firstGather, g.most-1))
}
