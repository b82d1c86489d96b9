package lookup

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"go.uber.org/zap"

	"arauto/deploy/runtime/spans"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/subject"
	"arauto/workers/internal/panics"
	"arauto/workers/internal/verdict"
)

// ask sends the look-up and counts its result. If it is refused, and the account's settings
// were replaced meanwhile, it is sent again with the new ones: the refusal is about a
// credential that is no longer in use, and must open no circuit breaker.
func (w *Worker) ask(ctx context.Context, t task) (order.Fact, error) {
	if w.Provider.Ask == nil {
		return order.Fact{}, provider.ErrNoLookUp
	}
	account, ok := w.setup().Accounts[t.Account]
	for ok {
		fact, err := w.askWith(ctx, account, t)
		now, still := w.setup().Accounts[t.Account]
		if !still || maps.Equal(now.Settings, account.Settings) || !errors.Is(err, provider.ErrCredential) && !errors.Is(err, provider.ErrRefused) {
			return fact, err
		}
		account = now
	}
	return order.Fact{}, fmt.Errorf("account %q has no look-up settings in this worker's configuration", t.Account)
}

// askWith is ask with one account's settings.
func (w *Worker) askWith(ctx context.Context, account provider.Account, t task) (order.Fact, error) {
	began := w.Now()
	fact, err := w.recovered(ctx, account, t.target())
	if errors.Is(err, provider.ErrNoLookUp) || ctx.Err() != nil {
		return fact, err
	}
	result := resultAnswered
	if !answered(err) {
		result = string(verdict.FailureOf(err))
	}
	// A payment is expected before the provider knows it: that is no sign of invented webhooks.
	early := t.Cause == order.CauseExpectation && t.Covers == 0
	if known := answered(err); known || errors.Is(err, provider.ErrNotFound) && !early {
		w.setup().answers[t.Account].note(err, w.Now())
		w.Metrics.answers.WithLabelValues(w.Provider.Name, t.Account, paymentLabels[known]).Inc()
	}
	w.Metrics.lookups.WithLabelValues(w.Provider.Name, result).Inc()
	spans.Of(ctx).Observe(w.Metrics.seconds.WithLabelValues(w.Provider.Name), w.Now().Sub(began).Seconds())
	return fact, err
}

// recovered sends the look-up and turns an adapter's panic into an error, which spends
// an attempt; a redelivery would look up again and again. An answer whose texts, with the
// known ids, may not fit into a message of the broker is unreadable.
func (w *Worker) recovered(ctx context.Context, a provider.Account, t provider.Target) (fact order.Fact, err error) {
	err = panics.Try(func() (err error) {
		fact, err = w.Ask.Ask(ctx, w.Provider, a, t)
		return err
	})
	var p *panics.Error
	if errors.As(err, &p) {
		w.Log.Error("adapter.panicked", zap.String("provider", w.Provider.Name), zap.String("stack", p.Stack))
		return fact, errors.New("adapter panicked") // The panic's value is left out, because it may hold a credential.
	}
	for _, text := range []string{fact.Order, fact.ProviderReference, fact.ProviderStatus, fact.Reason} {
		if answered(err) && len(text) > subject.MaxID {
			err = fmt.Errorf("%w: a text in it has more than %d bytes", provider.ErrUnreadable, subject.MaxID)
		}
	}
	return fact, err
}

// answered reports whether a look-up gave a fact. One with an unknown word is a fact:
// the word is kept, and normalize stores its dead letter.
func answered(err error) bool {
	var unknown *provider.UnknownWordError
	return err == nil || errors.As(err, &unknown)
}
