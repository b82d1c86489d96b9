package ledger_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"arauto/deploy/ledger"
	"arauto/schemas/order"
)

// step is a state of a payment at its provider, in the provider's word and in
// ours.
type step struct {
	word     string
	refunded int64
	status   order.Status
}

// lives are the ways that payments of a provider go. Some end in what no log
// can take.
func lives() map[string][][]step {
	return map[string][][]step{
		"picpay": {
			{{"created", 0, order.Pending}, {"paid", 0, order.Paid}, {"paid", 2500, order.PartiallyRefunded}, {"paid", 4000, order.PartiallyRefunded}, {"refunded", 10000, order.Refunded}},
			{{"created", 0, order.Pending}, {"analysis", 0, order.InAnalysis}, {"authorized", 0, order.Authorized}, {"completed", 0, order.Settled}, {"chargeback", 0, order.ChargedBack}},
			{{"created", 0, order.Pending}, {"expired", 0, order.Expired}},
		},
		"picpay-checkout": {
			{{"CREATED", 0, order.Pending}, {"PAID", 0, order.Paid}, {"PARTIAL", 2500, order.PartiallyRefunded}, {"REFUNDED", 10000, order.Refunded}},
			{{"CREATED", 0, order.Pending}, {"DENIED", 0, order.Refused}},
		},
		"beeteller": {
			{{"INITIALIZED", 0, order.Pending}, {"PROCESSING", 0, order.Processing}, {"PAID", 0, order.Paid}},
			{{"PROCESSING", 0, order.Processing}, {"REJECTED", 0, order.Refused}},
		},
		"yapay": {
			{{"4", 0, order.Pending}, {"87", 0, order.InAnalysis}, {"6", 0, order.Paid}, {"24", 0, order.Disputed}, {"7", 0, order.Canceled}},
			{{"4", 0, order.Pending}, {"6", 0, order.Paid}, {"24", 0, order.Disputed}, {"6", 0, order.Paid}},
		},
		"sandbox": {
			{{"pending", 0, order.Pending}, {"authorized", 0, order.Authorized}, {"paid", 0, order.Paid}, {"refunded", 10000, order.Refunded}},
			{{"pending", 0, order.Pending}, {"paid", 0, order.Paid}, {"refused", 0, ""}},                  // No edge.
			{{"pending", 0, order.Pending}, {"moonlit", 0, ""}, {"paid", 0, order.Paid}},                  // No word.
			{{"processing", 0, order.Processing}, {"pending", 0, order.Pending}, {"paid", 0, order.Paid}}, // A return edge.
		},
	}
}

func accounts() []string { return []string{"default", "acme"} }

// driver plays the payments' lives at the simulator, which tells the gateway
// as each provider does, and repeats what was not answered 200.
type driver struct {
	p *plant

	mu     sync.Mutex
	truths map[ledger.Payment]ledger.Truth
	last   map[ledger.Payment]step
}

func newDriver(p *plant) *driver {
	return &driver{p: p, truths: map[ledger.Payment]ledger.Truth{}, last: map[ledger.Payment]step{}}
}

// play lives through payments of its own until ctx ends.
func (d *driver) play(ctx context.Context, name string, dice *rand.Rand) {
	all := lives()
	slugs := []string{"picpay", "picpay-checkout", "beeteller", "yapay", "sandbox"}
	for i := 0; ctx.Err() == nil; i++ {
		provider := slugs[dice.IntN(len(slugs))]
		payment := ledger.Payment{Provider: provider, Account: accounts()[dice.IntN(2)], ID: fmt.Sprintf("%s-%d", name, i)}
		if provider == "sandbox" && dice.IntN(20) == 0 {
			d.ghost(payment)
			continue
		}
		life, known := all[provider][dice.IntN(len(all[provider]))], dice.IntN(2) == 0
		for _, s := range life[:1+dice.IntN(len(life))] {
			if known {
				d.remember(payment, s)
			}
			d.live(payment, s, dice.IntN(4))
			if !pause(ctx, time.Duration(dice.IntN(40))*time.Millisecond) {
				break
			}
		}
	}
}

// remember keeps a payment for the end of the round.
func (d *driver) remember(payment ledger.Payment, s step) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last[payment] = s
}

// live moves a payment and has it notified, and then a few times more at once.
func (d *driver) live(payment ledger.Payment, s step, repeats int) {
	d.tell(payment, s)
	var more sync.WaitGroup
	for range repeats {
		more.Go(func() { d.tell(payment, s) })
	}
	more.Wait()
}

// tell sends a notification until it is answered 200.
func (d *driver) tell(payment ledger.Payment, s step) {
	body, err := json.Marshal(map[string]any{"status": s.word, "refunded": s.refunded, "amount": 10000, "notify": true})
	if err != nil {
		d.p.t.Error(err)
		return
	}
	target := "http://" + d.p.sim.Addr().String() + "/_sim/" + payment.Provider + "/" + payment.Account + "/payments/" + url.PathEscape(payment.ID)
	d.until(payment, func() bool {
		status, answer := d.p.call(http.MethodPut, target, "", string(body))
		var state struct {
			Notified int `json:"notified"`
		}
		return json.Unmarshal([]byte(answer), &state) == nil && status == http.StatusOK && state.Notified == http.StatusOK
	})
}

// ghost notifies of a payment that its provider does not know.
func (d *driver) ghost(payment ledger.Payment) {
	secret := map[string]string{"default": "sandbox-local-token", "acme": "acme-sandbox-local-token"}[payment.Account]
	d.until(payment, func() bool {
		status, _ := d.p.call(http.MethodPost, "http://"+d.p.gateway.Addr().String()+"/v1/sandbox/"+payment.Account+"/notifications",
			secret, fmt.Sprintf(`{"payment":%q}`, payment.ID))
		return status == http.StatusOK
	})
}

// until repeats what a provider would repeat and counts the 200.
func (d *driver) until(payment ledger.Payment, accepted func() bool) {
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
		payment ledger.Payment
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
