package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"arauto/deploy/runtime/trace"
	"arauto/schemas/expectation"
	"arauto/workers/internal/expectations"
)

// announced is the result of expect.
type announced struct {
	Provider string              `json:"provider"`
	Account  string              `json:"account"`
	Payment  string              `json:"payment"` // Hashed if it is personal.
	Result   expectations.Result `json:"result"`
	Version  string              `json:"version,omitempty"` // Outcomes carry it.
}

func newExpect(s *settings) *cobra.Command {
	var e expectation.Expectation
	var amount int64
	var code, deadline string
	c := &cobra.Command{
		Use:   "expect <provider> <account> <payment> --order <order> [--amount <cents> --currency <code>] [--deadline <time>]",
		Short: "Announce that a payment is expected, or withdraw it",
		Long: "Announce that a payment is expected: without a webhook it is looked up, and what came of it is published on\n" +
			"expectations.<provider>.<account>.<payment>.<outcome>. A later announcement replaces an earlier one, and the same one\n" +
			"again changes nothing. --withdraw takes it back.",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 3 {
				return usageError{fmt.Errorf("%s takes a provider, an account and a payment", c.CommandPath())}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("amount") {
				e.Amount = &expectation.Amount{Currency: code, Value: amount}
			}
			if err := fill(&e, code, deadline); err != nil {
				return usageError{err}
			}
			return s.changing(c, func(ctx context.Context, s *session) error { return s.expect(ctx, args[0], args[1], args[2], e) })
		},
	}
	c.Flags().StringVar(&e.Order, "order", "", "the merchant's `order`")
	c.Flags().Int64Var(&amount, "amount", 0, "the sum in minor `units`; without it any sum will do")
	c.Flags().StringVar(&code, "currency", "", "the sum's currency, a `code` of three capital letters")
	c.Flags().StringVar(&deadline, "deadline", "", "until when it must be paid, a `time` such as 2026-12-31T23:59:59-03:00; without it, expect.without_deadline holds")
	c.Flags().BoolVar(&e.Withdrawn, "withdraw", false, "the payment is no longer expected")
	return c
}

// fill sets the deadline of an expectation from its flag, and checks all flags.
func fill(e *expectation.Expectation, code, deadline string) error {
	switch {
	case e.Withdrawn && (e.Order != "" || e.Amount != nil || code != "" || deadline != ""):
		return errors.New("--withdraw takes no other flag")
	case e.Withdrawn:
		return nil
	case (e.Amount != nil) != (code != ""):
		return errors.New("write both --amount and --currency, or neither")
	}
	if deadline != "" {
		at, err := time.Parse(time.RFC3339, deadline)
		if err != nil {
			return errors.New("--deadline is not a time such as 2026-12-31T23:59:59-03:00")
		}
		e.Deadline = &at
	}
	return e.Check()
}

// expect announces or withdraws one payment.
func (s *session) expect(ctx context.Context, provider, account, payment string, e expectation.Expectation) error {
	if _, err := expectations.Check(s.config, provider, account, payment); err != nil && !e.Withdrawn {
		return usageError{fmt.Errorf("refused: %w", err)}
	}
	store, err := expectations.OpenAnnouncing(ctx, s.js, s.tokens)
	if err != nil {
		return err
	}
	verb, what := verbExpect, "announce an expected payment"
	if e.Withdrawn {
		verb, what = verbWithdraw, "withdraw an expected payment"
	}
	if err := s.audit(ctx, verb, s.tokens.Unit(provider, account, payment), "", what); err != nil {
		return err
	}
	result, version, err := store.Announce(ctx, provider, account, payment, e, trace.New())
	if err != nil {
		return err
	}
	r := announced{Provider: provider, Account: account, Payment: s.shown(payment), Result: result, Version: version}
	return s.show(s.command, r, line("%s/%s/%s: %s", r.Provider, r.Account, r.Payment, r.Result))
}
