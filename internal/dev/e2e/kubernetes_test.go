package e2e_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/config"
)

// manifests are the Kubernetes objects.
type manifests struct {
	settings    map[string]string
	deployments map[string]deployment
	budgets     []budget
}

// The part of the Kubernetes API that is compared with the program. `make chart` decodes all of it,
// with the types of Kubernetes.
type (
	object struct {
		Kind     string
		Metadata struct {
			Namespace string
			Labels    map[string]string
		}
	}
	selector struct {
		MatchLabels map[string]string `yaml:"matchLabels"`
	}
	budget struct {
		Spec struct{ Selector selector }
	}
	deployment struct {
		object `yaml:",inline"`
		Spec   struct {
			Selector selector
			Template struct {
				Metadata struct{ Labels map[string]string }
				Spec     pod
			}
		}
	}
	pod struct {
		TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
		SecurityContext               struct {
			RunAsNonRoot bool `yaml:"runAsNonRoot"`
			RunAsUser    int  `yaml:"runAsUser"`
		} `yaml:"securityContext"`
		Containers []container
		Volumes    []volume
	}
	container struct {
		Name    string
		Args    []string
		EnvFrom []struct {
			ConfigMapRef struct{ Name string } `yaml:"configMapRef"`
		} `yaml:"envFrom"`
		Env   []struct{ Name, Value string }
		Ports []struct {
			Name          string
			ContainerPort int `yaml:"containerPort"`
		}
		Liveness        probe `yaml:"livenessProbe"`
		Readiness       probe `yaml:"readinessProbe"`
		SecurityContext struct {
			AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
			ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
		} `yaml:"securityContext"`
		VolumeMounts []struct {
			Name      string
			MountPath string `yaml:"mountPath"`
		} `yaml:"volumeMounts"`
	}
	probe struct {
		HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
	}
	volume struct {
		Name   string
		Secret struct {
			SecretName string `yaml:"secretName"`
		}
		EmptyDir struct {
			SizeLimit config.ByteSize `yaml:"sizeLimit"`
		} `yaml:"emptyDir"`
	}
)

func readManifests(t *testing.T) manifests {
	t.Helper()
	m := manifests{deployments: map[string]deployment{}}
	for document := range strings.SplitSeq(readRoot(t, "deploy/kubernetes/pgcourier.yaml"), "\n---\n") {
		var o object
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatal(err)
		}
		var err error
		switch o.Kind {
		case "ConfigMap":
			var c struct{ Data map[string]string }
			err = yaml.Unmarshal([]byte(document), &c)
			m.settings = c.Data
		case "Deployment":
			var d deployment
			err = yaml.Unmarshal([]byte(document), &d)
			m.deployments[d.Metadata.Labels["app.kubernetes.io/component"]] = d
		case "PodDisruptionBudget":
			var b budget
			err = yaml.Unmarshal([]byte(document), &b)
			m.budgets = append(m.budgets, b)
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
	}
	return m
}

func TestTheManifestsFitTheProgram(t *testing.T) {
	t.Parallel()
	m := readManifests(t)
	for component, user := range map[string]server.User{
		"worker": server.UserWorker, "notifier": server.UserNotifier, "verifier": server.UserVerifier, "api": server.UserAPI,
	} {
		d, ok := m.deployments[component]
		if !ok || len(d.Spec.Template.Spec.Containers) != 1 {
			t.Fatalf("%s: %+v", component, d)
		}
		pod := d.Spec.Template.Spec
		checkPod(t, component, m.loadPod(t, pod), pod)
		// The Secret of the comment holds the role's key and everything that it names.
		var secret string
		for _, v := range pod.Volumes {
			secret = cmp.Or(secret, v.Secret.SecretName)
		}
		line := ""
		for l := range strings.Lines(readRoot(t, "deploy/kubernetes/pgcourier.yaml")) {
			if strings.Contains(l, "create secret generic "+secret+" ") {
				line = l + " "
			}
		}
		files := []string{filepath.Base(server.KeyFile("", user))}
		for _, e := range pod.Containers[0].Env {
			if file, ok := strings.CutPrefix(e.Value, m.settings["PGCOURIER_NATS_KEYS"]+"/"); ok {
				files = append(files, file)
			}
		}
		for _, f := range files {
			// A file of another name is renamed: --from-file=database-url=api-database-url.
			if !slices.ContainsFunc(strings.Fields(line), func(w string) bool {
				return w == "--from-file="+f || strings.HasPrefix(w, "--from-file="+f+"=")
			}) {
				t.Errorf("%s: the secret %s lacks %s: %s", component, secret, f, line)
			}
		}
	}
	if len(m.deployments) != 4 || len(m.budgets) != 4 {
		t.Errorf("%d deployments, budgets %+v", len(m.deployments), m.budgets)
	}
}

