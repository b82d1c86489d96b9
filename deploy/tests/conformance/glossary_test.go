package conformance_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
)

// retiredRow is a row of the glossary whose last column has words.
var retiredRow = regexp.MustCompile(`(?m)^\| ([a-z][^|]*) \| [^|]+ \| ([A-Z][A-Za-z, ]*) \|$`)

// retired lists the words that the glossary replaces, each with its term.
func retired(t *testing.T) map[string]string {
	t.Helper()
	terms := map[string]string{}
	for _, row := range retiredRow.FindAllStringSubmatch(read(t, "schemas/GLOSSARY.md"), -1) {
		for _, word := range strings.Split(row[2], ", ") {
			terms[strings.ToLower(strings.Join(wordsOf(word), " "))] = row[1]
		}
	}
	if len(terms) < 20 {
		t.Fatalf("the glossary retires %d words; the table is not read", len(terms))
	}
	return terms
}

var camel = regexp.MustCompile(`[A-Z]+[a-z0-9]*|[a-z0-9]+`)

// wordsOf splits an identifier: "newDeadLetter" is new, Dead, Letter.
func wordsOf(identifier string) []string { return camel.FindAllString(identifier, -1) }

// TestRetiredWordsNameNothing looks at every identifier that is declared.
func TestRetiredWordsNameNothing(t *testing.T) {
	t.Parallel()
	terms := retired(t)
	seen := 0
	for _, d := range declared(t) {
		seen++
		words := " " + strings.ToLower(strings.Join(wordsOf(d.name), " ")) + " "
		for word, term := range terms {
			if strings.Contains(words, " "+word+" ") {
				t.Errorf("%s: %s: the glossary says %q", d.at, d.name, term)
			}
		}
	}
	if seen < 3000 {
		t.Errorf("%d declarations were looked at; the sources are not found", seen)
	}
}

// declaration is a declared identifier and its position.
type declaration struct{ name, at string }

// declared lists what the sources declare: packages, types, fields, functions,
// parameters, constants and variables, also those of tests.
func declared(t *testing.T) []declaration {
	t.Helper()
	var all []declaration
	for _, top := range []string{"gateway", "workers", "schemas", "deploy"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") {
				return err
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			add := func(names ...*ast.Ident) {
				for _, n := range names {
					all = append(all, declaration{n.Name, set.Position(n.Pos()).String()})
				}
			}
			add(file.Name)
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.TypeSpec:
					add(n.Name)
				case *ast.ValueSpec:
					add(n.Names...)
				case *ast.Field:
					add(n.Names...)
				case *ast.FuncDecl:
					add(n.Name)
				case *ast.AssignStmt:
					if n.Tok == token.DEFINE {
						for _, left := range n.Lhs {
							if id, ok := left.(*ast.Ident); ok {
								add(id)
							}
						}
					}
				}
				return true
			})
			return nil
		})
		testbench.Must(t, err)
	}
	return all
}

// TestGlossaryNamesEachTermOnce keeps a second row for a term, and a word that is a
// term and retired, out of the glossary.
func TestGlossaryNamesEachTermOnce(t *testing.T) {
	t.Parallel()
	var terms []string
	for _, row := range regexp.MustCompile(`(?m)^\| ([a-z][^|]*) \| `).FindAllStringSubmatch(read(t, "schemas/GLOSSARY.md"), -1) {
		for _, term := range strings.Split(row[1], ", ") {
			if slices.Contains(terms, term) {
				t.Errorf("%q has two rows", term)
			}
			terms = append(terms, term)
		}
	}
	for word := range retired(t) {
		if slices.Contains(terms, word) {
			t.Errorf("%q is a term and retired", word)
		}
	}
}
