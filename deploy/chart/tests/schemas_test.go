package chart_test

import (
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/yannh/kubeconform/pkg/validator"
	"sigs.k8s.io/yaml"
)

var (
	kubernetesFrom = flag.String("kubernetes", "", "`folder` of the module k8s.io/kubernetes, to write its schemas")
	kedaFrom       = flag.String("keda", "", "`folder` of the module github.com/kedacore/keda/v2, to write its schema")
)

// conform is kubeconform with the schemas of this folder alone, refusing unknown fields.
func conform(t testing.TB) validator.Validator {
	t.Helper()
	v, err := validator.New([]string{"schemas/{{ .ResourceKind }}{{ .KindSuffix }}.json"},
		validator.Opts{Strict: true, KubernetesVersion: kubernetes})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// faults are what kubeconform says of a manifest.
func faults(v validator.Validator, text string) (all []string) {
	for _, r := range v.Validate("manifest", io.NopCloser(strings.NewReader(text))) {
		if r.Status != validator.Valid {
			all = append(all, r.Err.Error())
		}
	}
	return all
}

func TestManifestsAreThoseOfKubernetes(t *testing.T) {
	t.Parallel()
	v := conform(t)
	for _, name := range valueFiles {
		for id, m := range rendered(t, name) {
			for _, fault := range faults(v, m.text) {
				t.Errorf("%s: %s: %s", name, id, fault)
			}
		}
	}
}

// TestSchemasRefuse breaks each kind of manifest: with a field that is not there, at its
// top and at its deepest, and with a value of another type.
func TestSchemasRefuse(t *testing.T) {
	t.Parallel()
	v, seen := conform(t), map[string]bool{}
	for _, name := range []string{"production", "keda"} {
		for id, m := range rendered(t, name) {
			kind, _, _ := strings.Cut(id, "/")
			if seen[kind] {
				continue
			}
			seen[kind] = true
			for what, broken := range breaks(t, kind, m.text) {
				if len(faults(v, broken)) == 0 {
					t.Errorf("%s with %s is accepted", kind, what)
				}
			}
		}
	}
	if len(seen) < 7 {
		t.Errorf("only %d kinds were broken", len(seen))
	}
}

// deepest is a line of each kind, and what it is broken to.
var deepest = map[string][2]string{
	"ConfigMap":           {`(?m)^data:`, "binary: {}\ndata:"},
	"Deployment":          {`allowPrivilegeEscalation:`, "allowPrivilegesEscalation:"},
	"Job":                 {`readOnlyRootFilesystem:`, "readOnlyRoot:"},
	"NetworkPolicy":       {`protocol: TCP`, "protocols: TCP"},
	"PodDisruptionBudget": {`matchLabels:`, "labels:"},
	"Service":             {`targetPort:`, "target:"},
	"ScaledObject":        {`metricType:`, "metric:"},
}

func breaks(t *testing.T, kind, text string) map[string]string {
	t.Helper()
	deep, ok := deepest[kind]
	if !ok {
		t.Fatalf("no break is known for %s", kind)
	}
	all := map[string]string{
		"an unknown field":         text + "\nunknown: 1\n",
		"an unknown field inside":  regexp.MustCompile(deep[0]).ReplaceAllString(text, deep[1]),
		"a number for labels":      regexp.MustCompile(`(?m)^  name: .*$`).ReplaceAllString(text, "  name: 1"),
		"a version of another day": regexp.MustCompile(`(?m)^apiVersion: .*$`).ReplaceAllString(text, "apiVersion: v0"),
	}
	for what, broken := range all {
		if broken == text {
			t.Errorf("%s: %s changes nothing", kind, what)
		}
	}
	return all
}

// vendored are the kinds that the chart makes, and where their schemas come from.
var vendored = []struct{ file, document, definition string }{
	{"configmap-v1.json", "api__v1", "io.k8s.api.core.v1.ConfigMap"},
	{"service-v1.json", "api__v1", "io.k8s.api.core.v1.Service"},
	{"deployment-apps-v1.json", "apis__apps__v1", "io.k8s.api.apps.v1.Deployment"},
	{"job-batch-v1.json", "apis__batch__v1", "io.k8s.api.batch.v1.Job"},
	{"networkpolicy-networking-v1.json", "apis__networking.k8s.io__v1", "io.k8s.api.networking.v1.NetworkPolicy"},
	{"poddisruptionbudget-policy-v1.json", "apis__policy__v1", "io.k8s.api.policy.v1.PodDisruptionBudget"},
}

const kedaFile = "scaledobject-keda-v1alpha1.json"

// TestSchemasNameTheirSource holds each file to the version that it says. With -kubernetes
// and -keda it writes them: `make schemas`.
func TestSchemasNameTheirSource(t *testing.T) {
	t.Parallel()
	if *kubernetesFrom != "" && *kedaFrom != "" {
		writeSchemas(t)
	}
	files, err := filepath.Glob("schemas/*.json")
	if err != nil || len(files) != len(vendored)+1 {
		t.Errorf("there are %d schemas, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		want := `"$comment":"k8s.io/kubernetes v` + kubernetes + `, api/openapi-spec/v3/`
		if filepath.Base(file) == kedaFile {
			want = `"$comment":"github.com/kedacore/keda/v2 v`
		}
		if err != nil || !strings.Contains(string(text), want) || !strings.Contains(string(text), "Apache-2.0") {
			t.Errorf("%s does not say %s, %v", file, want, err)
		}
		if len(text) > 100_000 {
			t.Errorf("%s has %d bytes", file, len(text))
		}
	}
}

func writeSchemas(t *testing.T) {
	t.Helper()
	for _, of := range vendored {
		document := "api/openapi-spec/v3/" + of.document + "_openapi.json"
		text, err := os.ReadFile(filepath.Join(*kubernetesFrom, document))
		var from struct {
			Components struct{ Schemas map[string]any }
		}
		if err == nil {
			err = json.Unmarshal(text, &from)
		}
		if err != nil {
			t.Fatal(err)
		}
		definitions := map[string]any{}
		collect(from.Components.Schemas, definitions, of.definition)
		top := definitions[of.definition].(map[string]any)
		delete(definitions, of.definition)
		only(top, from.Components.Schemas[of.definition].(map[string]any)["x-kubernetes-group-version-kind"].([]any)[0].(map[string]any))
		top["definitions"] = definitions
		writeSchema(t, of.file, "k8s.io/kubernetes v"+kubernetes+", "+document, top)
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct{ OpenAPIV3Schema map[string]any }
			}
		}
	}
	document := "config/crd/bases/keda.sh_scaledobjects.yaml"
	text, err := os.ReadFile(filepath.Join(*kedaFrom, document))
	if err == nil {
		err = yaml.Unmarshal(text, &crd)
	}
	if err != nil {
		t.Fatal(err)
	}
	top := strict(crd.Spec.Versions[0].Schema.OpenAPIV3Schema).(map[string]any)
	only(top, map[string]any{"group": "keda.sh", "version": "v1alpha1", "kind": "ScaledObject"})
	top["properties"].(map[string]any)["metadata"] = map[string]any{"type": "object", "properties": map[string]any{"name": map[string]any{"type": "string"}}}
	_, version, _ := strings.Cut(filepath.Base(*kedaFrom), "@")
	writeSchema(t, kedaFile, "github.com/kedacore/keda/v2 "+version+", "+document, top)
}

