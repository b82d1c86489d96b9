package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/subject"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// The folders, seen from this package.
const (
	root     = "../../.."
	schemas  = root + "/schemas"
	contract = root + "/deploy/contract"
)

func TestContractIsWhatTheCodeSays(t *testing.T) {
	t.Parallel()
	files, err := generate(schemas)
	testbench.Must(t, err)
	there, err := os.ReadDir(contract)
	testbench.Must(t, err)
	for _, f := range there {
		if _, ok := files[f.Name()]; !ok {
			t.Errorf("deploy/contract/%s is made by nothing any more", f.Name())
		}
	}
	for name, want := range files {
		if got, err := os.ReadFile(filepath.Join(contract, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("deploy/contract/%s differs from the code: run make contract (%v)", name, err)
		}
	}
}

// internal are the streams that nothing outside Arauto may read, each with the reason.
var internal = map[string]string{
	subject.Notifications: "what the gateway keeps of a webhook is for lookup",
	subject.LookupRetries: "scheduled look-ups are for lookup",
	subject.Statuses:      "observations are not judged yet",
	subject.Advisories:    "the broker's own messages",
	subject.Circuits:      "what the workers know of the providers",
	subject.Leases:        "how the workers share the rate limits",
	subject.OrderPayments: "how normalize finds the payments of an order; it has no documents",
	subject.Forgotten:     "which payments were erased, by a keyed hash",
}

// TestEveryPublicStreamHasASchema fails for a new stream until a schema names it, or it is
// listed as internal.
func TestEveryPublicStreamHasASchema(t *testing.T) {
	t.Parallel()
	documents, err := readDocuments(schemas)
	testbench.Must(t, err)
	named := map[string]bool{}
	for _, d := range documents {
		named[d.where.Stream] = true
	}
	for _, s := range topology.Streams(topology.Settings{}) {
		if _, ok := internal[s.Name]; ok == named[s.Name] {
			t.Errorf("stream %s is internal: %v, has a schema: %v; write x-jetstream into its schema, or list it with a reason", s.Name, ok, named[s.Name])
		}
	}
}

func TestSchemasStayOpenForNewFields(t *testing.T) {
	t.Parallel()
	documents, err := readDocuments(schemas)
	testbench.Must(t, err)
	for _, d := range documents {
		if closed := closedAt("the document", inlined(d.schema)); len(closed) > 0 {
			t.Errorf("%s is closed for new fields at %v", d.file, closed)
		}
	}
}

// closedAt lists where a schema refuses fields that it does not know.
func closedAt(place string, value any) (all []string) {
	switch v := value.(type) {
	case []any:
		for _, one := range v {
			all = append(all, closedAt(place, one)...)
		}
	case object:
		if v["additionalProperties"] == false || v["unevaluatedProperties"] == false {
			all = append(all, place)
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			all = append(all, closedAt(place+" "+key, v[key])...)
		}
	}
	return all
}

// TestASchemaIsPlacedOnItsStream gives the generator schemas whose placement is wrong.
func TestASchemaIsPlacedOnItsStream(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"no placement":        {`{}`, "has no x-jetstream"},
		"unknown stream":      {`{"x-jetstream": {"stream": "NONE", "message": "m", "channels": []}}`, "names the stream NONE, which is not declared"},
		"address elsewhere":   {placed("orders.{provider}", "send"), "ORDERS does not store orders.{provider}"},
		"unknown parameter":   {placed("orders.{provider}.{account}.{payment}.{order}.{colour}", "send"), "the parameter colour of"},
		"neither sends":       {placed("orders.{provider}.{account}.{payment}.{order}.{status}", "shout"), `the action "shout"`},
		"what is no document": {`[`, "unexpected end of JSON input"},
	} {
		folder := t.TempDir()
		testbench.Must(t, os.WriteFile(filepath.Join(folder, "x.v1.schema.json"), []byte(c.text), 0o600))
		if _, err := generate(folder); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func placed(address, action string) string {
	return `{"x-jetstream": {"stream": "ORDERS", "message": "m", "channels": [{"name": "c", "address": "` + address + `", "action": "` + action + `"}]}}`
}

// TestAsyncAPIDocumentFollowsItsSpecification validates the document with the JSON Schema of
// AsyncAPI 3.0.0, and follows its references.
func TestAsyncAPIDocumentFollowsItsSpecification(t *testing.T) {
	t.Parallel()
	compiler := jsonschema.NewCompiler()
	testbench.Must(t, compiler.AddResource("asyncapi.json", parsed(t, "testdata/asyncapi/3.0.0.schema.json")))
	specification, err := compiler.Compile("asyncapi.json")
	testbench.Must(t, err)
	document := parsed(t, filepath.Join(contract, "asyncapi.json"))
	if err := specification.Validate(document); err != nil {
		t.Errorf("%+v", err)
	}
	references := referencesOf(document)
	if len(references) < 10 {
		t.Errorf("only %d references were found", len(references))
	}
	for _, reference := range references {
		if at(document, strings.Split(strings.TrimPrefix(reference, "#/"), "/")...) == nil {
			t.Errorf("%s leads nowhere", reference)
		}
	}
	broken := parsed(t, filepath.Join(contract, "asyncapi.json")).(object)
	broken["channels"].(object)["orders"].(object)["place"] = "orders.>"
	if specification.Validate(broken) == nil {
		t.Error("the specification takes a channel with an unknown key")
	}
}

func parsed(t *testing.T, path string) any {
	t.Helper()
	text, err := os.ReadFile(path)
	testbench.Must(t, err)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	testbench.Must(t, err)
	return value
}

func referencesOf(value any) (all []string) {
	switch v := value.(type) {
	case []any:
		for _, one := range v {
			all = append(all, referencesOf(one)...)
		}
	case object:
		if reference, ok := v["$ref"].(string); ok {
			all = append(all, reference)
		}
		for _, one := range v {
			all = append(all, referencesOf(one)...)
		}
	}
	return all
}

func TestOpenAPIDocumentFollowsItsSpecification(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(contract, "openapi.json"))
	testbench.Must(t, err)
	document, err := libopenapi.NewDocument(text)
	testbench.Must(t, err)
	v, problems := validator.NewValidator(document)
	for _, problem := range problems {
		t.Fatal(problem)
	}
	if ok, problems := v.ValidateDocument(); !ok {
		for _, problem := range problems {
			t.Errorf("%s: %v", problem.Error(), problem.SchemaValidationErrors)
		}
	}
}

// TestEveryAdminRouteIsDocumented finds the routes in the code. The pages of the console are
// for people, and no contract.
func TestEveryAdminRouteIsDocumented(t *testing.T) {
	t.Parallel()
	route := regexp.MustCompile(`Handle(?:Func)?\("(GET|POST|PUT|DELETE) ([^"]+)"`)
	paths, found := openAPI()["paths"], 0
	for _, folder := range []string{"gateway", "workers", "deploy/runtime"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, _ os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(filepath.ToSlash(path), "workers/console/") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range route.FindAllStringSubmatch(string(text), -1) {
				found++
				if at(paths, m[2], strings.ToLower(m[1])) == nil {
					t.Errorf("%s serves %s %s, which adminPaths does not describe", path, m[1], m[2])
				}
			}
			return err
		})
		testbench.Must(t, err)
	}
	if found < 4 {
		t.Errorf("only %d routes were found", found)
	}
}

// TestPagesAskNoOtherHost looks for whatever a browser would load or follow.
func TestPagesAskNoOtherHost(t *testing.T) {
	t.Parallel()
	loads := regexp.MustCompile(`(?i)(?:src|href|action)\s*=\s*"([^"]*)"|url\(|@import|<script|<link|<iframe`)
	files, err := generate(schemas)
	testbench.Must(t, err)
	pages := 0
	for name, text := range files {
		if !strings.HasSuffix(name, ".html") {
			continue
		}
		pages++
		for _, m := range loads.FindAllStringSubmatch(string(text), -1) {
			target := m[1]
			if _, ok := files[target]; !ok && !(strings.HasPrefix(target, "#") && bytes.Contains(text, []byte(`id="`+target[1:]+`"`))) {
				t.Errorf("%s has %s", name, m[0])
			}
		}
	}
	if pages != 3 {
		t.Errorf("%d pages, want 3", pages)
	}
}
