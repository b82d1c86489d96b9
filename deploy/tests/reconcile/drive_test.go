package reconcile_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"arauto/deploy/tests/reconcile"
	"arauto/schemas/order"
)

// step is a state of a payment at its provider, in the provider's word and in
// ours.
type step struct {
	word     string
	refunded int64
	status   order.Status
	captured *int64 // Of the 10000 that are authorized; nil is what the word says.
}

// lives are the ways that payments of a provider go. Some end in what no log
// can take.
func lives() map[string][][]step {
	part, nothing := new(int64), new(int64)
	*part = 6000
	return map[string][][]step{
		"picpay": {
			{{"created", 0, order.Pending, nil}, {"paid", 0, order.Paid, nil}, {"paid", 2500, order.PartiallyRefunded, nil}, {"paid", 4000, order.PartiallyRefunded, nil}, {"refunded", 10000, order.Refunded, nil}},
			{{"created", 0, order.Pending, nil}, {"analysis", 0, order.InAnalysis, nil}, {"authorized", 0, order.Authorized, nil}, {"completed", 0, order.Settled, nil}, {"chargeback", 0, order.ChargedBack, nil}},
			{{"created", 0, order.Pending, nil}, {"expired", 0, order.Expired, nil}},
			{{"created", 0, order.Pending, nil}, {"expired", 0, order.Expired, nil}, {"paid", 0, order.Paid, nil}},                           // A correction.
			{{"authorized", 0, order.Authorized, nil}, {"captured", 0, order.Paid, part}, {"captured", 1000, order.PartiallyRefunded, part}}, // Captured in part.
			{{"authorized", 0, order.Authorized, nil}, {"refunded", 0, order.Canceled, nothing}},                                             // A void.
		},
		"picpay-checkout": {
			{{"CREATED", 0, order.Pending, nil}, {"PAID", 0, order.Paid, nil}, {"PARTIAL", 2500, order.PartiallyRefunded, nil}, {"REFUNDED", 10000, order.Refunded, nil}},
			{{"CREATED", 0, order.Pending, nil}, {"DENIED", 0, order.Refused, nil}},
		},
		"beeteller": {
			{{"INITIALIZED", 0, order.Pending, nil}, {"PROCESSING", 0, order.Processing, nil}, {"PAID", 0, order.Paid, nil}},
			{{"PROCESSING", 0, order.Processing, nil}, {"REJECTED", 0, order.Refused, nil}},
		},
		"yapay": {
			{{"4", 0, order.Pending, nil}, {"87", 0, order.InAnalysis, nil}, {"6", 0, order.Paid, nil}, {"24", 0, order.Disputed, nil}, {"7", 0, order.Canceled, nil}},
			{{"4", 0, order.Pending, nil}, {"7", 0, order.Canceled, nil}, {"6", 0, order.Paid, nil}}, // A correction.
			{{"4", 0, order.Pending, nil}, {"6", 0, order.Paid, nil}, {"24", 0, order.Disputed, nil}, {"6", 0, order.Paid, nil}},
		},
		"sandbox": {
			{{"pending", 0, order.Pending, nil}, {"authorized", 0, order.Authorized, nil}, {"paid", 0, order.Paid, nil}, {"refunded", 10000, order.Refunded, nil}},
			{{"pending", 0, order.Pending, nil}, {"paid", 0, order.Paid, nil}, {"refused", 0, "", nil}},                  // No edge.
			{{"pending", 0, order.Pending, nil}, {"moonlit", 0, "", nil}, {"paid", 0, order.Paid, nil}},                  // No word.
			{{"processing", 0, order.Processing, nil}, {"pending", 0, order.Pending, nil}, {"paid", 0, order.Paid, nil}}, // A return edge.
		},
	}
}

func accounts() []string { return []string{"default", "acme"} }

// driver plays the payments' lives at the simulator, which tells the gateway
// as each provider does, and repeats what was not answered 200.
type driver struct {
	p *plant

	mu     sync.Mutex
	truths map[reconcile.Payment]reconcile.Truth
	last   map[reconcile.Payment]step
}

func newDriver(p *plant) *driver {
	return &driver{p: p, truths: map[reconcile.Payment]reconcile.Truth{}, last: map[reconcile.Payment]step{}}
}

// play lives through payments of its own until ctx ends.
func (d *driver) play(ctx context.Context, name string, dice *rand.Rand) {
	all := lives()
	slugs := []string{"picpay", "picpay-checkout", "beeteller", "yapay", "sandbox"}
	for i := 0; ctx.Err() == nil; i++ {
		provider := slugs[dice.IntN(len(slugs))]
		payment := reconcile.Payment{Provider: provider, Account: accounts()[dice.IntN(2)], ID: fmt.Sprintf("%s-%d", name, i)}
		if provider == "sandbox" && dice.IntN(20) == 0 {
			d.ghost(payment)
			continue
		}
		life, known := all[provider][dice.IntN(len(all[provider]))], dice.IntN(2) == 0
		for _, s := range life[:1+dice.IntN(len(life))] {
			if known {
				d.remember(payment, s)
			}
			d.live(payment, s, dice.IntN(4), plays()[dice.IntN(len(plays()))])
			if !pause(ctx, time.Duration(dice.IntN(40))*time.Millisecond) {
				break
			}
		}
	}
}

