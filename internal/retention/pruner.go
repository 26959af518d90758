package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	// lease is how long a pruner that died keeps others from pruning. It is renewed before
	// each project and each deletion.
	lease = 15 * time.Minute
	// gap is the longest pause between two runs that does not look like a clock that
	// jumped. A weekly run is within it.
	gap = 8 * day
	// ahead is how far an export may lie in the future: the clocks that tell its time and
	// the time now are the same, so this is for a clock that was set back.
	ahead = time.Minute
	// announcements of one run.
	announcements = 1000
	// sample is how many exports are looked for at a destination before anything is deleted there.
	sample = 20
)

// Config is what a Pruner needs. All but Log is required.
type Config struct {
	Records   Records
	Policies  Policies
	Bins      []Bin // every destination that exports are stored at
	Announcer Announcer
	// Holder names this process among those that prune.
	Holder string
	// Notice is the shortest time from the warning to the deletion.
	Notice time.Duration
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Pruner deletes what no policy keeps: it warns, waits for the notice to pass, deletes at
// every destination, announces. Each step is noted in the ledger before the next, so a run
// that is interrupted anywhere is taken up by the next one. It is safe for concurrent use;
// of several processes one prunes at a time.
type Pruner struct {
	Config
}

// NewPruner returns a Pruner.
func NewPruner(c Config) *Pruner {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Pruner{c}
}

// Step is what a run does about an export, or would do.
type Step string

// The steps.
const (
	Kept     Step = "kept"
	Warning  Step = "warning"  // the warning goes out now
	Notified Step = "notified" // the notice runs
	Deleting Step = "deleting" // it is deleted now
	Failing  Step = "failing"  // a destination could not delete; it is tried again
	Deletion Step = "deleted"
	Missing  Step = "missing" // it was to be deleted, and was at no destination
)

// Verdict is what a run says of one export.
type Verdict struct {
	Decision
	Step Step
	// DeleteAt is when it goes at the earliest; zero while it is kept.
	DeleteAt time.Time
	Fault    string // why it could not be deleted
	Record   Record
}

// Report is what a run found and did.
type Report struct {
	At       time.Time // by the ledger's clock
	Jumped   bool      // the clock jumped: every notice begins anew
	Verdicts []Verdict
	// Rules are the policies of the projects that were looked at, but for those in Spared.
	Rules map[string]Rules
	// Spared maps each project that keeps all its exports because of an uncertainty to the
	// description of that uncertainty.
	Spared map[string]string
}

// Plan says what Run would do about a project ("" for all), and changes nothing.
func (p *Pruner) Plan(ctx context.Context, project string, now time.Time) (Report, error) {
	r := Report{At: now, Rules: map[string]Rules{}, Spared: map[string]string{}}
	return r, p.each(ctx, project, &r, func([]Verdict) error { return nil })
}

// Run prunes a project ("" for all). ErrBusy: another process does. The report says what was done,
// also beside an error. A destination or project that fails does not stop the others: it is in the
// report and in the log.
func (p *Pruner) Run(ctx context.Context, project string) (Report, error) {
	now, jumped, err := p.Records.BeginPrune(ctx, p.Holder, lease, gap)
	if err != nil {
		return Report{}, err
	}
	whole := false
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := p.Records.EndPrune(end, p.Holder, whole); err != nil {
			p.Log.WarnContext(end, "the pruner's lease was not released, it expires by itself", "error", err)
		}
	}()
	if jumped {
		p.Log.WarnContext(ctx, "the ledger's clock jumped, or no run was made for days: every notice period starts again")
	}
	r := Report{At: now, Jumped: jumped, Rules: map[string]Rules{}, Spared: map[string]string{}}
	this := run{p, map[string]error{}}
	err = p.each(ctx, project, &r, func(of []Verdict) error { return this.carryOut(ctx, of) })
	err = errors.Join(err, p.announce(ctx))
	whole = err == nil && project == ""
	return r, err
}

// each judges the exports of each project and hands them on.
func (p *Pruner) each(ctx context.Context, project string, r *Report, act func([]Verdict) error) error {
	projects := []string{project}
	if project == "" {
		var err error
		if projects, err = p.Records.StoredProjects(ctx); err != nil {
			return err
		}
	}
	for _, project := range projects {
		verdicts, rules, spared, err := p.judge(ctx, project, r.At)
		if err != nil {
			return err
		}
		if spared == "" {
			r.Rules[project] = rules
		} else {
			r.Spared[project] = spared
			p.Log.WarnContext(ctx, "all exports of a project are kept", "project_id", project, "reason", spared)
		}
		if err := act(verdicts); err != nil {
			return err
		}
		r.Verdicts = append(r.Verdicts, verdicts...)
	}
	return nil
}

// judge says what is to become of a project's exports. spared is why all are kept although
// a policy might not keep them.
func (p *Pruner) judge(ctx context.Context, project string, now time.Time) (out []Verdict, rules Rules, spared string, err error) {
	records, err := p.Records.Stored(ctx, project)
	if err != nil {
		return nil, Rules{}, "", err
	}
	rules, known, err := p.Policies.Policy(ctx, project)
	policy := rules.Policy
	switch {
	case errors.Is(err, export.ErrUnavailable) || ctx.Err() != nil:
		return nil, Rules{}, "", err
	case err != nil:
		policy, spared = Policy{}, err.Error()
	case !known:
		policy, spared = Policy{}, "the control plane has no such project"
	}
	byID := map[export.ID]Record{}
	var all []Export
	for _, r := range records {
		byID[r.ID] = r
		all = append(all, r.Export)
		if r.FinishedAt.After(now.Add(ahead)) && !policy.KeepsAll() {
			policy, spared = Policy{}, fmt.Sprintf("%s was finished in the future, at %s: the ledger's clock was set back", r.Request, r.FinishedAt.UTC().Format(time.RFC3339))
		}
	}
	for _, d := range policy.Decide(all, now) {
		r := byID[d.ID]
		v := Verdict{Decision: d, Step: Kept, Record: r}
		switch e := r.Expiry; {
		case e != nil && !e.DeletingAt.IsZero():
			// Part of it may be gone: there is no way back.
			v.Keep, v.Why, v.Step, v.DeleteAt = false, []string{e.Reason}, Deleting, e.DeletingAt
		case d.Keep:
		case e == nil || e.WarnedAt.IsZero():
			v.Step, v.DeleteAt = Warning, now.Add(p.Notice)
		default:
			v.Step, v.DeleteAt = Notified, e.WarnedAt.Add(p.Notice)
			if !now.Before(v.DeleteAt) {
				v.Step = Deleting
			}
		}
		out = append(out, v)
	}
	return out, rules, spared, nil
}

// announce publishes what was deleted, by this run or by one that died before it could.
func (p *Pruner) announce(ctx context.Context) error {
	gone, err := p.Records.Unannounced(ctx, announcements)
	if err != nil {
		return err
	}
	for _, g := range gone {
		if err := p.Announcer.Expired(ctx, g); err != nil {
			p.Log.WarnContext(ctx, "deletion not announced, trying again", "project_id", g.Project, "request_id", g.Request, "error", err)
			return nil
		}
		if err := p.Records.Announced(ctx, g.ID); err != nil {
			return err
		}
	}
	return nil
}

// Serve runs every so often until ctx ends. Errors are logged.
func (p *Pruner) Serve(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		switch _, err := p.Run(ctx, ""); {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrBusy):
		case err != nil:
			p.Log.WarnContext(ctx, "pruning was interrupted", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
