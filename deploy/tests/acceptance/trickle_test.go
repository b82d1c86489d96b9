package acceptance

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

const (
	trickleEvery = 50 * time.Millisecond // Between two real webhooks.
	trickleMost  = 1_600                 // Real webhooks of one phase.
	repeatAfter  = 250 * time.Millisecond
)

// merchants are the accounts whose webhooks are real: all are called acme.
var merchants = []string{"yapay", "picpay"}

// phase is what became of the real webhooks of one phase.
type phase struct {
	name string

	mu      sync.Mutex
	sent    map[string]time.Time     // By key of the payment, when its webhook was sent first.
	okay    map[string]time.Time     // When it got its 200.
	refused map[string]int           // By what the gateway answered instead.
	waited  map[string]time.Duration // For the event, from the 200.
}

func (p *phase) key(i int) (provider, payment, key string) {
	provider, payment = merchants[i%len(merchants)], fmt.Sprintf("%s-%d", p.name, i)
	return provider, payment, provider + "/acme/" + payment
}

// trickle makes payments at the simulator, and then sends one webhook after the
// other, each when its time has come and on a connection of its own, and again as
// long as it is not answered 200. stop ends that and waits for the last 200.
func (s *stack) trickle(name string) (stop func() *phase) {
	s.t.Helper()
	p := &phase{
		name: name, sent: map[string]time.Time{}, okay: map[string]time.Time{},
		refused: map[string]int{}, waited: map[string]time.Duration{},
	}
	for i := range trickleMost {
		provider, payment, _ := p.key(i)
		s.setOf(provider, "acme", payment, map[string]any{"status": map[string]any{"yapay": 6, "picpay": "paid"}[provider]})
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	stopping, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		var open sync.WaitGroup
		defer open.Wait()
		tick := time.NewTicker(trickleEvery)
		defer tick.Stop()
		for i := range trickleMost {
			select {
			case <-tick.C:
			case <-stopping:
				return
			}
			open.Go(func() { s.deliver(client, p, i) })
		}
	}()
	return func() *phase { close(stopping); <-done; return p }
}

// deliver sends one real webhook until it is answered 200, as a provider does.
func (s *stack) deliver(client *http.Client, p *phase, i int) {
	provider, payment, key := p.key(i)
	p.mu.Lock()
	p.sent[key] = time.Now()
	p.mu.Unlock()
	for s.ctx.Err() == nil {
		status, err := send(client, s.webhook(provider, "acme", payment))
		now := time.Now()
		p.mu.Lock()
		switch {
		case status == http.StatusOK && err == nil:
			p.okay[key] = now
		case err != nil:
			p.refused["no answer"]++
		default:
			p.refused[fmt.Sprint(status)]++
		}
		p.mu.Unlock()
		if status == http.StatusOK && err == nil {
			return
		}
		s.rest(repeatAfter)
	}
}

// settle waits until each webhook of a phase has its event, and fails if one has
// not, or had no 200.
func (s *stack) settle(p *phase) {
	s.t.Helper()
	for key := range p.sent {
		if _, ok := p.okay[key]; !ok {
			s.t.Errorf("%s never got its 200", key)
		}
	}
	s.await("the event of each of "+fmt.Sprint(len(p.okay))+" real webhooks", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for key, at := range p.okay {
			came, ok := s.came[key]
			if !ok {
				return false
			}
			p.waited[key] = max(came.Sub(at), 0) // The event may overtake the 200.
		}
		return true
	})
}

// spans are the times that the webhooks of a phase took, sorted: until their 200,
// and, by merchant, from there until their event.
func (p *phase) spans() map[string][]time.Duration {
	all := map[string][]time.Duration{}
	for key, at := range p.okay {
		all["200"] = append(all["200"], at.Sub(p.sent[key]))
		for _, provider := range merchants {
			if key[:len(provider)+1] == provider+"/" {
				all["event-"+provider] = append(all["event-"+provider], p.waited[key])
			}
		}
	}
	for _, some := range all {
		slices.Sort(some)
	}
	return all
}

// share is the duration that so many percent of sorted ones do not exceed.
func share(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max((len(sorted)*percent+99)/100, 1)-1]
}

// report prints what the real webhooks of two phases waited, and the ratios.
func report(b *testing.B, quiet, attacked *phase) {
	b.Helper()
	before, after := quiet.spans(), attacked.spans()
	for _, what := range []string{"200", "event-yapay", "event-picpay"} {
		for _, percent := range []int{50, 99} {
			was, is := share(before[what], percent), share(after[what], percent)
			name := fmt.Sprintf("%s-p%d-", what, percent)
			b.ReportMetric(float64(was.Microseconds())/1000, name+"quiet-ms")
			b.ReportMetric(float64(is.Microseconds())/1000, name+"attacked-ms")
			b.ReportMetric(float64(is)/float64(max(was, 1)), name+"ratio")
			b.Logf("%-13s p%d  quiet %9.1f ms  %s %9.1f ms  ratio %.1f", what, percent,
				float64(was.Microseconds())/1000, attacked.name, float64(is.Microseconds())/1000, float64(is)/float64(max(was, 1)))
		}
	}
	again := 0
	for _, n := range attacked.refused {
		again += n
	}
	b.ReportMetric(float64(again), "repeats")
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte(err.Error())
	}
	b.Logf("%d real webhooks quiet, refused %v; %d %s, refused %v; load of the machine %s",
		len(quiet.okay), quiet.refused, len(attacked.okay), attacked.name, attacked.refused, load)
}

// rest lets so much time pass, or less where the stack ends.
func (s *stack) rest(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
	}
}
