package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// target is where restores of some projects go.
type target struct {
	dsn   secret.String
	owner string
}

// checkTargets looks whether the targets of restores by event hold a schema pgcourier_restore that
// restorers refuse. It connects to each as a restorer does, to all at once.
func (x *examiner) checkTargets(ctx context.Context, r *Report) {
	if x.pool == nil || x.Settings.RestoreQuery == "" {
		return
	}
	targets := project.NewRestores(x.pool, x.Settings.RestoreQuery)
	if err := targets.Check(ctx); err != nil {
		r.Skip("", "the restore query cannot be used: see database/restore-query")
		return
	}
	projects := map[target][]string{}
	for _, id := range x.restorable(ctx) {
		t, err := targets.Lookup(ctx, id)
		if f, ok := errors.AsType[*export.Fault](err); ok && f.Code == codes.ProjectNotFound {
			continue // nothing may be restored into it
		}
		if err != nil {
			r.Add(id, projectFinding(err))
			continue
		}
		at := target{cmp.Or(t.DSN, x.Settings.DatabaseURL), t.Owner}
		projects[at] = append(projects[at], id)
	}
	if len(projects) == 0 {
		r.Skip("", "no project that was named or used lately has a target")
		return
	}
	var group errgroup.Group
	group.SetLimit(mostProjects)
	for at, ids := range projects {
		group.Go(func() error {
			f := x.checkTarget(ctx, at)
			if len(ids) > 1 {
				f.Found += "; the target of " + strings.Join(ids[1:], ", ") + " too"
			}
			r.Add(ids[0], f)
			return nil
		})
	}
	_ = group.Wait() // always nil
}

func (x *examiner) checkTarget(ctx context.Context, at target) Finding {
	source, err := libpq.Parse(at.dsn)
	if err != nil {
		return Finding{State: Fault, Found: err.Error(), Fix: "correct the column dsn of the answer to PGCOURIER_RESTORE_QUERY"}
	}
	faults, err := restore.MarkerFaults(ctx, source.WithPasswordCommand(x.Settings.PasswordCommand), at.owner)
	if err != nil {
		f := databaseFinding(err)
		f.Fix = strings.ReplaceAll(f.Fix, databaseURL, "the column dsn of the answer to PGCOURIER_RESTORE_QUERY")
		return f
	}
	if len(faults) == 0 {
		return Finding{State: OK, Found: "what the target holds of restores is as they make it"}
	}
	return Finding{
		State: Fault, Found: fmt.Sprintf("restores into it are refused (%s): %s", codes.TargetForbidden, strings.Join(faults, "; ")),
		Fix: "find out who did it, and give the schema pgcourier_restore back to the restorer's login, or drop it: see docs/restore-as-event.md",
	}
}

// restorable returns the projects of which the targets are examined: those that are named, else those that
// were restored into lately, and those that were exported lately.
func (x *examiner) restorable(ctx context.Context) (ids []string) {
	if len(x.Projects) > 0 {
		return x.Projects
	}
	if l, err := x.ledger(ctx); err == nil {
		// A login without the rights of a restorer sees the exports only.
		restores, _ := l.Restores().List(ctx, "", recentRequests)
		for _, e := range restores {
			if !e.Refused && e.Code != codes.ProjectNotFound && !slices.Contains(ids, e.Project) {
				ids = append(ids, e.Project)
			}
		}
	}
	exported, _ := x.recentProjects(ctx) // the check of projects says why it has none
	for _, id := range exported {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids[:min(len(ids), mostProjects)]
}
