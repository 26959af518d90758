package service

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/retention"
)

// declaredRule returns a rule of retention with its policy in the usual order.
func declaredRule(projects, keep string) (retention.Rule, error) {
	beginning, several := strings.CutSuffix(projects, "*")
	if !events.ValidProject(beginning) && (!several || beginning != "") {
		return retention.Rule{}, errors.New("its project is no project id, nor the beginning of ids with * at the end")
	}
	if strings.TrimSpace(keep) == "" {
		return retention.Rule{}, errors.New("it needs keep, for instance last=7,max-age=90d; all keeps everything")
	}
	policy, err := retention.Parse(keep)
	return retention.Rule{Projects: projects, Policy: policy.Text()}, err
}

func (p Platform) compareRules(r Records, found []retention.Rule, prune bool) (all []Change) {
	for _, want := range p.rules {
		want.SetBy = appliedBy + r.By
		c := Change{Kind: "retention", Project: want.Projects, Action: Create, Fields: []Difference{{"rule", "", want.Policy}}}
		c.do = func(ctx context.Context) (string, error) { return "", r.Ledger.SetRetentionRule(ctx, want) }
		if i := slices.IndexFunc(found, func(f retention.Rule) bool { return f.Projects == want.Projects }); i >= 0 {
			c.Action, c.Fields = Alter, []Difference{{"rule", found[i].Policy, want.Policy}}
			if found[i].Policy == want.Policy {
				c.Action, c.Fields, c.do = Keep, nil, nil
			}
		}
		all = append(all, c)
	}
	for _, f := range found {
		declared := slices.ContainsFunc(p.rules, func(d retention.Rule) bool { return d.Projects == f.Projects })
		if prune && p.lists.rules && strings.HasPrefix(f.SetBy, appliedBy) && !declared {
			all = append(all, Change{
				Kind: "retention", Project: f.Projects, Action: Remove, Fields: []Difference{{"rule", f.Policy, ""}},
				do: func(ctx context.Context) (string, error) {
					return "", r.Ledger.EndRetentionRule(ctx, f.Projects, appliedBy+r.By)
				},
			})
		}
	}
	return all
}

// String shows both values of a field.
func (d Difference) String() string {
	return d.Field + ": " + cmp.Or(d.Was, "none") + " -> " + cmp.Or(d.Will, "none")
}

// String names what a change is about, for instance "schedule nightly of project acme".
func (c Change) String() string {
	return strings.TrimSuffix(c.Kind+" "+c.Name, " ") + " of project " + c.Project
}
