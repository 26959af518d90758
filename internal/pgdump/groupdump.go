package pgdump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

var errNoGroup = errors.New("fewer than two projects can be dumped together")

// dump runs one pg_dump for all members that can be dumped together and returns their parts. A member
// without a part must be dumped alone, and so must every member after an error. dump reports no fault
// of a single member: that member's own dump finds it, and only that one fails.
func (g *GroupDumper) dump(ctx context.Context, k export.GroupKey, members []*Member) (map[*Member]*memberPart, error) {
	o, err := g.opening(k)
	if err != nil {
		return nil, err
	}
	look, cancel := context.WithTimeoutCause(ctx, g.dumper.config.Stall, errStalled)
	defer cancel()
	members, err = g.prepare(look, o, members)
	if err == nil {
		var d *dump
		if d, err = g.start(ctx, look, o, members); err == nil {
			defer func() { _ = d.Close() }() // always nil
			return g.divide(ctx, o, d, members)
		}
	}
	if o.session != nil {
		o.session.close()
	}
	return nil, err
}

// opening returns the opening of the group dump, in the archive format that can be split.
func (g *GroupDumper) opening(k export.GroupKey) (*opening, error) {
	src, err := g.dumper.source(k.DSN)
	if err != nil {
		return nil, err
	}
	src.prompt = true
	return &opening{
		Dumper: &g.dumper, source: src,
		job:   export.DumpJob{Project: export.Project{Role: k.Role, DSN: k.DSN}, Format: export.Custom},
		names: randomNames(),
	}, nil
}

// prepare connects and returns the members that can be dumped together: those with existing, readable
// schemas, that are small, and with tables that no other session has locked. It sets the survey of all
// of them in the opening and locks their tables.
func (g *GroupDumper) prepare(ctx context.Context, o *opening, members []*Member) ([]*Member, error) {
	var err error
	if o.session, err = o.source.connect(ctx, o.names.snapshot); err != nil {
		return nil, fail(ctx, err)
	}
	o.session.endLostAttempts(ctx, g.log, jobs(members)...)
	if o.version, err = choose(o.versions, o.session); err != nil {
		return nil, err
	}
	if _, ok := g.restoreOf(o.version); !ok {
		members = slices.DeleteFunc(slices.Clone(members), func(m *Member) bool { return m.job.Format == export.SQL })
	}
	if err = o.session.begin(ctx, o.job.Project.Role, groupLockWait); err != nil {
		return nil, err
	}
	if err = o.session.carry(ctx, members); err != nil {
		return nil, err
	}
	if members, err = g.survey(ctx, o, members); err != nil {
		return nil, err
	}
	if members, err = o.session.bounded(ctx, members); err != nil {
		return nil, fail(ctx, err)
	}
	if members, err = o.session.lockEach(ctx, members); err != nil {
		return nil, err
	}
	members = g.fitting(members, o.session.sizes(ctx, members), o.survey.standby)
	if len(members) < 2 {
		return nil, errNoGroup
	}
	o.survey.schemas, o.survey.relations, o.job.Schemas = nil, nil, nil
	for _, m := range members {
		o.survey.schemas = append(o.survey.schemas, m.oids...)
		o.survey.relations = append(o.survey.relations, m.relations...)
		o.job.Schemas = append(o.job.Schemas, m.job.Schemas...)
	}
	return members, nil
}

// survey runs one preflight for all members, and returns those that it does not refuse.
func (g *GroupDumper) survey(ctx context.Context, o *opening, members []*Member) ([]*Member, error) {
	var err error
	if o.survey, err = o.session.facts(ctx); err != nil {
		return nil, err
	}
	var names []string
	for _, m := range members {
		names = append(names, m.job.Schemas...)
	}
	found, err := o.session.findSchemas(ctx, names)
	if err != nil {
		return nil, err
	}
	members = slices.DeleteFunc(slices.Clone(members), func(m *Member) bool {
		var missing error
		m.oids, missing = pick(found, m.job.Schemas)
		return missing != nil
	})
	of := map[string]*Member{}
	for _, m := range members {
		o.survey.schemas = append(o.survey.schemas, m.oids...)
		for _, name := range m.job.Schemas {
			of[name] = m
		}
	}
	if err := o.session.findRelations(ctx, o.survey); err != nil {
		return nil, err
	}
	for _, r := range o.survey.relations {
		m, ok := of[r.schema]
		if !ok {
			return nil, fmt.Errorf("table %s is no member's", r.show())
		}
		m.relations = append(m.relations, r)
	}
	return slices.DeleteFunc(members, func(m *Member) bool { return refuse(m.relations) != nil }), nil
}

