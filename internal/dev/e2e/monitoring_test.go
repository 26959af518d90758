package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const monitoring = "deploy/monitoring"

type alertRule struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func alertRules(t *testing.T) (all []alertRule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alertRule } }
	if err := yaml.Unmarshal([]byte(readRoot(t, monitoring+"/alerts.yml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// panelExprs are the dashboard's expressions with Grafana's own variable filled in.
func panelExprs(t *testing.T) (all []string) {
	t.Helper()
	var board struct {
		UID    string
		Panels []struct {
			Title, Type string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(readRoot(t, monitoring+"/dashboard.json")), &board); err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		if p.Title == "" || p.GridPos.X+p.GridPos.W > 24 || p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %+v", p)
		}
		for _, target := range p.Targets {
			all = append(all, strings.ReplaceAll(target.Expr, "$__rate_interval", "5m"))
		}
	}
	if board.UID != "pgcourier" || len(all) < 20 {
		t.Errorf("dashboard %q with %d expressions", board.UID, len(all))
	}
	return all
}

// promtool runs Prometheus's own checker.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		tool, err = filepath.Abs(filepath.Join(root, "build", "bin", "promtool"))
		if _, missing := os.Stat(tool); err != nil || missing != nil {
			t.Fatal("promtool is missing: run make promtool")
		}
	}
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Dir = filepath.Join(root, monitoring)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestAlertsAndDashboardParse(t *testing.T) {
	t.Parallel()
	promtool(t, "check", "rules", "alerts.yml")
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for i, expr := range panelExprs(t) {
		fmt.Fprintf(&rules, "  - record: panel:expr_%d\n    expr: %q\n", i, expr)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
	for _, r := range alertRules(t) {
		runbook := "https://" + module + "/blob/main/docs/operate.md#" + strings.ToLower(r.Alert)
		if r.Annotations["runbook_url"] != runbook || r.Annotations["summary"] == "" || !slices.Contains([]string{"warning", "critical"}, r.Labels["severity"]) {
			t.Errorf("%s: %v, %v", r.Alert, r.Labels, r.Annotations)
		}
	}
}

// Each alert fires from its series, and none fires without a fault.
func TestEachAlertFires(t *testing.T) {
	t.Parallel()
	promtool(t, "test", "rules", "alerts_test.yml")
	var file struct {
		Tests []struct {
			PromqlExprTest []struct {
				ExpSamples []struct{ Labels string } `yaml:"exp_samples"`
			} `yaml:"promql_expr_test"`
		}
	}
	if err := yaml.Unmarshal([]byte(readRoot(t, monitoring+"/alerts_test.yml")), &file); err != nil {
		t.Fatal(err)
	}
	fired, calm := map[string]bool{}, false
	for _, test := range file.Tests {
		for _, e := range test.PromqlExprTest {
			calm = calm || len(e.ExpSamples) == 0
			for _, s := range e.ExpSamples {
				fired[s.Labels] = true
			}
		}
	}
	if !calm {
		t.Error("no test in which nothing fires")
	}
	for _, r := range alertRules(t) {
		if !fired[fmt.Sprintf("{alertname=%q}", r.Alert)] {
			t.Errorf("%s fires in no test", r.Alert)
		}
	}
}

// seriesForm splits a series into its name and labels.
var (
	seriesForm = regexp.MustCompile(`^([a-z_:0-9]+)(?:\{(.*)\})?$`)
	labelForm  = regexp.MustCompile(`([a-z_]+)="([^"]*)"`)
	metricName = regexp.MustCompile(`\b(?:pgcourier|process|go)_[a-z0-9_]+`)
)

// A real worker exports the series of the alerts and the dashboard, by name, and those of the
// alerts' tests, by name and labels. The document lists all of them.
func TestTheMonitoringFitsARealWorker(t *testing.T) {
	t.Parallel()
	p, addr := everything(t)
	p.settled()
	names, labels := map[string]bool{}, map[string]bool{}
	for series := range scrape(t, addr) {
		m := seriesForm.FindStringSubmatch(series)
		if m == nil {
			t.Fatalf("series %q", series)
		}
		names[m[1]] = true
		labels[shape(m)] = true
	}
	check := func(where, expr string) {
		found := metricName.FindAllString(expr, -1)
		if len(found) == 0 {
			t.Errorf("%s asks for no metric: %s", where, expr)
		}
		for _, name := range found {
			if !names[name] {
				t.Errorf("%s asks for %s, which the worker does not export", where, name)
			}
		}
	}
	for _, r := range alertRules(t) {
		check(r.Alert, r.Expr)
	}
	for _, e := range panelExprs(t) {
		check("the dashboard", e)
	}
	for _, m := range regexp.MustCompile(`- series: '(.*)'`).FindAllStringSubmatch(readRoot(t, monitoring+"/alerts_test.yml"), -1) {
		parts := seriesForm.FindStringSubmatch(m[1])
		if parts == nil || !labels[shape(parts)] {
			t.Errorf("the alerts' tests begin with %s, and the worker exports none like it", m[1])
		}
	}
	document := readRoot(t, "docs/observability.md")
	for name := range names {
		base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		if strings.HasPrefix(name, "pgcourier_") && !strings.Contains(document, "`"+base+"`") {
			t.Errorf("docs/observability.md does not know %s", name)
		}
	}
}

// shape is a series' name and the names of its labels, except those that Prometheus adds.
func shape(series []string) string {
	var names []string
	for _, l := range labelForm.FindAllStringSubmatch(series[2], -1) {
		if l[1] != "instance" && l[1] != "job" && l[1] != "le" {
			names = append(names, l[1])
		}
	}
	slices.Sort(names)
	return series[1] + "{" + strings.Join(names, ",") + "}"
}
