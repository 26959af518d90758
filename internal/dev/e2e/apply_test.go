package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/doctor"
	"github.com/pgcourier/pgcourier/internal/service"
)

const declared = `
schedules:
  - {project: acme, cron: "0 3 * * *", tz: Europe/Berlin, request: {format: custom, metadata: {ticket: OPS-1}}}
  - {project: globex, name: hourly, cron: "@hourly", paused: true}
tokens:
  - {project: acme, label: ci, scopes: [read, export], file: FILE}
  - {project: "*", label: dashboard, scopes: [read], expires: never}
retention:
  - {project: acme, keep: "daily=14,last=7"}
  - {project: "trial*", keep: max-age=30d}
`

// nothing lists each kind, and nothing of it.
const nothing = "schedules: []\ntokens: []\nretention: []\n"

func TestApplyMakesWhatTheFileDeclares(t *testing.T) {
	t.Parallel()
	p := setup(t)
	dir := t.TempDir()
	token, file := filepath.Join(dir, "ci.token"), filepath.Join(dir, "platform.yaml")
	apply := func(text string, want []string, args ...string) []service.Change {
		t.Helper()
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "FILE", token)), 0o600); err != nil {
			t.Fatal(err)
		}
		stdout, stderr, code := p.cli(append([]string{"apply", "-f", file, "--output", "json"}, args...)...)
		var changes []service.Change
		if err := json.Unmarshal([]byte(stdout), &changes); err != nil || code != 0 {
			t.Fatalf("apply %v: %d, %v\n%s%s", args, code, err, stdout, stderr)
		}
		var did []string
		for _, c := range changes {
			words := []string{c.Action, c.Kind, c.Project + "/" + c.Name}
			for _, f := range c.Fields {
				words = append(words, f.Field)
			}
			did = append(did, strings.Join(words, " "))
		}
		if strings.Join(did, "\n") != strings.Join(want, "\n") {
			t.Errorf("apply %v did\n%s\nwant\n%s", args, strings.Join(did, "\n"), strings.Join(want, "\n"))
		}
		return changes
	}
	lines := func(action string) []string {
		rule := " rule"
		if action == service.Keep {
			rule = ""
		}
		return []string{action + " schedule acme/default", action + " schedule globex/hourly", action + " token acme/ci", action + " token */dashboard",
			action + " retention acme/" + rule, action + " retention trial*/" + rule}
	}
	if _, stderr, code := p.cli("schedule", "add", "initech", "--cron", "@daily"); code != 0 {
		t.Fatal(stderr)
	}
	if _, stderr, code := p.cli("token", "create", "--project", "initech", "--scope", "read", "--label", "ci"); code != 0 {
		t.Fatal(stderr)
	}
	apply(declared, lines(service.Create), "--dry-run")
	made := apply(declared, lines(service.Create))
	if made[2].Token != "" || !strings.HasPrefix(made[3].Token, "pgc_") {
		t.Errorf("a token with a file was printed, or one without was not: %+v", made[2:])
	}
	secret, err := os.ReadFile(token)
	if err != nil || !strings.HasPrefix(string(secret), "pgc_") {
		t.Errorf("the token's file: %q, %v", secret, err)
	}
	apply(declared, lines(service.Keep))
	apply(declared, lines(service.Keep), "--prune")

	changed := strings.NewReplacer("0 3", "30 3", "custom", "tar", "[read, export]", "[read]", ", paused: true", "", "max-age=30d", "all").Replace(declared)
	apply(changed, []string{
		"change schedule acme/default cron request", "change schedule globex/hourly paused", "change token acme/ci scopes", "keep token */dashboard",
		"keep retention acme/", "change retention trial*/ rule",
	})
	if again, err := os.ReadFile(token); err != nil || string(again) != string(secret) {
		t.Errorf("another scope made another secret: %v", err)
	}
	apply("schedules: []\n", nil)
	for _, text := range []string{"", "# nothing\n", "schedules:\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if stdout, stderr, code := p.cli("apply", "-f", file, "--prune"); code != 2 || !strings.Contains(stderr, "with --prune it needs a list") {
			t.Errorf("a file that lists nothing, with --prune: %d, %s%s", code, stdout, stderr)
		}
	}
	apply("schedules: []\n", []string{"remove schedule acme/default", "remove schedule globex/hourly"}, "--prune")
	apply(nothing, []string{"remove token */dashboard", "remove token acme/ci", "remove retention acme/ rule", "remove retention trial*/ rule"}, "--prune")
	if stdout, _, _ := p.cli("schedule", "list"); !strings.Contains(stdout, "initech") || strings.Contains(stdout, "acme") {
		t.Errorf("the schedules are\n%s", stdout)
	}
	if stdout, _, _ := p.cli("token", "list", "--output", "json"); strings.Count(stdout, `"revoked_at"`) != 2 {
		t.Errorf("the tokens are\n%s", stdout)
	}

	for text, want := range map[string]string{
		"schedule: []": "field schedule not found",
		"schedules: [{project: a b, cron: '@daily'}]":                              "project and name are letters",
		"schedules: [{project: a, cron: '61 * * * *'}]":                            "minute",
		"schedules: [{project: a, cron: '@daily', request: {colour: red}}]":        `unknown field "colour"`,
		"schedules: [{project: a, cron: '@daily', request: {format: zip}}]":        "format",
		"schedules: [{project: a, cron: '@daily', request: {project_id: b}}]":      "no project_id of its own",
		"schedules: [{project: a, cron: '@daily'}, {project: a, cron: '@hourly'}]": "is there twice",
		"tokens: [{project: a, scopes: [read]}]":                                   "it needs a label",
		"tokens: [{project: a, label: x, scopes: [write]}]":                        "is not a scope",
		"tokens: [{project: a, label: x, scopes: [read], expires: soon}]":          "soon",
		"retention: [{project: a, keep: last=0}]":                                  "would keep nothing",
		"retention: [{project: a}]":                                                "it needs keep",
		"retention: [{project: 'a*b', keep: all}]":                                 "beginning of ids",
		"retention: [{project: a, keep: all}, {project: a, keep: last=1}]":         "is there twice",
		"retention: [{project: a, rules: all}]":                                    "field rules not found",
		"retention: [{project: a, keep: all}, {project: b, keep: hourly=3}]":       `"hourly=3"`,
		"schedules: []\n---\nschedules: []":                                        "more than one document",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if stdout, stderr, code := p.cli("apply", "-f", file); code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%s: %d, %s%s; want %q", text, code, stdout, stderr, want)
		}
	}
	apply(nothing, nil, "--prune") // nothing of the refused files was applied
}

