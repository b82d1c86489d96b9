package conformance_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
)

// ban forbids packages to reach others, directly or through what they import.
// Patterns are import paths; "/..." at the end covers everything below.
type ban struct {
	from    []string // None means every package of ours.
	except  []string // Of those in from.
	reach   []string
	own     bool // Only what our own packages import counts.
	because string
}

// madeForTestsOnly are packages that tests import and nothing else does.
var madeForTestsOnly = []string{
	"arauto/schemas/schematest", "arauto/schemas/provider/providertest", "arauto/deploy/runtime/testbench",
	"arauto/deploy/runtime/commit/committest", "arauto/deploy/runtime/process/processtest", "arauto/workers/workertest",
}

// benchmark measures the gateway's Committer without HTTP, and Fiber without
// the gateway, on a broker of its own: nothing of it runs in production.
var benchmark = []string{"arauto/deploy/tools/bench/..."}

var bans = []ban{
	{
		from: []string{"arauto/gateway/..."}, reach: []string{"arauto/workers/..."},
		because: "gateway and workers meet on the streams only, so that each can be killed, scaled and released alone",
	},
	{
		from: []string{"arauto/workers/..."}, reach: []string{"arauto/gateway/..."},
		because: "gateway and workers meet on the streams only, so that each can be killed, scaled and released alone",
	},
	{
		from: []string{"arauto/schemas/..."}, reach: []string{"arauto/gateway/...", "arauto/workers/...", "arauto/deploy/..."},
		because: "schemas is the ground floor: every other folder stands on it",
	},
	{
		from: []string{"arauto/deploy/runtime/..."}, reach: []string{"arauto/gateway/...", "arauto/workers/...", "arauto/deploy/tools/...", "arauto/deploy/tests/..."},
		because: "every role stands on deploy/runtime",
	},
	{
		from: []string{"arauto/gateway/...", "arauto/workers/..."}, reach: []string{"arauto/deploy/tools/...", "arauto/deploy/tests/..."},
		because: "tools and suites stand on the roles; the roles stand on schemas and deploy/runtime only",
	},
	{
		from: []string{"arauto/gateway/publish"}, reach: []string{"arauto/gateway/webhook", "arauto/gateway/ingress"},
		because: "inside gateway webhook stands on publish and ingress, which know neither webhook nor each other",
	},
	{
		from: []string{"arauto/gateway/ingress"}, reach: []string{"arauto/gateway/webhook", "arauto/gateway/publish"},
		because: "inside gateway webhook stands on publish and ingress, which know neither webhook nor each other",
	},
	{
		from:    []string{"arauto/gateway/ingress"},
		reach:   []string{"arauto/schemas/...", "arauto/deploy/...", "github.com/nats-io/nats.go/..."},
		because: "ingress knows HTTP only: no provider, no configuration and no broker",
	},
	{
		from:    []string{"arauto/gateway/publish"},
		reach:   []string{"arauto/schemas/provider", "arauto/schemas/providers/...", "arauto/deploy/runtime/config", "arauto/deploy/runtime/process"},
		because: "publish stores bytes: it knows no provider and no configuration",
	},
	{
		from: []string{"arauto/deploy/runtime/commit"}, reach: []string{"arauto/schemas/...", "arauto/deploy/runtime/config", "arauto/deploy/runtime/topology"},
		because: "the committer stores bytes on any stream",
	},
	{
		from: []string{"arauto/schemas/subscriber"}, reach: []string{"arauto/schemas/provider", "arauto/schemas/providers/...", "go.uber.org/zap", "go.opentelemetry.io/otel/..."},
		because: "services that subscribe import it, and must not carry the server",
	},
	{
		reach: []string{"arauto/deploy/tests/..."}, except: []string{"arauto/deploy/tests/..."},
		because: "suites are the top floor",
	},
	{
		from:    []string{"arauto/schemas/order", "arauto/schemas/subject", "arauto/schemas/wire", "arauto/schemas/record"},
		reach:   []string{"arauto/schemas/provider", "arauto/schemas/providers/..."},
		because: "inside schemas order comes before provider, provider before the adapters, and those before their list",
	},
	{
		from: []string{"arauto/schemas/provider"}, reach: []string{"arauto/schemas/providers/..."},
		because: "inside schemas order comes before provider, provider before the adapters, and those before their list",
	},
	{
		except:  slices.Concat([]string{"arauto/gateway", "arauto/gateway/ingress", "arauto/gateway/webhook", "arauto/deploy/tools/contract"}, benchmark),
		reach:   []string{"github.com/gofiber/fiber/v2", "github.com/valyala/fasthttp/..."},
		because: "one package per outside dependency: only ingress serves HTTP by Fiber, and webhook answers its requests; contract lists those answers",
	},
	{
		except: slices.Concat([]string{"arauto/deploy/tools/local/..."}, madeForTestsOnly, benchmark), reach: []string{"github.com/nats-io/nats-server/v2/..."},
		because: "in production the broker is a process of its own; embedding it is for make run and tests",
	},
	{
		except:  []string{"arauto/workers/operator", "arauto/workers/cmd/arauto", "arauto/workers/console", "arauto/workers/cmd/console"},
		reach:   []string{"github.com/spf13/cobra", "github.com/schollz/progressbar/v3"},
		because: "only the operator's command is for people and has subcommands, and the console does what it does; the roles take a configuration file",
	},
	{
		except: madeForTestsOnly,
		reach: slices.Concat(madeForTestsOnly, []string{
			"net/http/httptest", "go.uber.org/goleak", "pgregory.net/rapid", "golang.org/x/tools/txtar", "github.com/pb33f/libopenapi-validator",
		}),
		because: "what is made for tests never reaches a binary",
	},
	{
		except: madeForTestsOnly,
		reach:  []string{"testing"}, own: true, // Fiber and a library of Prometheus import it themselves.
		because: "what is made for tests never reaches a binary",
	},
}

