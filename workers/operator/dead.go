package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

// sieve chooses dead letters.
type sieve struct {
	scope
	class, stage, state string
	order, word         string
	since               time.Duration
	limit               int
	ids                 []string
}

// stateOpen and stateAll are the words of --state beside those of records.
const (
	stateOpen = "open"
	stateAll  = "all"
)

func (f *sieve) flags(c *cobra.Command) {
	f.scope.flags(c)
	c.Flags().StringVar(&f.class, "class", "", "only this `class`: ours, provider or data")
	c.Flags().StringVar(&f.stage, "stage", "", "only from this `stage`, such as lookup or normalize")
	c.Flags().StringVar(&f.order, "order", "", "only of this `order`, payment or provider's reference")
	c.Flags().StringVar(&f.word, "word", "", "only about this `word` of the provider's")
	c.Flags().DurationVar(&f.since, "since", 0, "only of the last `duration`, such as 24h")
	c.Flags().IntVar(&f.limit, "limit", 0, "at most so many, the oldest first; 0 for all")
}

func (f *sieve) check() error {
	classes := []record.Class{record.ClassOurs, record.ClassProvider, record.ClassData, record.ClassSubscriber}
	states := []string{stateOpen, string(record.Redriven), string(record.Discarded), string(record.Resolved), stateAll}
	switch {
	case f.class != "" && !slices.Contains(classes, record.Class(f.class)):
		return usageError{errors.New("--class is not one of ours, provider, data")}
	case strings.ContainsAny(f.stage, ".*> \t\r\n"):
		return usageError{errors.New("--stage is not the name of a stage")}
	case !slices.Contains(states, f.state):
		return usageError{errors.New("--state is not one of " + strings.Join(states, ", "))}
	case f.since < 0 || f.limit < 0:
		return usageError{errors.New("--since and --limit must not be negative")}
	}
	return f.scope.check()
}

// narrow reports whether anything was chosen at all.
func (f *sieve) narrow() bool {
	return len(f.ids) > 0 || f.scope != scope{} || f.class != "" || f.stage != "" || f.order != "" || f.word != "" || f.since > 0 || f.limit > 0
}

// through reports whether a letter, in its latest state, is chosen. The
// letter's own time counts, not that of its marker.
func (f *sieve) through(l deadletter.Entry, now time.Time) bool {
	if f.class != "" && string(l.Class) != f.class {
		return false
	}
	if f.word != "" && l.ProviderStatus != f.word {
		return false
	}
	if f.since > 0 && now.Sub(l.At) > f.since {
		return false
	}
	if len(f.ids) > 0 && !slices.Contains(f.ids, l.ID) {
		return false
	}
	return f.state == stateAll || cmp.Or(string(l.State), stateOpen) == f.state
}

// missing are the named ids that no chosen letter has, where nothing else than
// ids was to choose by.
func (f *sieve) missing(chosen []deadletter.Entry) (ids []string) {
	others := *f
	others.ids = nil
	if others.narrow() {
		return nil
	}
	for _, id := range f.ids {
		if !slices.ContainsFunc(chosen, func(l deadletter.Entry) bool { return l.ID == id }) {
			ids = append(ids, visible(id))
		}
	}
	return ids
}

// sift reads the chosen letters, each in its latest state, the oldest first.
// It reads every class: one that has failed again may have another by now.
func (s *session) sift(ctx context.Context, f sieve) ([]deadletter.Entry, error) {
	latest, err := s.dead.Latest(ctx, subject.Filter(f.provider, f.account).DeadLetter(subject.Any, cmp.Or(f.stage, subject.Any)))
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
		if f.through(l, now) && (f.order == "" || of[l.Unit]) {
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

// ofOrder are the units of the order that is chosen.
func (s *session) ofOrder(ctx context.Context, f sieve) (map[subject.Unit]bool, error) {
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
	group := &cobra.Command{
		Use:   "dead",
		Short: "Dead letters: what could not be finished",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return usageError{fmt.Errorf("%s needs a command: list, show, redrive or discard", c.CommandPath())}
		},
	}
	group.AddCommand(newDeadList(s), newDeadShow(s),
		newSettle(s, "redrive", "look-ups", record.Redriven, "Ask the provider anew about the payments of dead letters",
			"Make a look-up of each letter's payment due now, with a full budget, and mark the letter as redriven.", (*session).redrive),
		newSettle(s, "discard", "letters", record.Discarded, "Give dead letters up for good",
			"Mark letters as discarded. Nothing is deleted, and what they reported is not reported again.", (*session).discard))
	return group
}

func newDeadList(s *settings) *cobra.Command {
	f := sieve{}
	c := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, the open ones unless told otherwise",
		Long:  "List dead letters. Those about one unknown word of a provider are one line, which shows the first; --word lists each.",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return s.inSession(c, func(ctx context.Context, s *session) error {
				letters, err := s.sift(ctx, f)
				if err != nil {
					return err
				}
				var same map[string]int
				if f.word == "" {
					same = byWord(letters)
				}
				return s.printLetters(c.OutOrStdout(), letters, same)
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
				letters, err := s.sift(ctx, sieve{state: stateAll, ids: args})
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

// shownLetters are letters for people: ids that may be personal are hashed.
func (s *session) shownLetters(letters []deadletter.Entry) []record.DeadLetter {
	all := make([]record.DeadLetter, len(letters))
	for i, l := range letters {
		all[i] = l.DeadLetter
		all[i].Payment, all[i].Order = s.shown(l.Payment), s.shown(l.Order)
	}
	return all
}

// unknownWord names what a letter about an unknown word of a provider has in common
// with those of other payments: one new word is one thing to do, however many
// payments it was said of. It is "" for other letters.
func unknownWord(l record.DeadLetter) string {
	if l.Class != record.ClassProvider || l.ProviderStatus == "" || l.Insists != nil {
		return ""
	}
	return strings.Join([]string{l.Provider, l.Stage, string(l.State), l.ProviderStatus}, "\n")
}

// byWord counts the letters about each unknown word.
func byWord(letters []deadletter.Entry) map[string]int {
	same := map[string]int{}
	for _, l := range letters {
		if name := unknownWord(l.DeadLetter); name != "" {
			same[name]++
		}
	}
	return same
}

// printLetters writes letters. The table has one line for all that are about one of
// the words in same, which it uses up.
func (s *session) printLetters(w io.Writer, letters []deadletter.Entry, same map[string]int) error {
	if s.output == jsonOutput {
		return writeJSON(w, s.shownLetters(letters))
	}
	if len(letters) == 0 {
		return printLine(w, "no dead letters")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "ID\tAT\tSTATE\tCLASS\tSTAGE\tPAYMENT\tCAUSE") // Flush returns the error.
	for _, l := range s.shownLetters(letters) {
		name, cause := unknownWord(l), l.Cause
		switch others := same[name] - 1; {
		case others > 0:
			cause = fmt.Sprintf("%s (and %d more)", cause, others)
			same[name] = -1
		case same[name] < 0:
			continue // The first one's line counts it.
		}
		_, _ = fmt.Fprint(t, l.ID+"\t"+row(l.At.Format(time.RFC3339), cmp.Or(string(l.State), stateOpen), string(l.Class), l.Stage,
			l.Provider+"/"+l.Account+"/"+l.Payment, cause)) // An id is plain, and not cut, because it is typed.
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}
