package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

// letterFilter chooses dead letters.
type letterFilter struct {
	scope
	class, stage, state string
	order, word         string
	since               time.Duration
	limit               int
	ids                 []string
}

// stateOpen and stateAll are values of --state beside those of record.State.
const (
	stateOpen = "open"
	stateAll  = "all"
)

func (f *letterFilter) flags(c *cobra.Command) {
	f.scope.flags(c)
	c.PreRunE = func(*cobra.Command, []string) error { return f.check() }
	c.Flags().StringVar(&f.class, "class", "", "only this `class`: ours, provider, data or subscriber")
	c.Flags().StringVar(&f.stage, "stage", "", "only from this `stage`, such as lookup or normalize")
	c.Flags().StringVar(&f.order, "order", "", "only of this `order`, payment or provider's reference")
	c.Flags().StringVar(&f.word, "word", "", "only about this `word` of the provider's")
	c.Flags().DurationVar(&f.since, "since", 0, "only of the last `duration`, such as 24h")
	c.Flags().IntVar(&f.limit, "limit", 0, "at most so many, the oldest first; 0 for all")
}

func (f *letterFilter) check() error {
	classes := []record.Class{record.ClassOurs, record.ClassProvider, record.ClassData, record.ClassSubscriber}
	states := []string{stateOpen, string(record.Redriven), string(record.Discarded), string(record.Resolved), stateAll}
	switch {
	case f.class != "" && !slices.Contains(classes, record.Class(f.class)):
		return usageError{errors.New("--class is not one of ours, provider, data, subscriber")}
	case strings.ContainsAny(f.stage, ".*> \t\r\n"):
		return usageError{errors.New("--stage is not the name of a stage")}
	case !slices.Contains(states, f.state):
		return usageError{errors.New("--state is not one of " + strings.Join(states, ", "))}
	case f.since < 0 || f.limit < 0:
		return usageError{errors.New("--since and --limit must not be negative")}
	}
	return f.scope.check()
}

// chooses reports whether any filter is set.
func (f *letterFilter) chooses() bool {
	return len(f.ids) > 0 || f.scope != scope{} || f.class != "" || f.stage != "" || f.order != "" || f.word != "" || f.since > 0 || f.limit > 0
}

// matches reports whether a dead letter in its last state is chosen. The time of the dead
// letter counts, not that of its mark.
func (f *letterFilter) matches(l deadletter.Entry, now time.Time) bool {
	switch {
	case f.class != "" && string(l.Class) != f.class,
		f.word != "" && l.ProviderStatus != f.word,
		f.since > 0 && now.Sub(l.At) > f.since,
		len(f.ids) > 0 && !slices.Contains(f.ids, l.ID):
		return false
	}
	return f.state == stateAll || cmp.Or(string(l.State), stateOpen) == f.state
}

// missing are the given ids that no chosen dead letter has, if there are no other filters.
func (f *letterFilter) missing(chosen []deadletter.Entry) (ids []string) {
	others := *f
	others.ids = nil
	if others.chooses() {
		return nil
	}
	for _, id := range f.ids {
		if !slices.ContainsFunc(chosen, func(l deadletter.Entry) bool { return l.ID == id }) {
			ids = append(ids, visible(id))
		}
	}
	return ids
}

// chooseLetters reads the chosen dead letters, each in its last state, the oldest first. It
// reads every class, because the class may have changed at the last failure.
func (s *Deployment) chooseLetters(ctx context.Context, f letterFilter) ([]deadletter.Entry, error) {
	latest, err := s.deadLetters.Latest(ctx, subject.Filter(f.provider, f.account).DeadLetter(subject.Any, cmp.Or(f.stage, subject.Any)))
	if err != nil {
		return nil, err
	}
	of, err := s.ofOrder(ctx, f)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	chosen := []deadletter.Entry{}
	for _, l := range latest {
		if f.matches(l, now) && (f.order == "" || of[l.Unit]) {
			chosen = append(chosen, l)
		}
	}
	slices.SortFunc(chosen, func(a, b deadletter.Entry) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Sequence, b.Sequence))
	})
	if f.limit > 0 && len(chosen) > f.limit {
		chosen = chosen[:f.limit]
	}
	return chosen, nil
}

