package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/retention"
)

const (
	retentionRules = `SELECT projects, policy, set_at, set_by FROM pgcourier.retention_rules WHERE ended_at IS NULL`

	listRetentionRules = retentionRules + ` ORDER BY projects COLLATE "C"`

	// A rule for the project itself goes before one for several; of these, the longest.
	retentionRuleOf = retentionRules + `
AND (projects = $1 OR right(projects, 1) = '*' AND starts_with($1, left(projects, -1)))
ORDER BY projects = $1 DESC, length(projects) DESC LIMIT 1`

	// The count makes the statement end the old rule before it adds the new one.
	setRetentionRule = `
WITH ended AS (
    UPDATE pgcourier.retention_rules SET ended_at = clock_timestamp(), ended_by = $3::text
    WHERE projects = $1::text AND ended_at IS NULL RETURNING projects)
INSERT INTO pgcourier.retention_rules (projects, policy, set_by)
SELECT $1::text, $2::text, $3::text FROM (SELECT count(*) FROM ended) AS first`

	endRetentionRule = `
UPDATE pgcourier.retention_rules SET ended_at = clock_timestamp(), ended_by = $2::text
WHERE projects = $1::text AND ended_at IS NULL`
)

// ErrRuleSet is wrapped by SetRetentionRule.
var ErrRuleSet = errors.New("another program has just set the rule of retention: run it again")

type retentionRule struct {
	Projects string    `db:"projects"`
	Policy   string    `db:"policy"`
	SetAt    time.Time `db:"set_at"`
	SetBy    string    `db:"set_by"`
}

// RetentionRules returns the rules of retention that hold, in the order of their projects.
func (l *Ledger) RetentionRules(ctx context.Context) ([]retention.Rule, error) {
	return l.retentionRules(ctx, "list the rules of retention", listRetentionRules)
}

// RetentionRule returns the rule of retention that holds for a project. found is false if there is
// none.
func (l *Ledger) RetentionRule(ctx context.Context, project string) (r retention.Rule, found bool, err error) {
	all, err := l.retentionRules(ctx, "look up the rule of retention of project "+project, retentionRuleOf, text(project))
	if err != nil || len(all) == 0 {
		return retention.Rule{}, false, err
	}
	return all[0], true, nil
}

func (l *Ledger) retentionRules(ctx context.Context, what, sql string, args ...any) ([]retention.Rule, error) {
	rows, err := read[retentionRule](ctx, l, what, sql, args...)
	out := make([]retention.Rule, len(rows))
	for i, r := range rows {
		out[i] = retention.Rule{Projects: r.Projects, Policy: r.Policy, SetAt: r.SetAt.UTC(), SetBy: r.SetBy}
	}
	return out, err
}

// SetRetentionRule adds a rule of retention, or replaces the one for the same projects. The replaced
// one is kept with its end. ErrRuleSet if another one is set at the same time.
func (l *Ledger) SetRetentionRule(ctx context.Context, r retention.Rule) error {
	err := l.note(ctx, "set the rule of retention for "+r.Projects, nil, setRetentionRule, text(r.Projects), text(r.Policy), text(r.SetBy))
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "23505" { // unique_violation
		return fmt.Errorf("%w for %s", ErrRuleSet, r.Projects)
	}
	return err
}

// EndRetentionRule ends the rule of retention for projects. It does nothing if there is none.
func (l *Ledger) EndRetentionRule(ctx context.Context, projects, by string) error {
	return l.note(ctx, "end the rule of retention for "+projects, nil, endRetentionRule, text(projects), text(by))
}
