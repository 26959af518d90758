// Package chart_test renders the Helm chart of deploy/helm with Helm's own packages, decodes what it
// makes with Kubernetes's own types, and compares it with the plain manifests. It is a module of its
// own, so that the dependencies of Helm and Kubernetes are not those of pgcourier: `make chart`.
package chart_test

import (
	"cmp"
	"errors"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"
)

const namespace = "pgcourier"

var (
	root  = filepath.Join("..", "..", "..")
	chart = filepath.Join(root, "deploy", "helm")
)

// values holds the values of a file, or those that a test sets by their path.
type values map[string]any

func readValues(t *testing.T, name string) values {
	t.Helper()
	var v values
	if err := yaml.UnmarshalStrict([]byte(read(t, name)), &v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// plain are the values of the plain manifests.
func plain(t *testing.T) values { return readValues(t, filepath.Join(chart, "ci", "manifests.yaml")) }

// with returns v with one more value, at a path such as worker.keda.enabled.
func (v values) with(at string, value any) values {
	first, rest, deeper := strings.Cut(at, ".")
	out := maps.Clone(v)
	if !deeper {
		out[first] = value
		return out
	}
	below, _ := out[first].(map[string]any)
	if below == nil {
		below = map[string]any{}
	}
	out[first] = map[string]any(values(below).with(rest, value))
	return out
}

// render returns what the chart makes of values: the text of each template, by its name, and the
// notes.
func render(v values) (map[string]string, string, error) {
	c, err := loader.Load(chart)
	if err != nil {
		return nil, "", err
	}
	release := common.ReleaseOptions{Name: "pgcourier", Namespace: namespace, Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(c, v, release, common.DefaultCapabilities)
	if err != nil {
		return nil, "", err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, "", err
	}
	notes, out := "", map[string]string{}
	for name, text := range files {
		switch {
		case path.Base(name) == "NOTES.txt":
			notes = text
		case path.Ext(name) == ".tpl" && strings.TrimSpace(text) != "":
			return nil, "", errors.New(name + " has text of its own")
		case strings.TrimSpace(text) != "":
			out[path.Base(name)] = text
		}
	}
	return out, notes, nil
}

func mustRender(t *testing.T, v values) map[string]string {
	t.Helper()
	files, _, err := render(v)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// documents splits rendered templates into their objects: settings and roles first, then the other
// templates by name.
func documents(files map[string]string) (all []string) {
	first := []string{"settings.yaml", "worker.yaml", "notifier.yaml", "verifier.yaml", "restorer.yaml", "api.yaml"}
	names := slices.SortedFunc(maps.Keys(files), func(a, b string) int {
		return cmp.Or(slices.Index(append(first, a), a)-slices.Index(append(first, b), b), cmp.Compare(a, b))
	})
	for _, name := range names {
		for text := range strings.SplitSeq("\n"+files[name], "\n---\n") {
			if text = strings.TrimSpace(text); text != "" {
				all = append(all, text+"\n")
			}
		}
	}
	return all
}
