package sandbox

import (
	"strings"
	"testing"
)

func TestTheRemedyFitsThePlace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, variable, want string }{
		"a container of Docker":     {"/.dockerenv", "", "systempaths=unconfined"},
		"a container of Podman":     {"/run/.containerenv", "", "systempaths=unconfined"},
		"a container of Kubernetes": {"", "KUBERNETES_SERVICE_HOST", "procMount"},
		"a machine":                 {"", "", "user.max_user_namespaces"},
	} {
		got := remedy(func(path string) bool { return path == c.file }, func(name string) string {
			if name == c.variable {
				return "10.0.0.1"
			}
			return ""
		})
		if !strings.Contains(got, c.want) {
			t.Errorf("in %s the remedy is %q, want %q in it", name, got, c.want)
		}
	}
}
