package operator

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"golang.org/x/time/rate"
)

// pace limits how many payments a command works on per second.
type pace struct{ limiter *rate.Limiter }

// newPace allows so many steps per second, without bursts.
func newPace(perSecond float64) pace { return pace{rate.NewLimiter(rate.Limit(perSecond), 1)} }

func (p pace) wait(ctx context.Context) error { return p.limiter.Wait(ctx) }

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
