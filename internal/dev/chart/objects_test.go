package chart_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/scheme"
	security "k8s.io/pod-security-admission/api"
	standards "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// scaledObject is the part of KEDA's API that the chart uses: its own types would bring 259 packages
// more.
type scaledObject struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		ScaleTargetRef struct {
			Name string `json:"name"`
		} `json:"scaleTargetRef"`
		MinReplicaCount int32 `json:"minReplicaCount"`
		MaxReplicaCount int32 `json:"maxReplicaCount"`
		PollingInterval int32 `json:"pollingInterval"`
		CooldownPeriod  int32 `json:"cooldownPeriod"`
		Triggers        []struct {
			Type     string            `json:"type"`
			Metadata map[string]string `json:"metadata"`
		} `json:"triggers"`
	} `json:"spec"`
}

// decoder decodes the objects of Kubernetes and of the Prometheus operator. It refuses unknown and
// repeated fields.
func decoder(t *testing.T) runtime.Decoder {
	t.Helper()
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, monitoring.AddToScheme} {
		if err := add(known); err != nil {
			t.Fatal(err)
		}
	}
	return serializer.NewCodecFactory(known, serializer.EnableStrict).UniversalDeserializer()
}

// decode returns the objects of values. Every one is of the release's namespace and has its labels.
func decode(t *testing.T, v values) (all []any) {
	t.Helper()
	decode := decoder(t)
	names := map[string]bool{}
	for _, text := range documents(mustRender(t, v)) {
		var object meta.Object
		if strings.Contains(text, "apiVersion: keda.sh/v1alpha1\n") {
			var s scaledObject
			if err := yaml.UnmarshalStrict([]byte(text), &s); err != nil {
				t.Fatalf("%v in\n%s", err, text)
			}
			object = &s
		} else {
			o, _, err := decode.Decode([]byte(text), nil, nil)
			if err != nil {
				t.Fatalf("%v in\n%s", err, text)
			}
			object = o.(meta.Object)
		}
		name := fmt.Sprintf("%T %s", object, object.GetName())
		if faults := validation.IsDNS1123Label(object.GetName()); len(faults) > 0 || object.GetNamespace() != namespace || names[name] {
			t.Errorf("%s in %q: %v", name, object.GetNamespace(), faults)
		}
		if object.GetLabels()["app.kubernetes.io/instance"] != "pgcourier" {
			t.Errorf("%s has the labels %v", name, object.GetLabels())
		}
		names[name] = true
		all = append(all, object)
	}
	return all
}

// of returns the objects of one type by name, without the prefix of the release.
func of[T meta.Object](objects []any) map[string]T {
	out := map[string]T{}
	for _, o := range objects {
		if o, ok := o.(T); ok {
			out[strings.TrimPrefix(strings.TrimPrefix(o.GetName(), "pgcourier-exports"), "pgcourier")] = o
		}
	}
	return out
}

// variants are the values under which the chart's objects are looked at.
func variants(t *testing.T) map[string]values {
	t.Helper()
	full := readValues(t, filepath.Join("testdata", "full.yaml"))
	one := values{"existingClaim": "exports", "accessMode": "ReadWriteOnce"}
	return map[string]values{
		"plain": plain(t),
		"full":  full,
		"hpa":   full.with("worker.autoscaling.enabled", true),
		"keda":  full.with("worker.keda.enabled", true).with("worker.keda.monitoringEndpoint", "nats:8222"),
		"openshift": plain(t).with("podSecurityContext.runAsUser", nil).with("podSecurityContext.runAsGroup", nil).
			with("podSecurityContext.fsGroup", nil),
		"one volume": plain(t).with("storage.urls", []any{"file:///var/lib/pgcourier/exports"}).with("storage.claim", map[string]any(one)).
			with("worker.replicas", 1).with("verifier.enabled", false).with("api.enabled", false),
	}
}

