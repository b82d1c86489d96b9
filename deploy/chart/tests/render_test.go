// Package chart_test renders the chart as Helm does, holds the result to the schemas of
// Kubernetes and KEDA, and starts what it describes.
package chart_test

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"
)

const (
	chartFolder = ".."
	root        = "../../.."
)

// kubernetes is the version whose schemas are in the folder schemas.
const kubernetes = "1.37.2"

// manifest is one object that the chart makes.
type manifest struct {
	text string
	tree map[string]any
}

// at is what stands in the manifest at a path, nil for nothing. A number is an index.
func (m manifest) at(path ...any) any {
	var here any = m.tree
	for _, step := range path {
		switch of := here.(type) {
		case map[string]any:
			name, _ := step.(string)
			here = of[name]
		case []any:
			index, ok := step.(int)
			if !ok || index >= len(of) {
				return nil
			}
			here = of[index]
		default:
			return nil
		}
	}
	return here
}

// id names the manifest: its kind and its name.
func (m manifest) id() string { return fmt.Sprintf("%v/%v", m.at("kind"), m.at("metadata", "name")) }

// values reads a file of the folder values.
func values(t testing.TB, name string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("values", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(text))
}

func parse(t testing.TB, text string) map[string]any {
	t.Helper()
	var tree map[string]any
	if err := yaml.UnmarshalStrict([]byte(text), &tree); err != nil {
		t.Fatalf("parse: %v\n%s", err, text)
	}
	return tree
}

// render does what `helm install arauto deploy/chart --values ...` does before it sends
// anything: defaults, schema, templates.
func render(given map[string]any) ([]manifest, error) {
	c, err := loader.LoadDir(chartFolder)
	if err != nil {
		return nil, err
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = chartutil.KubeVersion{Version: "v" + kubernetes, Major: "1", Minor: "37"}
	release := chartutil.ReleaseOptions{Name: "arauto", Namespace: "payments", Revision: 1, IsInstall: true}
	merged, err := chartutil.ToRenderValues(c, given, release, capabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Engine{Strict: true}.Render(c, merged)
	if err != nil {
		return nil, err
	}
	var all []manifest
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Ext(name) != ".yaml" {
			continue
		}
		for _, text := range strings.Split("\n"+files[name], "\n---") {
			m := manifest{text: text}
			if err := yaml.UnmarshalStrict([]byte(text), &m.tree); err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", name, err, text)
			}
			if m.tree != nil {
				all = append(all, m)
			}
		}
	}
	return all, nil
}

// rendered is render of a values file, by id.
func rendered(t testing.TB, name string) map[string]manifest {
	t.Helper()
	return mustRender(t, values(t, name))
}

func mustRender(t testing.TB, given map[string]any) map[string]manifest {
	t.Helper()
	list, err := render(given)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]manifest{}
	for _, m := range list {
		if _, twice := all[m.id()]; twice {
			t.Errorf("there are two of %s", m.id())
		}
		all[m.id()] = m
	}
	return all
}

// valueFiles are all that the tests render.
var valueFiles = []string{"minimal", "production", "keda", "keda-prometheus", "tracing"}
