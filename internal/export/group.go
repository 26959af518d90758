package export

import (
	"context"
)

// Seat is a request's place at a dump that several share. Whoever has one opens its dump
// there, which waits for the others, or leaves; both is fine, and so is leaving twice.
type Seat interface {
	Dumper
	Leave()
}

// Like is what projects must have in common to share a dump.
type Like struct {
	DSN  Secret
	Role string
}

// Company is what a delivered request may share its dump with. The zero value: with nobody.
type Company struct {
	// Seat is the place that another request kept for this one, nil: it comes by itself.
	Seat Seat
	// Like is the other's. One that is not like it gives its place back, before its claim,
	// and gets its turn later.
	Like Like
	// Invite asks those that wait to share the dump of this request, once it was granted,
	// and returns its own seat; nil: nobody waits. It does not wait for anybody to come.
	// Not called for a request with a Seat. Nil: nobody is asked.
	Invite func(ctx context.Context, l Like) Seat
}

// Sociable reports whether the dump of such a request can be shared: a tar archive cannot be
// made of another.
func (r Request) Sociable() bool {
	return r.Refusal == nil && (r.Format == SQL || r.Format == Custom)
}

func (p Project) like() Like { return Like{DSN: p.DSN, Role: p.Role} }

// fits says whether an invited request can take its place. One whose project cannot be
// looked up goes on, to fail as it would by itself.
func (e *Exporter) fits(ctx context.Context, req Request, c Company) bool {
	if !req.Sociable() {
		return req.Refusal != nil
	}
	_, p, err := e.lookUp(ctx, req)
	return err != nil || p.like() == c.Like
}

// dumper is who opens the dump: the shared one for a request in company.
func (c Company) dumper(ctx context.Context, e *Exporter, req Request, p Project) (d Dumper, leave func()) {
	seat := c.Seat
	if seat == nil && c.Invite != nil && req.Sociable() {
		seat = c.Invite(ctx, p.like())
	}
	if seat == nil {
		return e.Dumper, func() {}
	}
	return seat, seat.Leave
}