// The chart refuses a secret among the settings, which are no secrets in a cluster.
func TestTheChartKnowsEverySecret(t *testing.T) {
	t.Parallel()
	var schema struct {
		Definitions struct {
			Settings struct {
				PropertyNames struct {
					Not struct{ Enum []string }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(readRoot(t, "deploy/helm/values.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	var secrets []string
	for _, s := range config.Settings() {
		if s.Secret && s.Name != "NATS_URL" { // it holds no password where the broker knows keys
			secrets = append(secrets, s.Env)
		}
	}
	slices.Sort(secrets)
	if got := schema.Definitions.Settings.PropertyNames.Not.Enum; !slices.Equal(got, secrets) {
		t.Errorf("values.schema.json refuses %q, secrets are %q", got, secrets)
	}
}

func TestTheChartsMonitoringIsACopy(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"alerts.yml", "dashboard.json"} {
		if readRoot(t, "deploy/helm/files/"+name) != readRoot(t, monitoring+"/"+name) {
			t.Errorf("deploy/helm/files/%s differs from %s: run make manifests", name, monitoring)
		}
	}
}

// loadPod reads the environment of a pod's process: the image's variables, the ConfigMap, its own.
func (m manifests) loadPod(t *testing.T, pod pod) config.Config {
	t.Helper()
	c := pod.Containers[0]
	variables := imageEnv(t)
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef.Name != "pgcourier" {
			t.Errorf("variables come from %+v", from)
		}
		maps.Copy(variables, m.settings)
	}
	secrets := variables["PGCOURIER_NATS_KEYS"]
	for _, e := range c.Env {
		variables[e.Name] = e.Value
	}
	accepts(t, c.Name, c.Args)
	if i := slices.Index(c.Args, "--roles"); i >= 0 {
		variables["PGCOURIER_ROLES"] = c.Args[i+1]
	}
	return loadFrom(t, variables, secrets)
}

func checkPod(t *testing.T, component string, c config.Config, pod pod) {
	t.Helper()
	container := pod.Containers[0]
	if grace := pod.TerminationGracePeriodSeconds; time.Duration(grace)*time.Second <= c.DrainTimeout {
		t.Errorf("%s is given %d s to stop, its exports %s", component, grace, c.DrainTimeout)
	}
	for p, probe := range map[string]probe{"/healthz": container.Liveness, "/readyz": container.Readiness} {
		if probe.HTTPGet.Path != p || probe.HTTPGet.Port != container.Ports[0].Name {
			t.Errorf("%s: the probe of %s is %+v", component, p, probe)
		}
	}
	if want := fmt.Sprintf("0.0.0.0:%d", container.Ports[0].ContainerPort); c.HTTPAddr != want {
		t.Errorf("%s answers at %s, asked is %s", component, c.HTTPAddr, want)
	}
	if c.NATSURL == "" || c.DatabaseURL == "" && (component == "worker" || component == "api") || c.VerifyScratchURL == "" && component == "verifier" {
		t.Errorf("%s lacks a server", component)
	}
	if (len(c.AgeIdentityFiles) > 0) != (component == "verifier") {
		t.Errorf("%s has the identities %q", component, c.AgeIdentityFiles)
	}
	s := container.SecurityContext
	if s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !s.ReadOnlyRootFilesystem ||
		!pod.SecurityContext.RunAsNonRoot || !strings.Contains(readRoot(t, "Dockerfile"), fmt.Sprintf("--uid %d ", pod.SecurityContext.RunAsUser)) {
		t.Errorf("%s may do %+v, %+v", component, s, pod.SecurityContext)
	}
	sizes := map[string]config.ByteSize{} // of the writable folders, in bytes
	for _, mount := range container.VolumeMounts {
		for _, v := range pod.Volumes {
			if v.Name == mount.Name {
				sizes[mount.MountPath] = v.EmptyDir.SizeLimit
			}
		}
	}
	if room := sizes[c.DataDir]; room == 0 || component == "worker" && room <= config.ByteSize(c.Concurrency)*c.SpoolBytes {
		t.Errorf("%s writes to %s, writable are %v", component, c.DataDir, sizes)
	}
	// A mounted folder belongs to the group, and a spool must be closed to others.
	if sizes[c.Spool()] != 0 {
		t.Errorf("%s: the spool is the volume %s itself", component, c.Spool())
	}
}

// install.md has all that its manifests need before they are applied: keys, namespace, secrets, a version.
func TestTheGuideSetsUpWhatTheManifestsNeed(t *testing.T) {
	t.Parallel()
	guide, manifest := readRoot(t, "docs/install.md"), readRoot(t, "deploy/kubernetes/pgcourier.yaml")
	_, guide, _ = strings.Cut(guide, "\n## On Kubernetes\n")
	guide, _, _ = strings.Cut(guide, "\n## ")
	commands := strings.Join(shellBlocks(guide), "")
	for _, need := range []string{
		"pgcourier broker config --nats-keys keys", "pgcourier broker setup --nats-keys keys",
		"kubectl create namespace " + readManifests(t).deployments["worker"].Metadata.Namespace + "\n", "sed 's/:VERSION$/:",
	} {
		if !strings.Contains(commands, need) {
			t.Errorf("the guide lacks %q", need)
		}
	}
	if !strings.Contains(manifest, "image: registry.example.org/pgcourier:VERSION\n") {
		t.Error("the manifests name no version to replace")
	}
	for line := range strings.Lines(manifest) {
		_, secret, ok := strings.Cut(line, "create secret generic ")
		if !ok {
			continue
		}
		words := strings.Fields(secret)
		line := "\nkubectl -n pgcourier create secret generic " + words[0] + " "
		_, told, found := strings.Cut("\n"+commands, line)
		told, _, _ = strings.Cut(told, "\n")
		for _, file := range words[1:] {
			name, isFile := strings.CutPrefix(file, "--from-file=")
			if !found || isFile && !slices.ContainsFunc(strings.Fields(told), func(w string) bool { return w == file || strings.HasSuffix(w, "/"+name) }) {
				t.Errorf("the guide's secret %s lacks %s: %q", words[0], file, told)
			}
		}
	}
}
