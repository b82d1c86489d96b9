package conformance_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
)

// use is one package-qualified name in the code, such as time.Now.
type use struct {
	file   string // From the root.
	line   int
	path   string // Import path.
	member string
}

// sources finds the qualified names in the code of a folder, tests excluded.
func sources(t *testing.T, folder string) []use {
	t.Helper()
	var all []use
	err := filepath.WalkDir(filepath.Join(root, folder), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		found, err := qualified(name)
		all = append(all, found...)
		return err
	})
	testbench.Must(t, err)
	return all
}

func qualified(name string) ([]use, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	imports := map[string]string{}
	for _, i := range file.Imports {
		imported, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return nil, err
		}
		local := path.Base(versionless.ReplaceAllString(imported, ""))
		if i.Name != nil {
			local = i.Name.Name
		}
		imports[local] = imported
	}
	relative, err := filepath.Rel(root, name)
	var all []use
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if left, ok := selector.X.(*ast.Ident); ok && imports[left.Name] != "" {
			all = append(all, use{
				file: filepath.ToSlash(relative), line: set.Position(selector.Pos()).Line,
				path: imports[left.Name], member: selector.Sel.Name,
			})
		}
		return true
	})
	return all, err
}

var versionless = regexp.MustCompile(`/v\d+$`)

// impure are members of packages that schemas imports for their other ones.
var impure = map[string][]string{
	"time": {"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Sleep", "Tick", "Local", "LoadLocation"},
}

func TestSchemasReadNoClock(t *testing.T) {
	t.Parallel()
	for _, u := range sources(t, "schemas") {
		if slices.Contains(impure[u.path], u.member) && !madeForTests(u.file) && !strings.HasPrefix(u.file, "schemas/subscriber/") {
			t.Errorf("%s:%d: %s.%s; schemas is pure, take it as an argument", u.file, u.line, u.path, u.member)
		}
	}
}

func TestSchemasUseNamesOfHTTPOnly(t *testing.T) {
	t.Parallel()
	found := false
	for _, u := range sources(t, "schemas") {
		if u.path != "net/http" || madeForTests(u.file) {
			continue
		}
		found = true
		if !strings.HasPrefix(u.member, "Status") && !strings.HasPrefix(u.member, "Method") {
			t.Errorf("%s:%d: http.%s; schemas describes requests, workers/internal/providerhttp performs them", u.file, u.line, u.member)
		}
	}
	if !found {
		t.Error("schemas no longer uses net/http; remove it from what it may import")
	}
}

func madeForTests(file string) bool { return strings.HasSuffix(path.Dir(file), "test") }

// askers are the folders that may make HTTP requests, each with its reason.
var askers = map[string]string{
	"workers/internal/providerhttp": "it asks the providers, with the limits and the redaction that this needs",
	"deploy/tools/simulator":        "it plays the providers and sends their webhooks",
	"deploy/runtime/durability":     "it asks the broker's monitoring addresses how it syncs",
	"deploy/tools/local":            "it watches over the processes that it has started",
	"deploy/runtime/process":        "its admin listener serves net/http",
	"deploy/runtime/spans":          "it sends spans to a collector",
	"deploy/tools/bench":            "it steers the simulator and reads the metrics of what it measures",
}

// clients are the members that make or perform a request.
var clients = map[string][]string{
	"net/http": {
		"Client", "Transport", "RoundTripper", "DefaultClient", "DefaultTransport", "NewRequest", "NewRequestWithContext",
		"Get", "Head", "Post", "PostForm",
	},
	"github.com/valyala/fasthttp": {"Client", "HostClient", "PipelineClient", "Do", "DoTimeout", "Get", "Post"},
	"github.com/gofiber/fiber/v2": {"Client", "AcquireClient", "AcquireAgent", "Get", "Post"},
}

func TestOnlyAskersMakeRequests(t *testing.T) {
	t.Parallel()
	asking := map[string]bool{}
	for _, top := range []string{"gateway", "workers", "deploy"} {
		for _, u := range sources(t, top) {
			if !slices.Contains(clients[u.path], u.member) {
				continue
			}
			allowed := false
			for folder := range askers {
				if strings.HasPrefix(u.file, folder+"/") {
					allowed, asking[folder] = true, true
				}
			}
			if !allowed {
				t.Errorf("%s:%d: %s.%s; only %v make requests", u.file, u.line, path.Base(u.path), u.member, askers)
			}
		}
	}
	if !asking["workers/internal/providerhttp"] {
		t.Error("workers/internal/providerhttp makes no request; the check no longer sees them")
	}
}