// plays are what a provider may do with a move beside one webhook.
func plays() []map[string]any {
	return []map[string]any{
		nil, nil, nil, nil, nil, {"notify": false}, {"times": 3}, {"earlier": true}, {"after": 0.05}, {"known_in": 0.2},
	}
}

// move tells the simulator where a payment stands, as a play wants it. Nobody
// counts the webhooks that it leads to.
func (d *driver) move(payment reconcile.Payment, s step, play map[string]any) {
	body := s.body()
	maps.Copy(body, play)
	text, err := json.Marshal(body)
	if err != nil {
		d.p.t.Error(err)
		return
	}
	d.p.traffic.RLock()
	defer d.p.traffic.RUnlock()
	d.p.call(http.MethodPut, d.p.steering(payment), "", string(text))
}

// body is the control call that moves a payment to s and has it notified.
func (s step) body() map[string]any {
	body := map[string]any{"status": s.word, "refunded": s.refunded, "amount": 10000, "notify": true}
	if s.captured != nil {
		body["captured"] = *s.captured
	}
	return body
}

// steering is the control call of a payment.
func (p *plant) steering(payment reconcile.Payment) string {
	return "http://" + p.sim.Addr().String() + "/_sim/" + payment.Provider + "/" + payment.Account + "/payments/" + url.PathEscape(payment.ID)
}

// remember keeps a payment for the end of the round.
func (d *driver) remember(payment reconcile.Payment, s step) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last[payment] = s
}

// live moves a payment and has it notified, and then a few times more at once.
// Now and then nobody is notified of a move, or the webhooks say more, or what was
// true before, or come a little later, or look-ups know it only then.
func (d *driver) live(payment reconcile.Payment, s step, repeats int, play map[string]any) {
	switch {
	case play["notify"] == false:
		d.move(payment, s, play)
		return
	case play != nil:
		d.move(payment, s, play)
	}
	d.tell(payment, s)
	var more sync.WaitGroup
	for range repeats {
		more.Go(func() { d.tell(payment, s) })
	}
	more.Wait()
}

// tell sends a notification until it is answered 200.
func (d *driver) tell(payment reconcile.Payment, s step) {
	body, err := json.Marshal(s.body())
	if err != nil {
		d.p.t.Error(err)
		return
	}
	d.until(payment, func() bool {
		status, answer := d.p.call(http.MethodPut, d.p.steering(payment), "", string(body))
		var state struct {
			Notified int `json:"notified"`
		}
		return json.Unmarshal([]byte(answer), &state) == nil && status == http.StatusOK && state.Notified == http.StatusOK
	})
}

// ghost notifies of a payment that its provider does not know.
func (d *driver) ghost(payment reconcile.Payment) {
	secret := map[string]string{"default": "sandbox-local-token", "acme": "acme-sandbox-local-token"}[payment.Account]
	d.until(payment, func() bool {
		status, _ := d.p.call(http.MethodPost, "http://"+d.p.gateway.Addr().String()+"/v1/sandbox/"+payment.Account+"/notifications",
			secret, fmt.Sprintf(`{"payment":%q}`, payment.ID))
		return status == http.StatusOK
	})
}

// until repeats what a provider would repeat and counts the 200.
func (d *driver) until(payment reconcile.Payment, accepted func() bool) {
	try := func() bool {
		d.p.traffic.RLock()
		defer d.p.traffic.RUnlock()
		return accepted()
	}
	for !try() {
		if !pause(d.p.ctx, 50*time.Millisecond) {
			return
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.truths[payment]
	t.Accepted++
	d.truths[payment] = t
}

// verified forgets where payments stood at the end of a round that has been
// found in order. From then on sweep may ask for them while their providers
// answer wrongly, which the next look-up mends, in whatever round that is.
func (d *driver) verified() {
	for payment, t := range d.truths {
		t.Status = ""
		d.truths[payment] = t
	}
}

// close notifies of every remembered payment once more, where it stands now,
// so that its end is known. The others are left alone: an answer to one more
// notification would cover one that was forgotten.
func (d *driver) close() {
	type ending struct {
		payment reconcile.Payment
		step    step
	}
	endings := make(chan ending)
	var tellers sync.WaitGroup
	for range 16 {
		tellers.Go(func() {
			for e := range endings {
				d.tell(e.payment, e.step)
				d.mu.Lock()
				t := d.truths[e.payment]
				t.Status, t.Refunded = e.step.status, e.step.refunded
				d.truths[e.payment] = t
				d.mu.Unlock()
			}
		})
	}
	for payment, s := range d.last {
		endings <- ending{payment, s}
	}
	close(endings)
	tellers.Wait()
	clear(d.last)
}

// call makes a request and returns status and body, 0 for no answer.
func (p *plant) call(method, target, authorization, body string) (int, string) {
	request, err := http.NewRequestWithContext(p.ctx, method, target, strings.NewReader(body))
	if err != nil {
		p.t.Error(err)
		return 0, ""
	}
	request.Header.Set("Authorization", authorization)
	response, err := p.http.Do(request)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close() //nolint:errcheck // Only read from.
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, ""
	}
	return response.StatusCode, string(answer)
}
