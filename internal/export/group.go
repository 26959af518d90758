package export

import (
	"context"
	"slices"
)

// GroupKey holds what the projects of a group dump have in common: the source and the role that
// dumps it.
type GroupKey struct {
	DSN  Secret
	Role string
}

// GroupKey returns the key of the groups that the project belongs to.
func (p Project) GroupKey() GroupKey { return GroupKey{DSN: p.DSN, Role: p.Role} }

// Admits reports whether a dump can join a group with this key and these members. Only a script or
// a custom archive can be made from the group's archive, and each of its schemas has one owner. The
// Dumper may exclude a dump for further reasons, such as its size or a lock.
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

// Member is a request's membership in a group. Open joins the group dump: it waits for the other
// members and opens this member's part. Leave leaves the group without a dump, so that the others
// do not wait. Further calls of Open or Leave have no effect.
type Member interface {
	Dumper
	Leave()
}

// Group says with which requests a delivered request may share its dump. The zero value: with none.
type Group struct {
	// Member is the membership in a group that another request gathered. Nil: none.
	Member Member
	// Key is the key of that group. A request with another key leaves before its claim and is run
	// later.
	Key GroupKey
	// Gather makes a group of this granted request and of waiting requests. It returns this request's
	// membership; nil: no request waits. It does not wait for requests to arrive. It is not called for
	// a request with a Member. Nil: nothing is gathered.
	Gather func(ctx context.Context, k GroupKey) Member
}

// admits reports whether a gathered request can stay in its group. A refused request stays, and so
// does one with a project that cannot be looked up: both fail as they would alone.
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

// join returns the Dumper of a granted request: the group's Member, or the Exporter's Dumper. The
// caller must call leave at the end.
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
