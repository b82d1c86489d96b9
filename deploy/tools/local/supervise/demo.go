package supervise

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"arauto/schemas/providers"
)

// step moves a payment at its provider, which then sends the webhook.
type step struct {
	Status   string `json:"status"` // In the provider's own word.
	Order    string `json:"order"`
	Amount   int64  `json:"amount"`   // Cents.
	Refunded int64  `json:"refunded"` // Cents.
	Captured *int64 `json:"captured,omitempty"`
	Notify   bool   `json:"notify"`
}

// life is the story of one payment.
type life struct {
	provider, account, unit string
	steps                   []step
}

// stories are the lives that the demo tells in turn: of every provider the first story of
// each unit, and the second one of another account.
func stories() []life {
	var all []life
	for i, account := range []string{"default", "acme"} {
		for _, p := range providers.All {
			for _, u := range p.Sample.Units {
				if i >= len(u.Stories) {
					continue
				}
				l := life{provider: p.Name, account: account, unit: u.Name}
				for _, s := range u.Stories[i] {
					l.steps = append(l.steps, step{Status: s.Word, Amount: 10000, Refunded: s.Refunded, Captured: s.Captured, Notify: true})
				}
				all = append(all, l)
			}
		}
	}
	return all
}

// together is how many lives are told at the same time, so that two steps of one payment
// are some seconds apart. A guess.
const together = 3

// demo tells the stories in turn, a step at every tick, until ctx ends. The id of each life
// is unique to it. A step that failed is not repeated.
func (s *supervisor) demo(ctx context.Context) {
	ticker := time.NewTicker(s.DemoEvery)
	defer ticker.Stop()
	var telling sync.WaitGroup
	for first := range together {
		telling.Go(func() {
			for n := first; ctx.Err() == nil; n += together {
				s.tell(ctx, stories()[n%len(stories())], fmt.Sprintf("demo-%s-%d", strconv.FormatInt(s.began.UnixMilli(), 36), n), ticker.C)
			}
		})
	}
	telling.Wait()
}

// tell makes the steps of one life, each at a tick.
func (s *supervisor) tell(ctx context.Context, l life, id string, ticks <-chan time.Time) {
	for _, step := range l.steps {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
		}
		step.Order = id
		if err := step.make(ctx, s.Addresses.Simulator, l, id); err != nil && ctx.Err() == nil {
			s.Log.Warn("demo.step_failed", zap.String("provider", l.provider), zap.String("payment", id), zap.Error(err))
		}
	}
}

// make makes the control call of the simulator.
func (s step) make(ctx context.Context, simulator string, of life, id string) error {
	body, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode step: %w", err)
	}
	to := fmt.Sprintf("http://%s/_sim/%s/%s/%s/%s", simulator, of.provider, of.account, of.unit, url.PathEscape(id))
	_, err = fetch(ctx, http.MethodPut, to, body)
	return err
}
