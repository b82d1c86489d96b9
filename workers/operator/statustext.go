package operator

import (
	"fmt"
	"time"

	"arauto/deploy/runtime/durability"
)

// lines is the state for a person: what needs one first.
func (h Health) lines() []string {
	all := []string{line("nothing needs a person")}
	if len(h.Needs) > 0 {
		all = []string{line("needs a person:")}
	}
	for _, one := range h.Needs {
		all = append(all, line("  %s", one))
	}
	all = append(all, line(""), row("STREAM", "MESSAGES", "BYTES", "FILL"))
	for _, s := range h.Streams {
		all = append(all, s.row())
	}
	all = append(all, line(""), row("CONSUMER", "PENDING", "ACK PENDING", "OLDEST", "STATE"))
	for _, c := range h.Consumers {
		all = append(all, row(c.Name, fmt.Sprint(c.Pending), fmt.Sprint(c.AckPending), time.Duration(c.Oldest*float64(time.Second)).String(), c.state()))
	}
	all = append(all, line(""), line("backlog: %d messages", h.Backlog), line("parked: %d look-ups%s", h.Parked.Count, h.Parked.next()))
	for _, c := range h.Circuits {
		all = append(all, line("circuit %s/%s: %s since %s (%s)", cell(c.Provider), cell(c.Account), cell(string(c.State)), c.Since.Format(time.RFC3339), c.Cause))
	}
	return append(all, durabilityLines(h.Durability)...)
}

func (s streamHealth) row() string {
	if s.Missing {
		return row(s.Name, "-", "-", "missing")
	}
	fill := "-"
	if s.Fill != nil {
		fill = fmt.Sprintf("%.1f %%", *s.Fill)
	}
	return row(s.Name, fmt.Sprint(s.Messages), fmt.Sprint(s.Bytes), fill)
}

// next says when the next scheduled look-up is due.
func (p parkedHealth) next() string {
	if p.NextDue == nil {
		return ""
	}
	text := ", next due " + p.NextDue.Format(time.RFC3339)
	if uint64(p.Sought) < p.Count {
		text += fmt.Sprintf(" (of the %d parked first)", p.Sought)
	}
	return text
}

func durabilityLines(r durability.Report) []string {
	meaning := r.Sentence
	if r.Facts != nil {
		meaning = r.Claim.String() + ". " + meaning
	}
	texts := []string{"durability: " + meaning}
	switch {
	case r.Unverified():
		texts = append(texts, "the gateway claims "+r.Claimed.String()+", which cannot be verified from here; ask /durability of the gateway")
	case !r.Holds:
		texts = append(texts, "the gateway claims "+r.Claimed.String()+", so it answers with 503 or does not start")
	}
	if r.Problem != "" {
		texts = append(texts, "durability cannot be seen: "+r.Problem)
	}
	if r.Facts != nil {
		texts = append(texts, r.Facts.Lines()...)
	}
	for _, weak := range r.Weak {
		texts = append(texts, "weak: "+weak.String())
	}
	for i, text := range texts {
		texts[i] = line("%s", text)
	}
	return texts
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
