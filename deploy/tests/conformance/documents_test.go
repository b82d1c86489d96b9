package conformance_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/workers/operator"
)

// documents are what people read, from the root.
var documents = []string{
	"README.md", "deploy/SEEDS.md", "deploy/SUBSCRIBING.md", "deploy/CONFIGURING.md", "deploy/OPERATING.md", "deploy/GUARANTEES.md",
	"deploy/FIGURES.md", "deploy/BYHAND.md", "deploy/CONSOLE.md", "deploy/CHANGELOG.md", "deploy/chart/README.md", "schemas/providers/README.md",
}

// fence finds the fenced blocks of a document: what the fence says, and the
// lines in it.
var fence = regexp.MustCompile("(?ms)^```([^\n`]*)\n(.*?)^```$")

// fenced is the one block of a document whose fence says that.
func fenced(t testing.TB, document, says string) string {
	t.Helper()
	var found []string
	for _, m := range fence.FindAllStringSubmatch(read(t, document), -1) {
		if m[1] == says {
			found = append(found, m[2])
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s has %d blocks %q, want one", document, len(found), says)
	}
	return found[0]
}

// TestDocumentedCommandsAreUnderstood gives every command line of the
// documents to the command, with a configuration that is not there: one that is
// understood needs none, or complains of that and of nothing else.
func TestDocumentedCommandsAreUnderstood(t *testing.T) {
	t.Parallel()
	inText := regexp.MustCompile("`arauto ([a-z][^`]*)`")
	count := 0
	for _, document := range documents {
		text := read(t, document)
		var lines []string
		for _, m := range fence.FindAllStringSubmatch(text, -1) {
			for line := range strings.Lines(m[2]) {
				if args, ok := strings.CutPrefix(line, "bin/arauto "); ok {
					args, _, _ = strings.Cut(args, "#")
					lines = append(lines, args)
				}
			}
		}
		for _, m := range inText.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			lines = append(lines, m[1])
		}
		for _, line := range lines {
			count++
			var out, problems bytes.Buffer
			args := append(strings.Fields(line), "--config", filepath.Join(t.TempDir(), "arauto.yaml"))
			code := operator.Run(t.Context(), args, func(string) (string, bool) { return "", false }, &out, &problems)
			said := problems.String()
			understood := strings.Contains(said, "cannot read the configuration") || strings.Contains(said, "the password has fewer") // There is none on the standard input of a test.
			if code != operator.ExitDone && !understood {
				t.Errorf("%s: arauto %s: %q %q", document, line, out.String(), said)
			}
		}
	}
	if count < 15 {
		t.Errorf("only %d commands were found", count)
	}
}

func TestDocumentedMetricsExist(t *testing.T) {
	t.Parallel()
	metric := regexp.MustCompile(`\barauto_[a-z_]+`)
	named := map[string]bool{}
	for _, document := range documents {
		for _, name := range metric.FindAllString(read(t, document), -1) {
			named[name] = true
		}
	}
	if len(named) < 20 {
		t.Errorf("only %d metrics were found in the documents", len(named))
	}
	quoted := regexp.MustCompile(`"([a-z_]+)"`)
	for _, source := range sourceFiles(t) {
		for _, m := range quoted.FindAllStringSubmatch(read(t, source), -1) {
			delete(named, m[1])
			delete(named, "arauto_consumer_"+m[1]) // They share their beginning in the code.
		}
	}
	for name := range named {
		t.Errorf("the documents name %s, which no code has", name)
	}
}

// sourceFiles lists the code that is no test.
func sourceFiles(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, folder := range []string{"gateway", "workers", "deploy"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, _ os.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				path, err = filepath.Rel(root, path)
				all = append(all, path)
			}
			return err
		})
		testbench.Must(t, err)
	}
	return all
}

// longestReadme is a page, in words.
const longestReadme = 1200

func TestReadmeIsOnePage(t *testing.T) {
	t.Parallel()
	if n := len(strings.Fields(read(t, "README.md"))); n > longestReadme {
		t.Errorf("it has %d words, want at most %d; another document may have room", n, longestReadme)
	}
}

