package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/service"
)

const declared = `
schedules:
  - {project: acme, cron: "0 3 * * *", tz: Europe/Berlin, request: {format: custom, metadata: {ticket: OPS-1}}}
  - {project: globex, name: hourly, cron: "@hourly", paused: true}
tokens:
  - {project: acme, label: ci, scopes: [read, export], file: FILE}
  - {project: "*", label: dashboard, scopes: [read], expires: never}
`

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
		return []string{action + " schedule acme/default", action + " schedule globex/hourly", action + " token acme/ci", action + " token */dashboard"}
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

	changed := strings.NewReplacer("0 3", "30 3", "custom", "tar", "[read, export]", "[read]", ", paused: true", "").Replace(declared)
	apply(changed, []string{
		"change schedule acme/default cron request", "change schedule globex/hourly paused", "change token acme/ci scopes", "keep token */dashboard",
	})
	if again, err := os.ReadFile(token); err != nil || string(again) != string(secret) {
		t.Errorf("another scope made another secret: %v", err)
	}
	apply("schedules: []\n", nil)
	apply("", []string{"remove schedule acme/default", "remove schedule globex/hourly", "remove token */dashboard", "remove token acme/ci"}, "--prune")
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
		"schedules: []\n---\nschedules: []":                                        "more than one document",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if stdout, stderr, code := p.cli("apply", "-f", file); code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%s: %d, %s%s; want %q", text, code, stdout, stderr, want)
		}
	}
}
