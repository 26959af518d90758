package handlers

import (
	"context"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// Groups lets requests that wait for small projects share one dump. It is safe for
// concurrent use; make it with NewGroups.
type Groups struct {
	seats func(n int) []export.Seat
	most  int

	mu   sync.Mutex
	size int // how many to ask next
}

// firstCompany is how many a request asks at first. Who is asked and does not fit waits in
// this worker, so the number grows only while they fit.
const firstCompany = 4

// NewGroups returns Groups of at most so many requests, at least 2. seats makes the places of
// requests that share a dump.
func NewGroups(seats func(n int) []export.Seat, most int) *Groups {
	return &Groups{seats: seats, most: most, size: min(firstCompany, most-1)}
}

// invitation is what an invited message is given.
type invitation struct {
	seat export.Seat
	like export.Like
}

// company is what a request shares its dump with: those who invited it, or those it will.
func (g *Groups) company(msg *message.Message) export.Company {
	if g == nil {
		return export.Company{}
	}
	if i, ok := delivery.Joined(msg.Context()).(invitation); ok {
		return export.Company{Seat: i.seat, Like: i.like}
	}
	return export.Company{Invite: func(_ context.Context, like export.Like) (own export.Seat) {
		asked := g.next()
		delivery.Gather(msg.Context(), asked, func(n int) []any {
			seats := g.seats(n + 1)
			own = seats[0]
			given := make([]any, n)
			for i, seat := range seats[1:] {
				given[i] = invitation{seat, like}
			}
			if n == asked {
				g.more()
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

// more notes that as many came as were asked.
func (g *Groups) more() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.size = min(4*g.size, g.most-1)
}

// misfit notes that one was asked in vain.
func (g *Groups) misfit() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.size = max(g.size/2, min(firstCompany, g.most-1))
}
