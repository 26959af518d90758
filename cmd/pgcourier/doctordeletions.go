package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/doctor"
)

// mostDeletions bounds the exports that are named.
const mostDeletions = 5

// checkDeletions names what the pruner keeps failing to delete, whichever process that is.
func (x *examination) checkDeletions(ctx context.Context, r *doctor.Report) {
	if x.pool == nil {
		return // nothing is exported from here, or database says what is wrong
	}
	l, err := x.ledger(ctx)
	if err != nil {
		r.Skip("deletions", "the ledger cannot be read: see database/ledger")
		return
	}
	failing, total, err := l.FailingDeletions(ctx, mostDeletions)
	switch {
	case err != nil:
		r.Skip("deletions", "what retention is to delete cannot be read: "+databaseTrouble(err).Found)
	case total == 0:
		r.OK("deletions", "none keeps failing")
	default:
		var names []string
		for _, f := range failing {
			names = append(names, f.String())
		}
		if more := total - len(failing); more > 0 {
			names = append(names, fmt.Sprintf("%d more", more))
		}
		first := failing[0] // a finding is cut where it is too long: the names come before what one destination says
		r.Add("deletions", doctor.Finding{
			State: doctor.Fault,
			Found: fmt.Sprintf("cannot be deleted: %s; %s since %s, in %d runs: %s", strings.Join(names, ", "),
				first.Request, first.Since.Format(time.DateOnly), first.Tries, first.Fault),
			Mend: "let the destination delete what it says, then run `pgcourier prune`, or wait for the pruner: see docs/operate.md, PgcourierDeletionsFailing",
		})
	}
}
