package operator

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"arauto/deploy/runtime/durability"
)

func (h health) write(w io.Writer) error {
	if err := writeNeeds(w, h.Needs); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(format string, a ...any) { _, _ = fmt.Fprintf(t, format, a...) } // Flush returns the error.
	line("STREAM\tMESSAGES\tBYTES\tFILL\n")
	for _, s := range h.Streams {
		if s.Missing {
			line("%s\t-\t-\tmissing\n", s.Name)
			continue
		}
		fill := "-"
		if s.Fill != nil {
			fill = fmt.Sprintf("%.1f %%", *s.Fill)
		}
		line("%s\t%d\t%d\t%s\n", s.Name, s.Messages, s.Bytes, fill)
	}
	line("\nCONSUMER\tPENDING\tACK PENDING\tOLDEST\tSTATE\n")
	for _, c := range h.Consumers {
		line("%s\t%d\t%d\t%s\t%s\n", c.Name, c.Pending, c.AckPending, time.Duration(c.Oldest*float64(time.Second)), c.state())
	}
	line("\nbacklog: %d messages\n", h.Backlog)
	line("parked: %d look-ups", h.Parked.Count)
	if h.Parked.NextDue != nil {
		line(", next due %s", h.Parked.NextDue.Format(time.RFC3339))
		if uint64(h.Parked.Sought) < h.Parked.Count {
			line(" (of the %d parked first)", h.Parked.Sought)
		}
	}
	line("\n")
	for _, c := range h.Circuits {
		line("circuit %s/%s: %s since %s (%s)\n", cell(c.Provider), cell(c.Account), cell(string(c.State)), c.Since.Format(time.RFC3339), visible(c.Cause))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return writeDurability(w, h.Durability)
}

// writeNeeds writes what a person must do.
func writeNeeds(w io.Writer, needs []string) error {
	lines := []string{"nothing needs a person"}
	if len(needs) > 0 {
		lines = []string{"needs a person:"}
	}
	for _, one := range needs {
		lines = append(lines, "  "+one)
	}
	for _, line := range append(lines, "") {
		if err := printLine(w, line); err != nil {
			return err
		}
	}
	return nil
}

// writeDurability writes below the table, whose columns its sentences would widen.
func writeDurability(w io.Writer, r durability.Report) error {
	meaning := r.Sentence
	if r.Facts != nil {
		meaning = r.Claim.String() + ". " + meaning
	}
	lines := []string{"durability: " + meaning}
	switch {
	case r.Unverified():
		lines = append(lines, "the gateway claims "+r.Claimed.String()+", which cannot be verified from here; ask /durability of the gateway")
	case !r.Holds:
		lines = append(lines, "the gateway claims "+r.Claimed.String()+", so it answers with 503 or does not start")
	}
	if r.Problem != "" {
		lines = append(lines, "durability cannot be seen: "+r.Problem)
	}
	if r.Facts != nil {
		lines = append(lines, r.Facts.Lines()...)
	}
	for _, weak := range r.Weak {
		lines = append(lines, "weak: "+weak.String())
	}
	for _, line := range lines {
		if err := printLine(w, line); err != nil {
			return err
		}
	}
	return nil
}

func (c consumerHealth) state() string {
	switch {
	case c.Missing:
		return "missing"
	case c.Paused:
		return "paused"
	case c.Unworked:
		return "no worker"
	}
	return "runs"
}