// only lets a schema accept one version of one kind, without a status.
func only(schema, of map[string]any) {
	version := of["version"].(string)
	if group := of["group"].(string); group != "" {
		version = group + "/" + version
	}
	properties := schema["properties"].(map[string]any)
	properties["apiVersion"], properties["kind"] = map[string]any{"enum": []any{version}}, map[string]any{"enum": []any{of["kind"]}}
	delete(properties, "status")
}

// collect copies a definition, and what it refers to, in a form for JSON Schema.
func collect(from, to map[string]any, name string) {
	if to[name] != nil {
		return
	}
	to[name] = strict(from[name])
	var walk func(any)
	walk = func(of any) {
		switch of := of.(type) {
		case map[string]any:
			if ref, ok := of["$ref"].(string); ok {
				collect(from, to, strings.TrimPrefix(ref, "#/definitions/"))
			}
			for _, one := range of {
				walk(one)
			}
		case []any:
			for _, one := range of {
				walk(one)
			}
		}
	}
	walk(to[name])
}

// kept are the keywords of OpenAPI that are those of JSON Schema too.
var kept = map[string]bool{
	"type": true, "items": true, "required": true, "enum": true, "allOf": true, "oneOf": true, "anyOf": true,
	"additionalProperties": true, "minimum": true, "maximum": true, "minItems": true, "pattern": true,
}

// strict turns a schema of OpenAPI into one of JSON Schema that refuses unknown fields.
func strict(of any) any {
	switch of := of.(type) {
	case []any:
		var all []any
		for _, one := range of {
			all = append(all, strict(one))
		}
		return all
	case map[string]any:
		out := map[string]any{}
		for key, value := range of {
			if kept[key] {
				out[key] = strict(value)
			}
		}
		if ref, ok := of["$ref"].(string); ok {
			out["$ref"] = "#/definitions/" + strings.TrimPrefix(ref, "#/components/schemas/")
		}
		if all, ok := of["properties"].(map[string]any); ok {
			properties := map[string]any{}
			for name, one := range all {
				properties[name] = strict(one)
			}
			out["properties"] = properties
			if of["x-kubernetes-preserve-unknown-fields"] != true {
				out["additionalProperties"] = false
			}
		}
		if of["x-kubernetes-int-or-string"] == true || of["format"] == "int-or-string" {
			return map[string]any{"anyOf": []any{map[string]any{"type": "integer"}, map[string]any{"type": "string"}}}
		}
		return out
	default:
		return of
	}
}

func writeSchema(t *testing.T, file, source string, schema map[string]any) {
	t.Helper()
	schema["$comment"] = source + ", Apache-2.0; what the chart does not need is left out"
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	text, err := json.Marshal(schema)
	if err == nil {
		err = os.WriteFile(filepath.Join("schemas", file), append(text, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