// pureImports is what schemas may import beside itself. Nothing here dials,
// reads a file, a clock or randomness; net/http is for the names of statuses
// and methods, which TestSchemasUseNamesOfHTTPOnly holds, and mime for what
// stands in memory already.
var pureImports = []string{
	"bytes", "cmp", "crypto/hmac", "crypto/sha256", "crypto/subtle", "embed", "encoding/hex", "encoding/json", "errors",
	"fmt", "io", "maps", "mime", "mime/multipart", "net/http", "net/url", "slices", "strconv", "strings", "time", "unicode/utf8",
	"github.com/go-json-experiment/json", "github.com/go-json-experiment/json/jsontext",
	"github.com/go-json-experiment/json/v1", "github.com/shopspring/decimal",
}

// listed is one package as the go command knows it.
type listed struct {
	ImportPath   string
	Name         string
	Imports      []string
	TestImports  []string
	XTestImports []string
	ForTest      string
}

func (l listed) ours() bool {
	return l.ImportPath == "arauto" || strings.HasPrefix(l.ImportPath, "arauto/")
}

// packages lists every package of ours and all that it needs, tests included.
func packages(t *testing.T) map[string]listed {
	t.Helper()
	cmd := exec.CommandContext(testbench.Context(t), "go", "list", "-deps", "-test", "-json=ImportPath,Name,Imports,TestImports,XTestImports,ForTest", "./...")
	cmd.Dir = root
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, complaints.String())
	}
	all := map[string]listed{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		if p.ForTest == "" && !strings.HasSuffix(p.ImportPath, ".test") {
			all[p.ImportPath] = p
		}
	}
}

func matches(pattern, path string) bool {
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == below || strings.HasPrefix(path, below+"/")
	}
	return path == pattern
}

func matchesAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, path) })
}

