package figures

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The markers between which a document's figures stand. What is outside of
// them is written by hand.
const (
	Opening = "<!-- figures: written by make bench -->"
	Closing = "<!-- end of figures -->"
)

// Part is one named piece of the figures, in Markdown.
type Part struct{ Name, Text string }

// partMarker stands before each part, so that a run which measured only some
// of them leaves the others.
var partMarker = regexp.MustCompile(`(?m)^<!-- figures of ([a-z]+) -->\n`)

// Write puts the parts between the file's markers. Parts of the same name are
// replaced, others that are there stay; order is the order of all parts. It
// fails, and changes nothing, when the markers do not stand in the file once
// each and in their order.
func Write(name string, parts []Part, order []string) error {
	old, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read figures: %w", err)
	}
	text, err := replace(string(old), parts, order)
	if err != nil {
		return fmt.Errorf("write figures into %s: %w", filepath.Base(name), err)
	}
	info, err := os.Stat(name)
	if err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	// A new file is renamed over the old one, so that there is a whole one at
	// every moment.
	fresh := name + ".new"
	if err := os.WriteFile(fresh, []byte(text), info.Mode().Perm()); err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	if err := os.Rename(fresh, name); err != nil {
		return errors.Join(fmt.Errorf("write figures: %w", err), os.Remove(fresh))
	}
	return nil
}

// replace is Write for a text.
func replace(text string, parts []Part, order []string) (string, error) {
	if strings.Count(text, Opening) != 1 || strings.Count(text, Closing) != 1 {
		return "", fmt.Errorf("it must have one line %s and one line %s; write both where the figures shall stand", Opening, Closing)
	}
	before, rest, _ := strings.Cut(text, Opening)
	inside, after, ok := strings.Cut(rest, Closing)
	if !ok {
		return "", fmt.Errorf("%s stands before %s; swap them", Closing, Opening)
	}
	all := split(inside)
	for _, p := range parts {
		at := slices.IndexFunc(all, func(have Part) bool { return have.Name == p.Name })
		if at < 0 {
			all = append(all, p)
		} else {
			all[at] = p
		}
	}
	slices.SortStableFunc(all, func(a, b Part) int { return slices.Index(order, a.Name) - slices.Index(order, b.Name) })
	var b strings.Builder
	b.WriteString(before + Opening + "\n")
	for _, p := range all {
		fmt.Fprintf(&b, "\n<!-- figures of %s -->\n%s\n", p.Name, strings.TrimSpace(p.Text))
	}
	b.WriteString("\n" + Closing + after)
	return b.String(), nil
}

// split reads the parts that stand between the markers.
func split(inside string) []Part {
	var all []Part
	found := partMarker.FindAllStringSubmatchIndex(inside, -1)
	for i, at := range found {
		end := len(inside)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		all = append(all, Part{Name: inside[at[2]:at[3]], Text: strings.TrimSpace(inside[at[1]:end])})
	}
	return all
}
