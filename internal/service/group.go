package service

import (
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// grouping says whether projects may share a dump.
func grouping(c config.Config) bool { return c.GroupMax > 1 }

// newGroups lets small projects that wait at the same time share a dump. The dumper has a spool.
func newGroups(c config.Config, dumper *pgdump.Dumper, tel *telemetry.Telemetry) (*handlers.Groups, error) {
	groups, err := pgdump.NewGroups(pgdump.GroupConfig{
		Dumper: dumper, Dir: c.Spool(), SpoolBytes: int64(c.GroupSpool), MemberBytes: int64(c.GroupBytes),
	})
	if err != nil {
		return nil, config.AsError(err)
	}
	seats := func(n int) []export.Seat {
		all := make([]export.Seat, n)
		for i, guest := range groups.Invite(n) {
			all[i] = seat{tel.Dumper(guest), guest}
		}
		return all
	}
	return handlers.NewGroups(seats, c.GroupMax), nil
}

// seat is a guest whose dump is traced like any other.
type seat struct {
	export.Dumper
	guest *pgdump.Guest
}

var _ export.Seat = seat{}

// Leave implements export.Seat.
func (s seat) Leave() { s.guest.Leave() }