func TestEveryObjectIsOneOfKubernetes(t *testing.T) {
	t.Parallel()
	for name, v := range variants(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := decode(t, v)
			pods := map[string]core.PodTemplateSpec{}
			for n, d := range of[*apps.Deployment](objects) {
				pods[n] = d.Spec.Template
				if !selects(t, d.Spec.Selector, d.Spec.Template.Labels) {
					t.Errorf("%s does not select its pods %v", n, d.Spec.Template.Labels)
				}
			}
			for n, j := range of[*batch.Job](objects) {
				pods[n] = j.Spec.Template
			}
			if len(pods) == 0 {
				t.Fatal("there is no pod")
			}
			for n, pod := range pods {
				checkPod(t, n, pod)
			}
			for n, b := range of[*policy.PodDisruptionBudget](objects) {
				if !selects(t, b.Spec.Selector, pods[n].Labels) || selected(t, b.Spec.Selector, pods) != 1 {
					t.Errorf("the budget %s selects %v", n, b.Spec.Selector)
				}
			}
			for n, p := range of[*networking.NetworkPolicy](objects) {
				if got := selected(t, &p.Spec.PodSelector, pods); got != len(of[*apps.Deployment](objects))+len(of[*batch.Job](objects)) {
					t.Errorf("the policy %s selects %d pods of %d", n, got, len(pods))
				}
			}
			for n, s := range of[*core.Service](objects) {
				checkService(t, n, s, pods)
			}
		})
	}
}

func selects(t *testing.T, s *meta.LabelSelector, l map[string]string) bool {
	t.Helper()
	selector, err := meta.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(labels.Set(l))
}

func selected(t *testing.T, s *meta.LabelSelector, pods map[string]core.PodTemplateSpec) (n int) {
	t.Helper()
	for _, p := range pods {
		if selects(t, s, p.Labels) {
			n++
		}
	}
	return n
}

// checkPod holds a pod against the pod security standard "restricted" and what each of ours needs.
func checkPod(t *testing.T, name string, pod core.PodTemplateSpec) {
	t.Helper()
	evaluator, err := standards.NewEvaluator(standards.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := security.LevelVersion{Level: security.LevelRestricted, Version: security.LatestVersion()}
	for _, r := range evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec) {
		if !r.Allowed {
			t.Errorf("%s is not restricted: %s: %s", name, r.ForbiddenReason, r.ForbiddenDetail)
		}
	}
	if len(pod.Spec.Containers) != 1 || pod.Spec.AutomountServiceAccountToken == nil || *pod.Spec.AutomountServiceAccountToken ||
		pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks {
		t.Errorf("%s: %+v", name, pod.Spec)
	}
	c := pod.Spec.Containers[0]
	if c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
		t.Errorf("%s writes to its root", name)
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero() {
		t.Errorf("%s: resources %v", name, c.Resources)
	}
	for _, m := range c.VolumeMounts {
		if !slices.ContainsFunc(pod.Spec.Volumes, func(v core.Volume) bool { return v.Name == m.Name }) {
			t.Errorf("%s mounts %s, which is no volume", name, m.Name)
		}
	}
	if len(c.VolumeMounts) != len(pod.Spec.Volumes) {
		t.Errorf("%s has %d volumes and mounts %d", name, len(pod.Spec.Volumes), len(c.VolumeMounts))
	}
	variables := map[string]bool{}
	for _, e := range c.Env {
		if variables[e.Name] {
			t.Errorf("%s sets %s twice", name, e.Name)
		}
		variables[e.Name] = true
	}
}

// checkService fails unless the ports of a service are ports of all pods that it selects.
func checkService(t *testing.T, name string, s *core.Service, pods map[string]core.PodTemplateSpec) {
	t.Helper()
	found := 0
	for n, pod := range pods {
		if !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(pod.Labels)) || n == "-migrate" {
			continue
		}
		found++
		for _, p := range s.Spec.Ports {
			if !slices.ContainsFunc(pod.Spec.Containers[0].Ports, func(c core.ContainerPort) bool { return c.Name == p.TargetPort.String() }) {
				t.Errorf("the service %s asks for the port %s, which %s has not", name, p.TargetPort.String(), n)
			}
		}
	}
	if found == 0 {
		t.Errorf("the service %s selects no pod", name)
	}
}

