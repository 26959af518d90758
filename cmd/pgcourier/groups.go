package main

import (
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
)

// grouping says whether projects may share a dump.
func grouping(c config.Config) bool { return c.GroupMax > 1 }

// openGroups lets small projects that wait at the same time share a dump. That needs a
// folder for its spool.
func (w *worker) openGroups(dumper *pgdump.Dumper, spool bool) error {
	c := w.config
	if !grouping(c) || !spool {
		return nil
	}
	groups, err := pgdump.NewGroups(pgdump.GroupConfig{
		Dumper: dumper, Dir: c.Spool(), SpoolBytes: int64(c.GroupSpool), MemberBytes: int64(c.GroupBytes),
	})
	if err != nil {
		return exit(exitUsage, err)
	}
	seats := func(n int) []export.Seat {
		all := make([]export.Seat, n)
		for i, guest := range groups.Invite(n) {
			all[i] = seat{w.telemetry.Dumper(guest), guest}
		}
		return all
	}
	w.groups = handlers.NewGroups(seats, c.GroupMax)
	return nil
}

// seat is a guest whose dump is traced like any other.
type seat struct {
	export.Dumper
	guest *pgdump.Guest
}

var _ export.Seat = seat{}

// Leave implements export.Seat.
func (s seat) Leave() { s.guest.Leave() }
