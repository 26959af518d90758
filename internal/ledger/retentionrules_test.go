package ledger_test

import (
	"testing"

	"github.com/pgcourier/pgcourier/internal/retention"
)

func TestTheRuleForTheProjectItselfGoesBeforeThoseForSeveral(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, projects := range []string{"acme*", "*", "acme", "acme-trial-*", "under_*", "globex"} {
		if err := b.SetRetentionRule(t.Context(), retention.Rule{Projects: projects, Policy: "last=1", SetBy: "ann"}); err != nil {
			t.Fatal(err)
		}
	}
	for project, want := range map[string]string{
		"acme": "acme", "acme2": "acme*", "acme-trial-1": "acme-trial-*", "acme-trial-": "acme-trial-*", "initech": "*",
		"globex": "globex", "globex2": "*", "under_a": "under_*", "underXa": "*",
	} {
		if r, found, err := b.RetentionRule(t.Context(), project); err != nil || !found || r.Projects != want {
			t.Errorf("of %s: the rule for %q (%t, %v), want %q", project, r.Projects, found, err, want)
		}
	}
	if err := b.EndRetentionRule(t.Context(), "*", "bob"); err != nil {
		t.Fatal(err)
	}
	if r, found, err := b.RetentionRule(t.Context(), "initech"); err != nil || found {
		t.Errorf("found %+v, %v", r, err)
	}
}

func TestAReplacedRuleIsKeptWithItsEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, policy := range []string{"last=1", "last=2"} {
		if err := b.SetRetentionRule(t.Context(), retention.Rule{Projects: "acme", Policy: policy, SetBy: "ann\x00"}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := b.RetentionRules(t.Context())
	if err != nil || len(all) != 1 || all[0].Policy != "last=2" || all[0].SetBy != "ann" || all[0].SetAt.IsZero() {
		t.Errorf("the rules are %+v, %v", all, err)
	}
	for range 2 { // ending it again does nothing
		if err := b.EndRetentionRule(t.Context(), "acme", "bob"); err != nil {
			t.Fatal(err)
		}
	}
	if all, err = b.RetentionRules(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("the rules are %+v, %v", all, err)
	}
	var ends string
	b.scan(t, "SELECT string_agg(policy || ' ' || ended_by, ', ' ORDER BY rule_id) FROM pgcourier.retention_rules WHERE ended_at >= set_at", &ends)
	if ends != "last=1 ann, last=2 bob" {
		t.Errorf("the ends are %q", ends)
	}
}
