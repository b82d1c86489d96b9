package operator

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/cobra"
)

// show writes the result of a command: as JSON for a program, else as lines, where adjacent
// lines of row form a table.
func (s *settings) show(c *cobra.Command, result any, lines ...string) error {
	if s.output == jsonOutput {
		return writeJSON(c.OutOrStdout(), result)
	}
	t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	_, _ = io.WriteString(t, strings.Join(lines, "")) // Flush returns the error.
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// line formats one line of output, with what cannot be printed as escapes.
func line(format string, a ...any) string { return visible(fmt.Sprintf(format, a...)) + "\n" }

// visible replaces what cannot be printed by an escape. Ids and words come from outside: a
// line break would forge a line, and an escape sequence would control the terminal.
func visible(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
	}
	return b.String()
}

// widestCell is the largest width of a table's cell, in characters. An id from a provider
// may have hundreds, and would widen its whole column. A guess.
const widestCell = 64

// cell is visible for a cell that is not the last of its row. It is cut to widestCell, and
// has no two blanks in a row, which would look like the next column.
func cell(text string) string {
	shown := []rune(strings.ReplaceAll(visible(text), "  ", ` \x20`))
	if len(shown) > widestCell {
		shown = append(shown[:widestCell-1], '…')
	}
	return string(shown)
}

// row is one row of a table. Its last cell is not cut.
func row(cells ...string) string {
	for i, text := range cells {
		cells[i] = cell(text)
		if i == len(cells)-1 {
			cells[i] = visible(text)
		}
	}
	return strings.Join(cells, "\t") + "\n"
}

// visibleLines is visible for a text of several lines.
func visibleLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = visible(lines[i])
	}
	return strings.Join(lines, "\n")
}

// writeJSON writes a result for a program. It also escapes what cannot be printed, since a
// person may read it.
func writeJSON(w io.Writer, result any) error {
	text, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	var b strings.Builder
	for _, r := range string(text) + "\n" {
		if unicode.IsPrint(r) || r == '\n' {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}
