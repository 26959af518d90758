package service

import (
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// groups reports whether projects may share a dump.
func groups(c config.Config) bool { return c.GroupMax > 1 }

// newGroups returns the groups in which small projects share a dump. The dumper must have a spool.
func newGroups(c config.Config, dumper *pgdump.Dumper, tel *telemetry.Telemetry) (*handlers.Groups, error) {
	d, err := pgdump.NewGroupDumper(pgdump.GroupConfig{
		Dumper: dumper, Dir: c.Spool(), SpoolBytes: int64(c.GroupSpool), MemberBytes: int64(c.GroupBytes),
	})
	if err != nil {
		return nil, config.AsError(err)
	}
	members := func(k export.GroupKey, n int) []export.Member {
		all := make([]export.Member, n)
		for i, m := range d.NewGroup(k, n) {
			all[i] = tracedMember{tel.Dumper(m), m}
		}
		return all
	}
	return handlers.NewGroups(members, c.GroupMax), nil
}

// tracedMember is a member of a group with a traced dump.
type tracedMember struct {
	export.Dumper
	member *pgdump.Member
}

// Leave implements export.Member.
func (m tracedMember) Leave() { m.member.Leave() }
