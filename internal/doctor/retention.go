package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/retention"
)

// checkRetention reads the rules for all projects; those of a project's own are its check's.
func (x *examiner) checkRetention(ctx context.Context, r *Report) {
	x.checkDeletions(ctx, r)
	policy, err := retention.Parse(x.Settings.Retention)
	if err != nil {
		r.Add("", Finding{State: Fault, Found: "PGCOURIER_RETENTION: " + err.Error(), Fix: "correct it: see docs/retention.md"})
		return
	}
	rules, known := x.appliedRules(ctx, r)
	found := policy.Text()
	if rules > 0 {
		found += fmt.Sprintf(", and %d applied rules", rules)
	}
	switch {
	case policy.KeepsAll() && rules == 0 && known:
		r.OK("", "RETENTION is not set, and no rule was applied: exports are deleted only by rules in a project's row")
	case policy.KeepsAll() && rules == 0:
		r.OK("", "RETENTION is not set: exports are deleted only by rules in a project's row and by applied rules")
	case !x.Settings.Serves(config.RolePruner):
		r.Add("", x.prunedElsewhere(ctx, found))
	default:
		r.OK("", "%s", found)
	}
}

// appliedRules returns how many rules `pgcourier apply` has set. known is false if the ledger does not
// tell; the check of the database then says why. It reports those that cannot be read.
func (x *examiner) appliedRules(ctx context.Context, r *Report) (n int, known bool) {
	l, err := x.ledger(ctx)
	if err != nil {
		return 0, false
	}
	rules, err := l.RetentionRules(ctx)
	for _, rule := range rules {
		if _, err := retention.Parse(rule.Policy); err != nil {
			r.Add("rules", Finding{
				State: Fault, Found: fmt.Sprintf("the applied rule for %s cannot be read, so everything of its projects is kept: %s", rule.Projects, err),
				Fix: "apply a file with a correct rule for it: see docs/retention.md",
			})
		}
	}
	return len(rules), err == nil
}

// prunedElsewhere is the finding where the roles here prune nothing: the ledger tells whether
// another process does.
func (x *examiner) prunedElsewhere(ctx context.Context, policy string) Finding {
	const fix = "run `pgcourier serve --roles pruner` somewhere, or `pgcourier prune` by a timer, with the same PGCOURIER_RETENTION"
	unknown := Finding{State: Unknown, Found: fmt.Sprintf("%s; the roles here prune nothing, and the ledger does not tell whether another process does", policy), Fix: fix}
	if x.pool == nil {
		return unknown
	}
	l, err := x.ledger(ctx)
	if err != nil {
		return unknown
	}
	last, err := l.LastPruned(ctx)
	if err != nil {
		return unknown
	}
	const late = 3 // runs that are missing
	switch age := x.Now().Sub(last); {
	case last.IsZero():
		return Finding{State: Warning, Found: fmt.Sprintf("%s, but nothing has ever been pruned: the roles here prune nothing", policy), Fix: fix}
	case age > late*x.Settings.PruneEvery:
		return Finding{State: Warning, Found: fmt.Sprintf("%s, but the last whole run of a pruner was on %s: the roles here prune nothing", policy, last.UTC().Format(time.DateOnly)), Fix: fix}
	}
	return Finding{State: OK, Found: fmt.Sprintf("%s, by another process: last on %s", policy, last.UTC().Format(time.DateOnly))}
}

// mostDeletions bounds the exports that are named.
const mostDeletions = 5

// checkDeletions names what the pruner keeps failing to delete, whichever process that is.
func (x *examiner) checkDeletions(ctx context.Context, r *Report) {
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
		r.Skip("deletions", "what retention is to delete cannot be read: "+databaseFinding(err).Found)
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
		r.Add("deletions", Finding{
			State: Fault,
			Found: fmt.Sprintf("cannot be deleted: %s; %s since %s, in %d runs: %s", strings.Join(names, ", "),
				first.Request, first.Since.Format(time.DateOnly), first.Tries, first.Fault),
			Fix: "let the destination delete what it says, then run `pgcourier prune`, or wait for the pruner: see docs/operate.md, PgcourierDeletionsFailing",
		})
	}
}
