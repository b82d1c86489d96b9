package main

import (
	"os"
	"path/filepath"
	"testing"

	"arauto/deploy/runtime/testbench"
)

// parserPackage is the AsyncAPI parser that the document is given to.
const parserPackage = "@asyncapi/parser@3.6.3"

// parse prints what the parser finds wrong in a document, and exits with 1 for an error.
const parse = `
const { Parser } = require("@asyncapi/parser");
const text = require("fs").readFileSync(process.argv[2], "utf8");
new Parser().parse(text).then(({ document, diagnostics }) => {
  const errors = diagnostics.filter((d) => d.severity === 0);
  for (const d of errors) console.log(d.path.join("."), d.message);
  if (!document || errors.length) process.exit(1);
  console.log(document.channels().all().map((c) => c.id()).sort().join(" "));
});
`

// TestAsyncAPIParserReadsTheDocument gives the document to the parser of the AsyncAPI
// project. TestAsyncAPIDocumentFollowsItsSpecification needs no Node.
func TestAsyncAPIParserReadsTheDocument(t *testing.T) {
	t.Parallel()
	node := testbench.Node(t, parserPackage)
	script := filepath.Join(node.Folder, "parse.cjs")
	testbench.Must(t, os.WriteFile(script, []byte(parse), 0o600))
	document, err := filepath.Abs(filepath.Join(contract, "asyncapi.json"))
	testbench.Must(t, err)
	out, err := node.Command(t.Context(), script, document).CombinedOutput()
	if err != nil || string(out) != "audit deadLetters expect expectations orders refusedEvents\n" {
		t.Errorf("the parser says %v\n%s", err, out)
	}
	text, err := os.ReadFile(document)
	testbench.Must(t, err)
	broken := filepath.Join(node.Folder, "broken.json")
	testbench.Must(t, os.WriteFile(broken, append([]byte(`{"asyncapi": "3.0.0", "channels": {"x": 1}, `), text[1:]...), 0o600))
	if out, err := node.Command(t.Context(), script, broken).CombinedOutput(); err == nil {
		t.Errorf("the parser takes a broken document: %s", out)
	}
}