// ofOrder are the units of the chosen order.
func (s *Deployment) ofOrder(ctx context.Context, f letterFilter) (map[subject.Unit]bool, error) {
	of := map[subject.Unit]bool{}
	if f.order == "" {
		return of, nil
	}
	payments, err := s.find(ctx, f.order, f.scope)
	for _, p := range payments {
		of[p.unit] = true
	}
	return of, err
}

func newDead(s *settings) *cobra.Command {
	return newGroup("dead", "Dead letters: what could not be finished", newDeadList(s), newDeadShow(s),
		newAct(s, action{
			name: "redrive", short: "Ask the provider again about the payments of dead letters",
			long:  "Make a look-up of each letter's payment due now, with all its attempts left, and mark the letter as redriven.",
			steps: "look-ups", state: record.Redriven, do: (*session).redrive,
		}),
		newAct(s, action{
			name: "discard", short: "Give dead letters up for good",
			long:  "Mark letters as discarded. Nothing is deleted, and what they reported is not reported again.",
			steps: "letters", state: record.Discarded, do: (*session).discard,
		}))
}

func newDeadList(s *settings) *cobra.Command {
	f := letterFilter{}
	c := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, the open ones unless told otherwise",
		Long:  "List dead letters. Those about one unknown word of a provider are one line, which shows the first; --word lists each.",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.inSession(c, func(ctx context.Context, s *session) error {
				letters, err := s.chooseLetters(ctx, f)
				if err != nil {
					return err
				}
				shown, same := s.shownLetters(letters), map[string]int{}
				for _, l := range shown {
					if name := unknownWord(l); name != "" && f.word == "" {
						same[name]++
					}
				}
				return s.show(c, shown, letterTable(shown, same)...)
			})
		},
	}
	f.flags(c)
	c.Flags().StringVar(&f.state, "state", stateOpen, "only in this `state`: open, redriven, discarded, resolved or all")
	return c
}

func newDeadShow(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "show <id>",
		Short: "Print everything about one dead letter",
		Args:  exactlyOne("dead letter, by its id"),
		RunE: func(c *cobra.Command, args []string) error {
			return s.inSession(c, func(ctx context.Context, s *session) error {
				letters, err := s.chooseLetters(ctx, letterFilter{state: stateAll, ids: args})
				if err != nil {
					return err
				}
				if len(letters) == 0 {
					return errors.New("there is no dead letter with that id")
				}
				return writeJSON(c.OutOrStdout(), s.shownLetters(letters))
			})
		},
	}
}

// shownLetters are the dead letters with hashed ids where these may be personal.
func (s *Deployment) shownLetters(letters []deadletter.Entry) []record.DeadLetter {
	all := make([]record.DeadLetter, len(letters))
	for i, l := range letters {
		all[i] = l.DeadLetter
		all[i].Payment, all[i].Order = s.shown(l.Payment), s.shown(l.Order)
	}
	return all
}

// unknownWord is equal for dead letters about the same unknown status word of a provider,
// which need one change of its adapter however many payments they concern. It is "" for
// others.
func unknownWord(l record.DeadLetter) string {
	if l.Class != record.ClassProvider || l.ProviderStatus == "" || l.Insists != nil {
		return ""
	}
	return strings.Join([]string{l.Provider, l.Stage, string(l.State), l.ProviderStatus}, "\n")
}

// letterTable is the table of dead letters. All dead letters about one unknown word share a
// line, which shows the first; same counts them, and letterTable changes it.
func letterTable(letters []record.DeadLetter, same map[string]int) []string {
	if len(letters) == 0 {
		return []string{line("no dead letters")}
	}
	rows := []string{row("ID", "AT", "STATE", "CLASS", "STAGE", "PAYMENT", "CAUSE")}
	for _, l := range letters {
		name, cause := unknownWord(l), l.Cause
		switch others := same[name] - 1; {
		case others > 0:
			cause = fmt.Sprintf("%s (and %d more)", cause, others)
			same[name] = -1
		case same[name] < 0:
			continue // The dead letter is counted on the line of the first one.
		}
		rows = append(rows, l.ID+"\t"+row(l.At.Format(time.RFC3339), cmp.Or(string(l.State), stateOpen), string(l.Class), l.Stage,
			l.Provider+"/"+l.Account+"/"+l.Payment, cause)) // The id is not cut, because it is typed into other commands.
	}
	return rows
}