// Two scalers, or a scaler and a number of replicas, would work against each other.
// Kubernetes refuses another selector for a Deployment that exists. If one of these changes,
// docs/upgrade.md must say how to replace the Deployments.
func TestTheSelectorsOfDeploymentsNeverChange(t *testing.T) {
	t.Parallel()
	for release, v := range map[string]values{
		"pgcourier": plain(t).with("restorer.enabled", true).with("restorer.env.PGCOURIER_RESTORE_QUERY", "SELECT"),
		"exports":   variants(t)["full"],
	} {
		want := map[string]string{}
		for _, component := range []string{"worker", "notifier", "verifier", "restorer", "api"} {
			want["-"+component] = "app.kubernetes.io/component=" + component + ",app.kubernetes.io/instance=pgcourier,app.kubernetes.io/name=" + release
		}
		got := map[string]string{}
		for name, d := range of[*apps.Deployment](decode(t, v)) {
			got[name] = meta.FormatLabelSelector(d.Spec.Selector)
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: the selectors are %v, want %v", release, got, want)
		}
	}
}

func TestOneThingSetsTheNumberOfWorkers(t *testing.T) {
	t.Parallel()
	v := variants(t)
	for name, want := range map[string][3]int{"plain": {1, 0, 0}, "hpa": {0, 1, 0}, "keda": {0, 0, 1}} {
		objects := decode(t, v[name])
		worker := of[*apps.Deployment](objects)["-worker"]
		got := [3]int{0, len(of[*autoscaling.HorizontalPodAutoscaler](objects)), len(of[*scaledObject](objects))}
		if worker.Spec.Replicas != nil {
			got[0] = 1
		}
		if got != want {
			t.Errorf("%s: replicas, HPA, KEDA: %v", name, got)
		}
		for _, h := range of[*autoscaling.HorizontalPodAutoscaler](objects) {
			if h.Spec.ScaleTargetRef.Name != worker.Name || h.Spec.ScaleTargetRef.Kind != "Deployment" {
				t.Errorf("scaled is %+v", h.Spec.ScaleTargetRef)
			}
		}
		for _, k := range of[*scaledObject](objects) {
			if k.Spec.ScaleTargetRef.Name != worker.Name || len(k.Spec.Triggers) != 1 || k.Spec.Triggers[0].Metadata["account"] != "PGCOURIER" {
				t.Errorf("scaled is %+v", k.Spec)
			}
		}
	}
}

// A pod gets longer to end than its exports, whatever drainSeconds is.
func TestAPodOutlivesItsDrain(t *testing.T) {
	t.Parallel()
	for drain, want := range map[int]int64{1800: 1860, 600: 660, 7200: 7260} {
		for name, d := range of[*apps.Deployment](decode(t, plain(t).with("drainSeconds", drain))) {
			if got := d.Spec.Template.Spec.TerminationGracePeriodSeconds; got == nil || *got != want {
				t.Errorf("%s has %v s for a drain of %d s", name, got, drain)
			}
		}
		settings := of[*core.ConfigMap](decode(t, plain(t).with("drainSeconds", drain)))[""]
		if settings.Data["PGCOURIER_DRAIN_TIMEOUT"] != fmt.Sprintf("%ds", drain) {
			t.Errorf("the settings are %v", settings.Data)
		}
	}
}

// One pod at a time has a volume that is not shared.
func TestAVolumeOfOnePodIsNotMountedTwice(t *testing.T) {
	t.Parallel()
	objects := decode(t, variants(t)["one volume"])
	worker := of[*apps.Deployment](objects)["-worker"]
	if worker.Spec.Strategy.Type != apps.RecreateDeploymentStrategyType || *worker.Spec.Replicas != 1 {
		t.Errorf("%d workers, %+v", *worker.Spec.Replicas, worker.Spec.Strategy)
	}
	if n := of[*apps.Deployment](objects)["-notifier"]; n.Spec.Strategy.Type == apps.RecreateDeploymentStrategyType || len(n.Spec.Template.Spec.Volumes) != 3 {
		t.Errorf("the notifier has the exports: %+v", n.Spec.Template.Spec.Volumes)
	}
	if claims := of[*core.PersistentVolumeClaim](objects); len(claims) != 0 {
		t.Errorf("made are the claims %v", claims)
	}
	made := of[*core.PersistentVolumeClaim](decode(t, variants(t)["full"]))["-exports"]
	if made == nil || made.Annotations["helm.sh/resource-policy"] != "keep" {
		t.Errorf("the claim is %+v", made)
	}
}