func TestDocumentsLinkToWhatIsThere(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)]+)\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.+)$`)
	for _, document := range documents {
		for _, m := range link.FindAllStringSubmatch(read(t, document), -1) {
			if strings.HasPrefix(m[1], "https://") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			to := document
			if file != "" {
				to = filepath.Join(filepath.Dir(document), file)
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s links to %s: %v", document, m[1], err)
				continue
			}
			if anchor != "" && !slices.ContainsFunc(heading.FindAllStringSubmatch(read(t, to), -1), func(h []string) bool {
				return strings.ReplaceAll(strings.ToLower(h[1]), " ", "-") == anchor
			}) {
				t.Errorf("%s links to %s, and %s has no such heading", document, m[1], to)
			}
		}
	}
}

func TestEveryCodeOfTheGatewayIsDocumented(t *testing.T) {
	t.Parallel()
	document := read(t, "deploy/CONFIGURING.md")
	codes := regexp.MustCompile(`= (\d{6})\n`).FindAllStringSubmatch(read(t, "gateway/webhook/reply.go"), -1)
	if len(codes) < 11 {
		t.Fatalf("only %d codes were found", len(codes))
	}
	for _, m := range codes {
		if !strings.Contains(document, m[1]) {
			t.Errorf("CONFIGURING.md says nothing of the code %s", m[1])
		}
	}
}

// TestStatusTableIsTheGraph holds the table of statuses to the code:
// what its rows lead to is what may follow, and what they return to may return.
func TestStatusTableIsTheGraph(t *testing.T) {
	t.Parallel()
	forward, returns, corrections := statusTable(t)
	for _, kind := range order.Kinds() {
		named := map[order.Status]bool{}
		for from, tos := range forward[kind] {
			named[from] = true
			for _, to := range tos {
				named[to] = true
			}
		}
		if got := slices.Sorted(maps.Keys(named)); !slices.Equal(got, kind.Statuses()) {
			t.Errorf("the table gives %s the statuses %v, want %v", kind, got, kind.Statuses())
		}
		for _, from := range kind.Statuses() {
			seen := map[order.Status]bool{}
			follow(forward[kind], from, seen)
			for _, to := range kind.Statuses() {
				if from != to && seen[to] != kind.Reachable(from, to) {
					t.Errorf("%s: the table leads from %s to %s: %v", kind, from, to, seen[to])
				}
				if got := slices.Contains(returns[kind][from], to); got != kind.Returns(from, to) {
					t.Errorf("%s: in the table %s returns to %s: %v", kind, from, to, got)
				}
				if got := slices.Contains(corrections[kind][from], to); got != kind.Corrects(from, to) {
					t.Errorf("%s: in the table %s is corrected to %s: %v", kind, from, to, got)
				}
			}
		}
	}
}

// edges are what the table says of each kind and status.
type edges map[order.Kind]map[order.Status][]order.Status

func (e edges) add(kind order.Kind, from order.Status, words string) {
	if e[kind] == nil {
		e[kind] = map[order.Status][]order.Status{}
	}
	for word := range strings.FieldsSeq(strings.ReplaceAll(words, "`", "")) {
		e[kind][from] = append(e[kind][from], order.Status(word))
	}
}

// statusTable reads the table of SUBSCRIBING.md.
func statusTable(t *testing.T) (forward, returns, corrections edges) {
	t.Helper()
	forward, returns, corrections = edges{}, edges{}, edges{}
	rows := regexp.MustCompile("(?m)^\\| ([a-z, ]+) \\| `([a-z_]+)` \\|([a-z_` ]*)\\|([a-z_` ]*)\\|([a-z_` ]*)\\|$").FindAllStringSubmatch(read(t, "deploy/SUBSCRIBING.md"), -1)
	if len(rows) < 10 {
		t.Fatalf("only %d rows were found", len(rows))
	}
	for _, row := range rows {
		for _, kind := range strings.Split(row[1], ", ") {
			forward.add(order.Kind(kind), order.Status(row[2]), row[3])
			returns.add(order.Kind(kind), order.Status(row[2]), row[4])
			corrections.add(order.Kind(kind), order.Status(row[2]), row[5])
		}
	}
	return forward, returns, corrections
}

// follow collects what can be reached from a status.
func follow(graph map[order.Status][]order.Status, from order.Status, seen map[order.Status]bool) {
	for _, to := range graph[from] {
		if !seen[to] {
			seen[to] = true
			follow(graph, to, seen)
		}
	}
}
