package acceptance

import (
	"fmt"
	"sync"
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// TestEveryProvidersStoriesBecomeTheirEvents plays what the samples of the adapters tell,
// through the real binaries on a turned clock. Each state is notified three times at once,
// so that two of the webhooks are exact copies, and make no event.
func TestEveryProvidersStoriesBecomeTheirEvents(t *testing.T) {
	t.Parallel()
	s := startTurned(t, "600")
	var mu sync.Mutex
	told := map[string][]order.Status{}
	t.Run("stories", func(t *testing.T) {
		for _, p := range providers.All {
			for _, u := range p.Sample.Units {
				for i, story := range u.Stories {
					id := fmt.Sprintf("story-%d", i)
					key := p.Name + "/acme/" + u.Prefix + id
					t.Run(key, func(t *testing.T) {
						t.Parallel()
						want := s.play(p.Name, u.Name, id, key, story)
						mu.Lock()
						defer mu.Unlock()
						told[key] = want
					})
				}
			}
		}
	})
	s.drained()
	for key, want := range told { // What the last copies led to is there by now.
		s.awaitStatuses(key, want...)
	}
}

// play moves a payment of account acme through a story and returns its statuses.
func (s *stack) play(slug, unit, id, key string, story []provider.Step) (want []order.Status) {
	s.t.Helper()
	for _, step := range story {
		state := map[string]any{"status": step.Word, "refunded": step.Refunded, "amount": 10000, "notify": true, "times": 3}
		if step.Captured != nil {
			state["captured"] = *step.Captured
		}
		s.setUnit(slug, "acme", unit, id, state)
		want = append(want, step.Status)
		s.awaitStatuses(key, want...)
	}
	return want
}
