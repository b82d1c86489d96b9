package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File string
	Line int    // 1 for the first line, 0 when it concerns the whole file.
	Text string // What is wrong; what to write instead. Never a secret.
}

// String is "file:line: what is wrong; what to write instead".
func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// Problems is everything that is wrong with a configuration, by line.
type Problems []Problem

// Error lists one problem per line of text.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// orNil is p as an error, nil without any problem.
func (p Problems) orNil() error {
	if len(p) == 0 {
		return nil
	}
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(p)
}

// checks collects the problems of a configuration while it is decoded, checked
// and resolved.
type checks struct {
	*Config
	problems Problems
}

// refuseAt reports a problem at a line; path is "" for the whole file.
func (k *checks) refuseAt(line int, path, text string) {
	if path != "" {
		text = path + ": " + text
	}
	k.problems = append(k.problems, Problem{File: k.name, Line: max(line, 1), Text: text})
}

// refuse reports a problem at the key, or at the nearest key above it that is
// present.
func (k *checks) refuse(path, text string) {
	at := path
	for k.lines[at] == 0 && at != "" {
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	k.refuseAt(k.lines[at], path, text)
}

// wrong is refuse unless there is nothing to say.
func (k *checks) wrong(path, text string) {
	if text != "" {
		k.refuse(path, text)
	}
}

// oneOf refuses a value that is not one of the known; is says what it should
// be. The value is no part of the advice when it comes from the environment.
func (k *checks) oneOf(path, value, is string, known []string) {
	if slices.Contains(known, value) {
		return
	}
	origin, name := k.origins[path], value
	if origin != shown(value) {
		name = ""
	}
	k.refuse(path, origin+" is not "+is+"; "+instead(name, known))
}

// syntaxProblem translates an error of the YAML library. It keeps the library's
// words but for those that quote the file, where a secret might stand.
func syntaxProblem(name string, data []byte, err error) Problem {
	text, line := err.Error(), 1
	if found := (*yaml.LoadError)(nil); errors.As(err, &found) {
		text, line = found.Message, max(found.Mark.Line, 1)
	}
	advice := "write valid YAML"
	switch {
	case strings.Contains(text, "anchor"):
		text, advice = "an alias names no anchor", "quote a value that begins with *"
	case unquotedReference(data, line):
		advice = `write "${NAME}" with quotes inside [ ] and { }`
	}
	return Problem{File: name, Line: line, Text: "is not valid YAML: " + text + "; " + advice}
}

// bareReference finds ${ right behind a bracket, comma or colon of a flow list
// or mapping, so without quotes.
var bareReference = regexp.MustCompile(`[\[{](?:.*[\[{,:])?\s*\$\{`)

// unquotedReference reports whether a reference stands bare in a flow list or
// mapping near the line, where YAML reads its braces as a mapping: by far the
// likeliest mistake in this file. The parser may name the line behind it.
func unquotedReference(data []byte, line int) bool {
	lines := bytes.Split(data, []byte("\n"))
	near := lines[min(max(line-2, 0), len(lines)):min(line, len(lines))]
	return slices.ContainsFunc(near, bareReference.Match)
}

// instead advises on a name that is not one of the known: the nearest one if
// it looks like a slip, and the whole list.
func instead(name string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if d := edits(name, k); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	list := cmp.Or(strings.Join(known, ", "), "none")
	if best != "" {
		return fmt.Sprintf("write %s instead (known: %s)", best, list)
	}
	return "write one of: " + list
}

// edits is the Levenshtein distance. Long names are not slips.
func edits(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// shown quotes a name of the file for a message, shortened.
func shown(text string) string {
	if len(text) > 40 {
		text = text[:40] + "..."
	}
	return strconv.Quote(text)
}
