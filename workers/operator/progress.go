package operator

import (
	"errors"
	"iter"
	"os"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"golang.org/x/time/rate"
)

// progress makes a bar that shows how far a command is. It shows nothing where the output
// is no terminal, so that logs and pipes stay clean. It is not essential, so its errors
// are ignored.
func (s *session) progress(total int, doing string) *progressbar.ProgressBar {
	w := s.command.ErrOrStderr()
	file, ok := w.(*os.File)
	return progressbar.NewOptions(total,
		progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(doing),
		progressbar.OptionSetVisibility(ok && term.IsTerminal(int(file.Fd()))),
		progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
}

// steps counts from 0 to total-1, with a bar.
func (s *session) steps(total int, doing string) iter.Seq[int] {
	return func(yield func(int) bool) {
		bar := s.progress(total, doing)
		for i := range total {
			if !yield(i) {
				return
			}
			_ = bar.Add(1)
		}
		_ = bar.Finish()
	}
}

// newPace limits a command to so many payments a second, without bursts.
func newPace(perSecond float64) *rate.Limiter { return rate.NewLimiter(rate.Limit(perSecond), 1) }

// rateFlag adds --rate, whose help names the steps.
func rateFlag(c *cobra.Command, into *float64, steps string) {
	c.Flags().Float64Var(into, "rate", 10, "at most so many "+steps+" a second")
}

func checkRate(perSecond float64) error {
	if perSecond <= 0 {
		return usageError{errors.New("--rate must be above 0")}
	}
	return nil
}
