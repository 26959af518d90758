package pgcluster

import (
	"os"
	"strings"
	"testing"
)

func TestTheAdviceFitsTheMachine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		env   string
		want  string
	}{
		"a checkout":                {map[string]string{"go.mod": "module github.com/pgcourier/pgcourier\n\ngo 1.26\n", "/.dockerenv": ""}, "", "make postgres"},
		"another project":           {map[string]string{"go.mod": "module example.org/x\n"}, "", "apt-get"},
		"a container of Docker":     {map[string]string{"/.dockerenv": ""}, "", "image"},
		"a container of Podman":     {map[string]string{"/run/.containerenv": ""}, "", "image"},
		"a container of Kubernetes": {nil, "KUBERNETES_SERVICE_HOST", "image"},
		"a machine":                 {nil, "", "apt-get"},
	} {
		got := advice(func(path string) ([]byte, error) {
			if text, ok := c.files[path]; ok {
				return []byte(text), nil
			}
			return nil, os.ErrNotExist
		}, func(name string) string {
			if name == c.env {
				return "10.0.0.1"
			}
			return ""
		})
		if !strings.Contains(got, c.want) {
			t.Errorf("in %s the advice is %q, want %q in it", name, got, c.want)
		}
	}
}
