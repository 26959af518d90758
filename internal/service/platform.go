package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// The actions of a Change.
const (
	Create = "create"
	Alter  = "change"
	Remove = "remove" // a schedule is deleted, a token revoked
	Keep   = "keep"
)

// Change is a difference between a platform's file and what there is.
type Change struct {
	Kind    string `json:"kind"`       // schedule, token or retention
	Project string `json:"project_id"` // of retention it may end with *
	Name    string `json:"name"`       // a token's is its label; empty: retention's
	Action  string `json:"action"`
	// Fields differ; of a new or removed one none is listed.
	Fields []Difference `json:"fields,omitempty"`
	// Token is the secret of a new token that has no file. It is set by Apply.
	Token string `json:"token,omitempty"`

	do func(context.Context) (secret string, err error) // nil: nothing
}

// Difference is a field of a Change.
type Difference struct {
	Field string `json:"field"`
	Was   string `json:"was"`
	Will  string `json:"will"`
}

// Records are where the objects of a Platform are.
type Records struct {
	Schedules *broker.Schedules // nil: the file has none, and nothing is pruned
	Ledger    *ledger.Ledger    // nil: likewise, for tokens and retention
	// By names the person for the records.
	By string
}

// appliedBy begins the maker's name of each token that Apply has made.
const appliedBy = "apply: "

// Needs reports what Compare needs in Records.
func (p Platform) Needs(prune bool) (schedules, ledger bool) {
	return len(p.schedules) > 0 || prune && p.lists.schedules, len(p.tokens)+len(p.rules) > 0 || prune && (p.lists.tokens || p.lists.rules)
}

// Compare returns the changes that make what there is the same as the file. With prune, what an
// earlier Apply made and the file's list of that kind has no more is removed. What was made in
// another way stays, and so do all of a kind that the file does not list.
func (p Platform) Compare(ctx context.Context, r Records, prune bool, now time.Time) ([]Change, error) {
	var all []Change
	if r.Schedules != nil {
		found, err := r.Schedules.List(ctx, "")
		if err != nil {
			return nil, err
		}
		all = append(all, p.compareSchedules(r, found, prune)...)
	}
	if r.Ledger != nil {
		found, err := r.Ledger.Tokens(ctx, "")
		if err != nil {
			return nil, err
		}
		found = slices.DeleteFunc(found, func(t access.Token) bool { return t.State(now) != "active" })
		tokens, err := p.compareTokens(r, found, prune)
		if err != nil {
			return nil, err
		}
		rules, err := r.Ledger.RetentionRules(ctx)
		if err != nil {
			return nil, err
		}
		all = append(append(all, tokens...), p.compareRules(r, rules, prune)...)
	}
	return all, nil
}

func (p Platform) compareSchedules(r Records, found []broker.Schedule, prune bool) (all []Change) {
	for _, want := range p.schedules {
		c := Change{Kind: "schedule", Project: want.Project, Name: want.Name, Action: Create}
		c.do = func(ctx context.Context) (string, error) { return "", r.Schedules.Add(ctx, want, true) }
		i := slices.IndexFunc(found, func(s broker.Schedule) bool { return s.Project == want.Project && s.Name == want.Name })
		if i >= 0 {
			was := found[i]
			for _, f := range []Difference{
				{"cron", was.Pattern, want.Pattern}, {"tz", was.Zone, want.Zone},
				{"paused", strconv.FormatBool(was.Paused), strconv.FormatBool(want.Paused)}, {"request", string(was.Body), string(want.Body)},
				{"made by apply", strconv.FormatBool(was.Applied), strconv.FormatBool(want.Applied)},
			} {
				if f.Was != f.Will {
					c.Fields = append(c.Fields, f)
				}
			}
			c.Action = Alter
			if len(c.Fields) == 0 {
				c.Action, c.do = Keep, nil
			}
		}
		all = append(all, c)
	}
	for _, s := range found {
		declared := slices.ContainsFunc(p.schedules, func(d broker.Schedule) bool { return d.Project == s.Project && d.Name == s.Name })
		if prune && p.lists.schedules && s.Applied && !declared {
			all = append(all, Change{Kind: "schedule", Project: s.Project, Name: s.Name, Action: Remove,
				do: func(ctx context.Context) (string, error) { return "", r.Schedules.Remove(ctx, s.Project, s.Name) }})
		}
	}
	return all
}

func (p Platform) compareTokens(r Records, found []access.Token, prune bool) (all []Change, err error) {
	var faults []error
	for _, want := range p.tokens {
		c := Change{Kind: "token", Project: want.Project, Name: want.Label, Action: Create}
		c.do = func(ctx context.Context) (string, error) { return want.create(ctx, r) }
		same := slices.DeleteFunc(slices.Clone(found), func(t access.Token) bool { return t.Project != want.Project || t.Label != want.Label })
		switch {
		case len(same) > 1:
			faults = append(faults, fmt.Errorf("%d active tokens of project %s have the label %q: revoke all but one", len(same), want.Project, want.Label))
		case len(same) == 1 && slices.Equal(same[0].Scopes, want.Scopes):
			c.Action, c.do = Keep, nil
		case len(same) == 1:
			c.Action, c.Fields = Alter, []Difference{{"scopes", scopes(same[0]), scopes(want.Token)}}
			c.do = func(ctx context.Context) (string, error) {
				return "", r.Ledger.ChangeToken(ctx, same[0].ID, want.Scopes)
			}
		}
		all = append(all, c)
	}
	for _, t := range found {
		declared := slices.ContainsFunc(p.tokens, func(d declaredToken) bool { return d.Project == t.Project && d.Label == t.Label })
		if prune && p.lists.tokens && strings.HasPrefix(t.CreatedBy, appliedBy) && !declared {
			all = append(all, Change{Kind: "token", Project: t.Project, Name: t.Label, Action: Remove, do: func(ctx context.Context) (string, error) {
				_, err := r.Ledger.RevokeToken(ctx, t.ID, appliedBy+r.By)
				return "", err
			}})
		}
	}
	return all, errors.Join(faults...)
}

func scopes(t access.Token) string {
	var all []string
	for _, s := range t.Scopes {
		all = append(all, string(s))
	}
	return strings.Join(all, ", ")
}

// create makes a token and writes its secret into the file, or returns it.
func (t declaredToken) create(ctx context.Context, r Records) (string, error) {
	made, hash := access.NewSecret()
	if t.file != "" { // first, because a token without its secret is of no use
		old, err := os.ReadFile(t.file)
		if err == nil && !bytes.HasPrefix(old, []byte(access.TokenPrefix)) {
			return "", fmt.Errorf("%s holds something else than a token", t.file)
		}
		if err := os.Remove(t.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err := secret.Create(t.file, []byte(made.Reveal()+"\n")); err != nil {
			return "", err
		}
	}
	t.ID, t.CreatedBy = access.NewTokenID(), appliedBy+r.By
	if _, err := r.Ledger.AddToken(ctx, t.Token, hash, t.valid); err != nil {
		return "", err
	}
	if t.file != "" {
		return "", nil
	}
	return made.Reveal(), nil
}

// Apply makes a change. It does nothing for Keep.
func (c *Change) Apply(ctx context.Context) (err error) {
	if c.do == nil {
		return nil
	}
	if c.Token, err = c.do(ctx); err != nil {
		return fmt.Errorf("%s %s: %w", c.Action, c, err)
	}
	return nil
}
