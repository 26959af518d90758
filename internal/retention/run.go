package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
)

// run is one run over all projects or one.
type run struct {
	*Pruner
	// trust holds for each destination that was looked at why it is not trusted; nil: it is.
	trust map[string]error
}

// carryOut acts on the verdicts of one project. No deletion begins while what is to remain is
// not there: the ledger may be wrong about it, and the others would be the last good ones. None
// begins either while a destination does not look like the one that the ledger knows.
func (p run) carryOut(ctx context.Context, verdicts []Verdict) error {
	if slices.ContainsFunc(verdicts, Verdict.begins) {
		why, err := p.distrust(ctx)
		if err != nil {
			return err
		}
		if why == "" {
			why = p.unfounded(ctx, verdicts)
		}
		if why != "" {
			p.Log.WarnContext(ctx, "exports are not deleted", "project_id", verdicts[0].Project, "reason", why)
			for i := range verdicts {
				if v := &verdicts[i]; v.begins() {
					v.Step, v.Fault = Notified, why
				}
			}
		}
	}
	for i := range verdicts {
		if err := p.act(ctx, &verdicts[i]); err != nil {
			return err
		}
	}
	return nil
}

// distrust returns why a destination's answer that an export is absent must not be recorded; "":
// all may. Otherwise exports would be recorded as deleted that still exist elsewhere, for instance
// on a file system that is not mounted.
func (p run) distrust(ctx context.Context) (string, error) {
	for _, b := range p.Bins {
		at := b.Destination()
		fault, looked := p.trust[at]
		if !looked {
			var err error
			if fault, err = p.look(ctx, b); err != nil {
				return "", err
			}
			p.trust[at] = fault
		}
		if fault != nil {
			return fmt.Sprintf("%s: %v", at, fault), nil
		}
	}
	return "", nil
}

// look returns the fault of a destination. err is the ledger's.
func (p run) look(ctx context.Context, b Bin) (fault, err error) {
	if fault := b.Confirm(ctx); fault != nil {
		return fault, nil
	}
	keys, err := p.Records.StoredAt(ctx, b.Destination(), sample)
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	for _, key := range keys {
		// A destination that cannot be asked cannot delete either; the deletion then fails with its
		// error.
		if held, err := b.Holds(ctx, key); held || err != nil {
			return nil, ctx.Err()
		}
	}
	return fmt.Errorf("none of the %d newest exports that the ledger has there is there: nothing is deleted. Is it the right storage? "+
		"Records of exports that are gone for good are withdrawn by `pgcourier rm`", len(keys)), nil
}

// begins says that the deletion is still to begin.
func (v Verdict) begins() bool {
	return v.Step == Deleting && v.Record.Expiry.DeletingAt.IsZero()
}

// unfounded returns why the newest good or the newest verified export of a project cannot be
// relied on while others are deleted; "": each is at a destination.
func (p *Pruner) unfounded(ctx context.Context, verdicts []Verdict) string {
	good := func(v Verdict) bool { return v.Keep && !v.Damaged }
	verified := func(v Verdict) bool { return good(v) && v.Verified }
	for _, which := range []func(Verdict) bool{good, verified} { // they come newest first
		i := slices.IndexFunc(verdicts, which)
		if i < 0 {
			continue
		}
		v := verdicts[i]
		held := false
		var faults []error
		for _, b := range p.Bins {
			there, err := b.Holds(ctx, v.Record.Object)
			if err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", b.Destination(), err))
			}
			held = held || there
		}
		switch err := errors.Join(faults...); {
		case held:
		case err != nil:
			return fmt.Sprintf("whether %s, which stays, is stored cannot be told: %v", v.Request, err)
		default:
			return fmt.Sprintf("%s, which stays, is at no destination", v.Request)
		}
	}
	return ""
}

// act carries a verdict out. Its errors are the ledger's; what the broker or a destination
// cannot do is noted in the verdict, and tried again by the next run.
func (p run) act(ctx context.Context, v *Verdict) error {
	log := p.Log.With("project_id", v.Project, "request_id", v.Request)
	switch v.Step {
	case Kept:
		if v.Record.Expiry != nil {
			log.InfoContext(ctx, "export kept, its deletion is withdrawn: the rules keep it again")
			return p.Records.Spare(ctx, v.ID)
		}
	case Warning:
		if err := p.Announcer.Expiring(ctx, Notice{v.Record, v.Why[0], v.DeleteAt.Add(-p.Notice), v.DeleteAt}); err != nil {
			// No warning was published: the notice period does not begin.
			log.WarnContext(ctx, "warning before a deletion not published", "error", err)
			v.Fault = err.Error()
			return nil
		}
		log.InfoContext(ctx, "export will be deleted", "reason", v.Why[0], "at", v.DeleteAt)
		return p.Records.Warned(ctx, v.ID, v.Why[0])
	case Deleting:
		return p.remove(ctx, v, log)
	case Notified, Failing, Deletion, Missing: // the notice runs; the others are what acting made of it
	}
	return nil
}

// remove deletes an export at every destination.
func (p run) remove(ctx context.Context, v *Verdict, log *slog.Logger) error {
	if err := p.Records.KeepPruning(ctx, p.Holder, lease); err != nil {
		return err
	}
	first := v.begins()
	if first {
		begun, err := p.Records.BeginDeletion(ctx, v.ID, p.Notice)
		if err != nil {
			return err
		}
		if !begun { // something changed since it was judged
			v.Step = Notified
			return nil
		}
	}
	if why, err := p.distrust(ctx); err != nil || why != "" {
		if err != nil {
			return err
		}
		v.Step, v.Fault = Failing, why
		log.WarnContext(ctx, "an export could not be deleted, trying again", "error", why)
		return p.Records.DeletionFailed(ctx, v.ID, why)
	}
	var results []Result
	var faults []error
	for _, b := range p.Bins {
		became, err := b.Remove(ctx, v.Record.Object)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", b.Destination(), err))
			continue
		}
		results = append(results, Result{b.Destination(), became})
	}
	if err := errors.Join(faults...); err != nil {
		v.Step, v.Fault = Failing, err.Error()
		log.WarnContext(ctx, "an export could not be deleted everywhere, trying again", "error", err)
		return p.Records.DeletionFailed(ctx, v.ID, err.Error())
	}
	v.Step = Deletion
	if !first || slices.ContainsFunc(results, func(r Result) bool { return r.Result != absent }) {
		log.InfoContext(ctx, "an export was deleted", "reason", v.Why[0])
	} else { // no earlier run can have deleted it
		v.Step = Missing
		log.WarnContext(ctx, "an export that was to be deleted was at no destination", "reason", v.Why[0])
	}
	return p.Records.Deleted(ctx, v.ID, results)
}