// The rules of the project's row go before applied ones, and these before RETENTION.
func TestAPrunerObeysAppliedRules(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.tenants("bolt", "trial_a")
	p.start()
	for _, project := range []string{"acme", "bolt", "trial_a"} {
		for _, id := range []string{"r1", "r2", "r3"} {
			p.completed(project, p.request(events.Requested{ProjectID: project, RequestID: project + "-" + id}))
		}
	}
	file := filepath.Join(t.TempDir(), "platform.yaml")
	apply := func(text string, args ...string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if stdout, stderr, code := p.cli(append([]string{"apply", "-f", file}, args...)...); code != 0 {
			t.Fatalf("apply: %d, %s%s", code, stdout, stderr)
		}
	}
	settings := []string{"RETENTION=last=2", "PRUNE_NOTICE=1ms", "PROJECT_QUERY=SELECT id::text, name, true AS active, ARRAY[schema_name] AS schemas, " +
		"CASE id WHEN 'bolt' THEN 'last=3' END AS retention FROM control_plane.projects WHERE id::text = $1"}
	judged := func(want ...string) {
		t.Helper()
		plan := p.prune(0, settings, "--dry-run")
		kept := map[string]int{}
		for _, e := range plan.Exports {
			if e.Step == "kept" {
				kept[e.Project]++
			}
		}
		var got []string
		for _, r := range plan.Rules {
			got = append(got, strings.TrimSpace(fmt.Sprintf("%s keeps %d by %s of %s %s", r.Project, kept[r.Project], r.Policy, r.From, r.RuleFor)))
		}
		if !slices.Equal(got, want) {
			t.Errorf("judged by\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	usual := []string{"acme keeps 2 by last=2 of default", "bolt keeps 3 by last=3 of project", "trial_a keeps 2 by last=2 of default"}
	judged(usual...)
	apply("retention: [{project: 'trial*', keep: last=1}, {project: '*', keep: all}, {project: bolt, keep: last=1}]")
	judged("acme keeps 3 by all of rule *", "bolt keeps 3 by last=3 of project", "trial_a keeps 1 by last=1 of rule trial*")
	if stdout, _, _ := p.cliWith(settings, "prune", "--dry-run"); !strings.Contains(stdout, "project trial_a: last=1, from the applied rule for trial*\n") {
		t.Errorf("prune tells no origin of the rules:\n%s", stdout)
	}
	if f := p.diagnose(0, nil, "--only", "retention")["retention"]; f.State != doctor.Warning || !strings.Contains(f.Found, "3 applied rules, but nothing has ever been pruned") {
		t.Errorf("doctor says %+v", f)
	}
	// A rule that cannot be read, for instance one that was written by hand, deletes nothing.
	if err := executeIn(t.Context(), p.database, "UPDATE pgcourier.retention_rules SET policy = 'sometimes' WHERE projects = 'trial*'"); err != nil {
		t.Fatal(err)
	}
	if plan := p.prune(0, settings, "--dry-run"); !strings.Contains(plan.Spared["trial_a"], "sometimes") || plan.steps()["trial_a-r1"] != "kept" {
		t.Errorf("with an unreadable rule: %+v", plan)
	}
	if f := p.diagnose(1, nil, "--only", "retention")["retention/rules"]; !strings.Contains(f.Found, "the applied rule for trial* cannot be read") {
		t.Errorf("doctor says %+v", f)
	}
	if plan := p.prune(0, append(settings, "RETENTION=all"), "--dry-run", "--retention", "last=3"); plan.steps()["trial_a-r1"] != "kept" || len(plan.Spared) > 0 {
		t.Errorf("with rules given by the flag: %+v", plan)
	}
	if err := executeIn(t.Context(), p.database, "UPDATE pgcourier.retention_rules SET set_by = 'psql' WHERE projects = 'bolt'"); err != nil {
		t.Fatal(err)
	}
	if stdout, _, code := p.cli("apply", "-f", "/dev/null", "--prune"); code != 2 {
		t.Errorf("an empty file: %d, %s", code, stdout)
	}
	apply("retention: []", "--prune")
	judged(usual...)
	if f := p.diagnose(0, nil, "--only", "retention")["retention"]; !strings.Contains(f.Found, "1 applied rules") {
		t.Errorf("a rule that apply has not set is gone: %+v", f)
	}
}
