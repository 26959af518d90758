package export

import (
	"context"
	"slices"
)

// GroupKey is what projects have in common that share a group dump: their source, and the
// role that dumps it.
type GroupKey struct {
	DSN  Secret
	Role string
}

// GroupKey returns the key of the groups that the project belongs to.
func (p Project) GroupKey() GroupKey { return GroupKey{DSN: p.DSN, Role: p.Role} }

// Admits reports whether a dump belongs to a group of this key, beside its members so far. A
// script or a custom archive can be made of the group's archive; of each schema in it there is
// one owner. The Dumper may find more at the source that keeps a dump out: its size, a lock.
func (k GroupKey) Admits(j DumpJob, members ...DumpJob) bool {
	if j.Project.GroupKey() != k || !groupFormat(j.Format) {
		return false
	}
	for _, m := range members {
		if slices.ContainsFunc(m.Schemas, func(s string) bool { return slices.Contains(j.Schemas, s) }) {
			return false
		}
	}
	return true
}

func groupFormat(f Format) bool { return f == SQL || f == Custom }

// Member is a request's membership of a group. Its Open joins the group dump: it waits for the
// other members, and opens this member's own part. Leave leaves the group without a dump, so
// that the others do not wait. A member that has joined or left may do so again, in vain.
type Member interface {
	Dumper
	Leave()
}

// Group says with what a delivered request may share its dump. The zero value: with nothing.
type Group struct {
	// Member is the membership of a group that another request gathered. Nil: none.
	Member Member
	// Key is that group's. A request of another key leaves before its claim, and gets its turn
	// later.
	Key GroupKey
	// Gather makes a group of this request, once it was granted, and of requests that wait, and
	// returns this one's membership; nil: none waits. It does not wait for any to come. It is
	// not called for a request with a Member. Nil: nothing is gathered.
	Gather func(ctx context.Context, k GroupKey) Member
}

// admits reports whether a gathered request can stay in its group. A request that is refused,
// or that has a project which cannot be looked up, stays, to fail as it would by itself.
func (g Group) admits(ctx context.Context, e *Exporter, req Request) bool {
	if req.Refusal != nil {
		return true
	}
	if !groupFormat(req.Format) {
		return false
	}
	_, p, err := e.lookUp(ctx, req)
	return err != nil || p.GroupKey() == g.Key
}

// join returns what opens the dump of a granted request: the group's Member, or the Exporter's
// Dumper. leave is to be called in the end.
func (g Group) join(ctx context.Context, e *Exporter, req Request, p Project) (d Dumper, leave func()) {
	m := g.Member
	if m == nil && g.Gather != nil && req.Refusal == nil && groupFormat(req.Format) {
		m = g.Gather(ctx, p.GroupKey())
	}
	if m == nil {
		return e.Dumper, func() {}
	}
	return m, m.Leave
}
