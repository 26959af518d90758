package retention

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Rule is a policy that `pgcourier apply` has set for one project or for several. Of the rules for a
// project, the one for its id holds, else the one with the longest beginning.
type Rule struct {
	// Projects is a project id, or the beginning of ids with "*" at the end. "*" is for all.
	Projects string
	// Policy is as Parse reads it.
	Policy string
	SetAt  time.Time
	SetBy  string
}

// Origin tells where the policy of a project is from.
type Origin string

// The origins. The first that names a policy for the project decides.
const (
	FromProject Origin = "project" // its row of the control plane
	FromRule    Origin = "rule"    // a Rule
	FromDefault Origin = "default" // RETENTION of the process that prunes
)

// Rules are a project's policy and where it is from.
type Rules struct {
	Policy
	From     Origin
	Projects string // of the Rule
}

// Text is the policy as Parse reads it; "all" keeps all.
func (p Policy) Text() string { return cmp.Or(p.String(), everything) }

// Judged is the policy that the exports of a project were judged by.
type Judged struct {
	Project string `json:"project_id"`
	Policy  string `json:"policy"`
	From    Origin `json:"from"`
	RuleFor string `json:"rule_for,omitempty"` // the projects of the Rule
}

// Judged returns the policies of the projects in the order of their ids.
func (r Report) Judged() []Judged {
	out := make([]Judged, 0, len(r.Rules))
	for _, project := range slices.Sorted(maps.Keys(r.Rules)) {
		of := r.Rules[project]
		out = append(out, Judged{project, of.Text(), of.From, of.Projects})
	}
	return out
}

// Source describes where the policy is from.
func (j Judged) Source() string {
	switch j.From {
	case FromProject:
		return "the project's row of the control plane"
	case FromRule:
		return "the applied rule for " + j.RuleFor
	default:
		return "PGCOURIER_RETENTION"
	}
}

// String names the project, its policy and where that is from.
func (j Judged) String() string {
	return "project " + j.Project + ": " + j.Policy + ", from " + j.Source()
}
