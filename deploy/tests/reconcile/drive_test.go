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
	"slices"
	"strings"
	"sync"
	"time"

	"arauto/deploy/tests/reconcile"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// step is a state of a payment at its provider, and what is published about it.
type step = provider.Step

// lives are the ways that payments of a provider go: the stories of its sample. Some of
// the sandbox's end in what no log can take.
func lives(p provider.Provider) [][]step {
	all := p.Sample.Units[0].Stories
	if p.Name != "sandbox" {
		return all
	}
	pending, paid := step{Word: "pending", Status: order.Pending}, step{Word: "paid", Status: order.Paid}
	return append(slices.Clone(all),
		[]step{pending, paid, {Word: "refused"}},                              // No edge.
		[]step{pending, {Word: "moonlit"}, paid},                              // No word.
		[]step{{Word: "processing", Status: order.Processing}, pending, paid}, // A return edge.
	)
}

func accounts() []string { return []string{"default", "acme"} }

// driver plays the payments' lives at the simulator, which tells the gateway
// as each provider does, and repeats what was not answered 200.
type driver struct {
	p   *plant
	all provider.Set // Whose payments it plays.

	mu     sync.Mutex
	truths map[reconcile.Payment]reconcile.Truth
	last   map[reconcile.Payment]step
}

func newDriver(p *plant) *driver {
	return &driver{p: p, all: providers.All, truths: map[reconcile.Payment]reconcile.Truth{}, last: map[reconcile.Payment]step{}}
}

// play lives through payments of its own until ctx ends.
func (d *driver) play(ctx context.Context, name string, dice *rand.Rand) {
	for i := 0; ctx.Err() == nil; i++ {
		p := d.all[dice.IntN(len(d.all))]
		payment := reconcile.Payment{Provider: p.Name, Account: accounts()[dice.IntN(2)], ID: fmt.Sprintf("%s-%d", name, i)}
		if p.Name == "sandbox" && dice.IntN(20) == 0 {
			d.ghost(payment)
			continue
		}
		all, known := lives(p), dice.IntN(2) == 0
		life := all[dice.IntN(len(all))]
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
	body := bodyOf(s)
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

// bodyOf is the control call that moves a payment to s and has it notified.
func bodyOf(s step) map[string]any {
	body := map[string]any{"status": s.Word, "refunded": s.Refunded, "amount": 10000, "notify": true}
	if s.Captured != nil {
		body["captured"] = *s.Captured
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
	body, err := json.Marshal(bodyOf(s))
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
				t.Status, t.Refunded = e.step.Status, e.step.Refunded
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