// chainTo finds how a package comes to one that matches, as the list of
// packages on the way; nil when it does not. Tests of it do not count, and
// only packages that enter accepts are looked into.
func chainTo(all map[string]listed, from string, patterns []string, enter func(listed) bool) []string {
	seen := map[string]bool{from: true}
	for ways := [][]string{{from}}; len(ways) > 0; ways = ways[1:] {
		way := ways[0]
		for _, next := range all[way[len(way)-1]].Imports {
			if seen[next] {
				continue
			}
			seen[next] = true
			longer := append(slices.Clone(way), next)
			if matchesAny(patterns, next) {
				return longer
			}
			if enter(all[next]) {
				ways = append(ways, longer)
			}
		}
	}
	return nil
}

func everything(listed) bool { return true }

func TestNoPackageReachesWhatItMustNot(t *testing.T) {
	t.Parallel()
	all := packages(t)
	for _, b := range bans {
		enter := everything
		if b.own {
			enter = listed.ours
		}
		for path, p := range all {
			if !p.ours() || len(b.from) > 0 && !matchesAny(b.from, path) || matchesAny(b.except, path) {
				continue
			}
			if way := chainTo(all, path, b.reach, enter); way != nil {
				t.Errorf("%s, although %s", strings.Join(way, " imports "), b.because)
			}
		}
	}
}

// TestBansNameWhatExists keeps a ban from guarding nothing after a package
// has been renamed.
func TestBansNameWhatExists(t *testing.T) {
	t.Parallel()
	all := packages(t)
	for _, b := range bans {
		for _, pattern := range slices.Concat(b.from, b.except, b.reach) {
			if !exists(all, pattern) {
				t.Errorf("no package matches %s any more; mend the rule that %s", pattern, b.because)
			}
		}
	}
	for _, path := range pureImports {
		if !slices.ContainsFunc(pure(all), func(p listed) bool { return slices.Contains(p.Imports, path) }) {
			t.Errorf("schemas does not import %s any more; remove it from the list", path)
		}
	}
}

func exists(all map[string]listed, pattern string) bool {
	for path := range all {
		if matches(pattern, path) {
			return true
		}
	}
	return false
}

// pure lists the packages of schemas, without what is made for tests, and without the
// package for the services that subscribe, which reads from the broker.
func pure(all map[string]listed) []listed {
	var found []listed
	for path, p := range all {
		if matches("arauto/schemas/...", path) && !strings.HasSuffix(path, "test") && path != "arauto/schemas/subscriber" {
			found = append(found, p)
		}
	}
	return found
}

func TestSchemasImportNothingThatActs(t *testing.T) {
	t.Parallel()
	found := pure(packages(t))
	if len(found) == 0 {
		t.Fatal("there is no package of schemas")
	}
	for _, p := range found {
		for _, path := range p.Imports {
			if !matches("arauto/schemas/...", path) && !slices.Contains(pureImports, path) {
				t.Errorf("%s imports %s; schemas is pure: no I/O, no clock, no randomness, few dependencies", p.ImportPath, path)
			}
		}
	}
}

// TestSpansAreExportedWithoutGRPC keeps out what would be a third of each binary, and which
// parts of OpenTelemetry bring with them.
func TestSpansAreExportedWithoutGRPC(t *testing.T) {
	t.Parallel()
	all := packages(t)
	for path := range all {
		if matches("google.golang.org/grpc/...", path) {
			t.Errorf("a package of ours needs %s", path)
		}
	}
	for path, p := range all {
		if p.ours() && path != "arauto/deploy/runtime/spans" && slices.ContainsFunc(p.Imports, func(i string) bool { return matches("go.opentelemetry.io/otel/...", i) }) {
			t.Errorf("%s imports OpenTelemetry; only deploy/runtime/spans does", path)
		}
	}
}

func TestAdaptersDoNotKnowEachOther(t *testing.T) {
	t.Parallel()
	all := packages(t)
	adapters := 0
	for path := range all {
		if !strings.HasPrefix(path, "arauto/schemas/providers/") {
			continue
		}
		adapters++
		if way := chainTo(all, path, []string{"arauto/schemas/providers/..."}, everything); way != nil {
			t.Errorf("%s; a provider must be added or removed without touching another", strings.Join(way, " imports "))
		}
	}
	if adapters == 0 {
		t.Error("there is no adapter")
	}
}
