package chart_test

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the plain manifests")

func TestHelmLintFindsNothing(t *testing.T) {
	t.Parallel()
	for name, v := range variants(t) {
		for _, m := range lint.RunAll(chart, v, namespace).Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}

// Each refusal names the value to change.
func TestTheChartRefuses(t *testing.T) {
	t.Parallel()
	folder := plain(t).with("storage.urls", []any{"file:///var/lib/pgcourier/exports"})
	for name, c := range map[string]struct {
		values values
		says   string
	}{
		"no image":                  {plain(t).with("image.repository", ""), "image.repository is empty"},
		"no version":                {plain(t).with("image.tag", ""), "image.tag is empty"},
		"no broker":                 {plain(t).with("settings.PGCOURIER_NATS_URL", ""), "settings.PGCOURIER_NATS_URL is empty"},
		"no storage":                {plain(t).with("storage.urls", []any{}), "storage.urls is empty"},
		"no recipient":              {plain(t).with("encryption.recipients", []any{}), "encryption.allowUnencrypted"},
		"no role":                   {values{"worker": map[string]any{"enabled": false}}, "no role is enabled"},
		"two scalers":               {plain(t).with("worker.autoscaling.enabled", true).with("worker.keda.enabled", true), "Choose one"},
		"KEDA blind":                {plain(t).with("worker.keda.enabled", true), "worker.keda.monitoringEndpoint is empty"},
		"no worker":                 {plain(t).with("worker.keda.minReplicas", 0), "minReplicas"},
		"an Ingress alone":          {plain(t).with("api.enabled", false).with("api.ingress.enabled", true), "set api.enabled"},
		"no host":                   {plain(t).with("api.ingress.enabled", true), "api.ingress.host is empty"},
		"another link key":          {plain(t).with("notifier.secretFiles.PGCOURIER_LINK_KEY_FILE", nil).with("settings.PGCOURIER_PUBLIC_URL", "https://a"), "PGCOURIER_LINK_KEY_FILE is missing"},
		"a reserved setting":        {plain(t).with("settings.PGCOURIER_DRAIN_TIMEOUT", "1h"), "drainSeconds"},
		"a role's reserved setting": {plain(t).with("verifier.env.PGCOURIER_STORAGE", "file:///srv"), "verifier.env.PGCOURIER_STORAGE: the chart sets it"},
		"an API for every pod":      {plain(t).with("networkPolicy.apiFrom", []any{}), "networkPolicy.apiFrom is empty"},
		"a secret in clear":         {plain(t).with("settings.PGCOURIER_DATABASE_URL", "postgres://a"), "invalid propertyName 'PGCOURIER_DATABASE_URL'"},
		"a role's secret":           {plain(t).with("notifier.env.PGCOURIER_SMTP_URL", "smtp://a"), "invalid propertyName 'PGCOURIER_SMTP_URL'"},
		"a misspelt value":          {plain(t).with("worker.replica", 3), "replica"},
		"a misspelt role":           {plain(t).with("workers.replicas", 3), "workers"},
		"no claim":                  {folder, "exports would be lost"},
		"two workers on one volume": {
			folder.with("storage.claim.existingClaim", "exports").with("verifier.enabled", false).with("api.enabled", false),
			"up to 2 pods",
		},
		"a scaler on one volume": {
			folder.with("storage.claim.create", true).with("verifier.enabled", false).with("api.enabled", false).
				with("worker.replicas", 1).with("worker.autoscaling.enabled", true),
			"up to 8 pods",
		},
		"a verifier on another node": {
			folder.with("storage.claim.create", true).with("api.enabled", false).with("worker.replicas", 1),
			"Use a claim with ReadWriteMany",
		},
		"a restorer without targets": {plain(t).with("restorer.enabled", true), "restorer.env.PGCOURIER_RESTORE_QUERY is missing"},
		"a folder elsewhere":         {plain(t).with("storage.urls", []any{"file:///srv"}), "not on a volume"},
		"a volume for nothing":       {plain(t).with("storage.claim.create", true), "has no folder"},
		"an unknown access":          {folder.with("storage.claim.accessMode", "ReadOnlyMany"), "/storage/claim/accessMode"},
		"a storage unknown":          {plain(t).with("storage.urls", []any{"ftp://a"}), "/storage/urls/0"},
		"a digest that is none":      {plain(t).with("image.digest", "latest"), "/image/digest"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := render(c.values); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error is %v, want %q in it", err, c.says)
			}
		})
	}
}