// fitting returns the members that are small enough, as many as the spool may hold.
func (g *GroupDumper) fitting(members []*Member, sizes map[int64]int64, standby bool) []*Member {
	room := g.budget.Load()
	return slices.DeleteFunc(members, func(m *Member) bool {
		m.bytes = 0
		for _, r := range m.relations {
			if r.counted(standby) {
				m.bytes += max(r.pages*blockSize, sizes[r.oid])
			}
		}
		if m.bytes > g.config.MemberBytes || m.bytes > room {
			return true
		}
		room -= m.bytes
		return false
	})
}

// start exports the snapshot and starts pg_dump under it.
func (g *GroupDumper) start(ctx, look context.Context, o *opening, members []*Member) (*dump, error) {
	s, err := o.selection(look)
	if err != nil {
		return nil, err
	}
	s.lockWait = groupLocking
	args, err := arguments(s)
	if err != nil {
		return nil, err
	}
	p, out, err := o.spawn(s, args)
	if err != nil {
		return nil, err
	}
	if err := o.warnEach(look, members); err != nil {
		o.stop(p, out)
		return nil, err
	}
	d := o.follow(ctx, p, out)
	// No inquiry: the members' own dumps find the cause.
	d.inquire = func(exit error) error {
		return fmt.Errorf("pg_dump: %w: %s", exit, o.redact(p.Stderr()))
	}
	return d, nil
}

// warnEach finds what the dump of each member leaves out. Usually that is nothing, which one query for
// all members shows.
func (o *opening) warnEach(ctx context.Context, members []*Member) error {
	if o.session.bare {
		defer func() {
			for _, m := range members {
				m.notes.warnings = append(m.notes.warnings, poolerWarning)
			}
		}()
	}
	all, err := o.session.notes(ctx, o.survey)
	if err != nil || len(all.warnings) == 0 {
		return err
	}
	for _, m := range members {
		own := *o.survey
		own.schemas, own.relations = m.oids, m.relations
		if m.notes, err = o.session.notes(ctx, &own); err != nil {
			return err
		}
	}
	return nil
}

// spoolBuffer is how much is read from pg_dump and written to the spool at a time.
const spoolBuffer = 256 << 10

// divide reads the group dump to its end and returns the part of each member.
func (g *GroupDumper) divide(ctx context.Context, o *opening, d *dump, members []*Member) (map[*Member]*memberPart, error) {
	s, err := newGroupSpool(g.config.Dir, &g.budget)
	if err != nil {
		return nil, err
	}
	defer s.release()
	x := archive.NewIndexer()
	// The reader ends with io.EOF only after pg_dump exited 0.
	if _, err := io.CopyBuffer(io.MultiWriter(s, x), struct{ io.Reader }{d}, make([]byte, spoolBuffer)); err != nil {
		return nil, err
	}
	index, err := x.Finish()
	if err != nil {
		return nil, err
	}
	rows, err := d.Rows(ctx)
	if err != nil {
		return nil, err
	}
	projects := make([][]string, len(members))
	for i, m := range members {
		projects[i] = m.job.Schemas
	}
	parts, err := archive.Split(s, index, projects)
	if err != nil {
		return nil, err
	}
	bySchema := map[string]map[export.Table]int64{}
	for table, n := range rows {
		if bySchema[table.Schema] == nil {
			bySchema[table.Schema] = map[export.Table]int64{}
		}
		bySchema[table.Schema][table] = n
	}
	restore, _ := g.restoreOf(o.version)
	out := map[*Member]*memberPart{}
	for i, m := range members {
		if parts[i] == nil { // it refers to another member
			continue
		}
		s.hold()
		out[m] = &memberPart{
			dumper: g, spool: s, part: parts[i], format: m.job.Format, restore: restore,
			rows: merge(bySchema, m.job.Schemas),
			info: export.DumpInfo{
				ServerVersion: printable(o.session.version()), PgDumpVersion: o.version.Text,
				EstimatedBytes: m.bytes, Warnings: m.notes.warnings, Needs: m.notes.needs,
			},
		}
	}
	return out, nil
}

func merge(bySchema map[string]map[export.Table]int64, schemas []string) map[export.Table]int64 {
	out := map[export.Table]int64{}
	for _, name := range schemas {
		for table, n := range bySchema[name] {
			out[table] = n
		}
	}
	return out
}
