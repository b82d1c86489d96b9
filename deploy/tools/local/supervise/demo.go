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

	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// life is the story of one payment.
type life struct {
	provider, account, unit string
	steps                   []provider.Step
}

// stories are the lives that the demo tells in turn: of every provider the first story of
// each unit, and the second one of another account.
func stories() []life {
	var all []life
	for i, account := range []string{"default", "acme"} {
		for _, p := range providers.All {
			for _, u := range p.Sample.Units {
				if i < len(u.Stories) {
					all = append(all, life{p.Name, account, u.Name, u.Stories[i]})
				}
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
		if err := move(ctx, s.Addresses.Simulator, l, id, step); err != nil && ctx.Err() == nil {
			s.log.Warn("demo.step_failed", zap.String("provider", l.provider), zap.String("payment", id), zap.Error(err))
		}
	}
}

// move moves a payment at its provider, which then sends the webhook.
func move(ctx context.Context, simulator string, l life, id string, to provider.Step) error {
	body, err := json.Marshal(map[string]any{
		"status": to.Word, "order": id, "amount": 10000, "refunded": to.Refunded, "captured": to.Captured, "notify": true,
	})
	if err != nil {
		return fmt.Errorf("encode step: %w", err)
	}
	on := fmt.Sprintf("http://%s/_sim/%s/%s/%s/%s", simulator, l.provider, l.account, l.unit, url.PathEscape(id))
	_, err = fetch(ctx, http.MethodPut, on, body)
	return err
}
