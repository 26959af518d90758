package handlers

import (
	"context"
	"sync"

	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// Groups gathers waiting requests, so that small projects share a group dump. It is safe for
// concurrent use. NewGroups makes it.
type Groups struct {
	members func(k export.GroupKey, n int) []export.Member
	most    int

	mu   sync.Mutex
	size int // how many to gather next
}

// firstGather is the number of requests that the first group gathers. A gathered request that
// leaves its group waits in this worker, so the number grows only while none leaves.
const firstGather = 4

// NewGroups returns Groups of at most most requests, at least 2. members makes a group of n
// requests with the same key.
func NewGroups(members func(k export.GroupKey, n int) []export.Member, most int) *Groups {
	return &Groups{members: members, most: most, size: min(firstGather, most-1)}
}

// membership is the value that a gathered message gets.
type membership struct {
	member export.Member
	key    export.GroupKey
}

// of returns the group with which the request of a message may share its dump: the group that
// another request gathered, or a group that it gathers itself.
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

// grow records that a group got all requested members.
func (g *Groups) grow() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.size = min(4*g.size, g.most-1)
}

// shrink records that a gathered request left its group.
func (g *Groups) shrink() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.size = max(g.size/2, min(firstGather, g.most-1))
}