// What a volume of many nodes permits.
func TestASharedVolumeMayHaveManyWorkers(t *testing.T) {
	t.Parallel()
	v := plain(t).with("storage.urls", []any{"file:///var/lib/pgcourier/exports"}).
		with("storage.claim.existingClaim", "exports").with("storage.claim.accessMode", "ReadWriteMany")
	mustRender(t, v)
}

func TestTheNotesNameEverySecret(t *testing.T) {
	t.Parallel()
	_, notes, err := render(plain(t).with("migrate.enabled", true))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"pgcourier-worker: worker.nk, aws-credentials, database-url, receipt-key\n", "pgcourier-notifier: notifier.nk, link-key, smtp-url\n",
		"pgcourier-verifier: verifier.nk, ", "pgcourier-api: api.nk, ", "pgcourier-owner: database-url",
		"pgcourier broker setup --nats-keys keys --nats-url nats://nats.nats:4222 --nats-replicas 3\n",
		"kubectl -n pgcourier exec deploy/pgcourier-worker -- pgcourier doctor\n",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes lack %q:\n%s", want, notes)
		}
	}
}

func TestTheChartsMonitoringIsTheShippedOne(t *testing.T) {
	t.Parallel()
	objects := decode(t, variants(t)["full"])
	shipped := filepath.Join(root, "deploy", "monitoring")
	var rules monitoring.PrometheusRuleSpec
	if err := yaml.UnmarshalStrict([]byte(read(t, filepath.Join(shipped, "alerts.yml"))), &rules); err != nil {
		t.Fatal(err)
	}
	rule := of[*monitoring.PrometheusRule](objects)[""]
	if rule == nil || !reflect.DeepEqual(rule.Spec, rules) || len(rules.Groups) == 0 {
		t.Errorf("the rules differ from those of deploy/monitoring: run make manifests")
	}
	board := of[*core.ConfigMap](objects)["-dashboard"]
	if board == nil || board.Data["pgcourier.json"] != strings.TrimSpace(read(t, filepath.Join(shipped, "dashboard.json"))) {
		t.Errorf("the dashboard differs from that of deploy/monitoring: run make manifests")
	}
}

// header stands before the plain manifests.
const header = `# Workers, a notifier, a verifier and the HTTP API beside a NATS and a PostgreSQL of your own. Nothing
# of them is kept in the cluster but the Secrets. Before:
#
#   kubectl create namespace pgcourier
#   kubectl -n pgcourier create secret generic pgcourier-worker --from-file=database-url --from-file=worker.nk --from-file=receipt-key --from-file=aws-credentials
#   kubectl -n pgcourier create secret generic pgcourier-notifier --from-file=notifier.nk --from-file=smtp-url --from-file=link-key
#   kubectl -n pgcourier create secret generic pgcourier-verifier --from-file=verifier.nk --from-file=identity --from-file=scratch-url --from-file=receipt-key --from-file=aws-credentials
#   kubectl -n pgcourier create secret generic pgcourier-api --from-file=database-url=api-database-url --from-file=api.nk --from-file=link-key --from-file=aws-credentials
#
# The streams are made once, by ` + "`pgcourier broker setup`" + ` (docs/broker.md) with the same settings.
#
# Made by ` + "`make manifests`" + ` from the Helm chart in deploy/helm with the values of deploy/helm/ci/manifests.yaml.
`

var checksum = regexp.MustCompile(`(?m)^ +annotations:\n.*A changed setting starts new pods\.\n +checksum/settings: .*\n`)

// withoutHelm leaves out the labels that say that Helm manages an object, and the checksum: only Helm
// renews it.
func withoutHelm(text string) string {
	var out strings.Builder
	text = checksum.ReplaceAllString(text, "")
	for line := range strings.Lines(text) {
		word := strings.TrimSpace(line)
		if !strings.HasPrefix(word, "app.kubernetes.io/managed-by: ") && !strings.HasPrefix(word, "helm.sh/chart: ") {
			out.WriteString(line)
		}
	}
	return out.String()
}

func TestThePlainManifestsAreTheCharts(t *testing.T) {
	t.Parallel()
	want := header
	for _, text := range documents(mustRender(t, plain(t))) {
		want += "---\n" + withoutHelm(text)
	}
	file := filepath.Join(root, "deploy", "kubernetes", "pgcourier.yaml")
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, file); got != want {
		t.Errorf("%s is not what the chart makes: run make manifests", file)
	}
}
