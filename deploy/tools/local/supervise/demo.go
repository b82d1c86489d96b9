package supervise

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"
)

// step moves a payment at its provider, which then sends the webhook.
type step struct {
	Status   any    `json:"status"` // In the provider's own word, a number for yapay.
	Order    string `json:"order"`
	Amount   int64  `json:"amount"`   // Cents.
	Refunded int64  `json:"refunded"` // Cents.
	Notify   bool   `json:"notify"`
}

// life is the story of one payment.
type life struct {
	provider, account, unit string
	steps                   []step
}

// stories are the lives that the demo tells in turn, short ones of every
// provider.
func stories() []life {
	const whole = 10000
	at := func(words ...any) []step {
		steps := make([]step, len(words))
		for i, word := range words {
			steps[i] = step{Status: word, Amount: whole, Notify: true}
		}
		return steps
	}
	refund := func(steps []step, part, full any) []step {
		return append(steps,
			step{Status: part, Amount: whole, Refunded: 4000, Notify: true},
			step{Status: full, Amount: whole, Refunded: whole, Notify: true})
	}
	return []life{
		{"picpay", "default", "payments", refund(at("created", "paid"), "paid", "refunded")},
		{"yapay", "default", "payments", at(4, 6)},
		{"beeteller", "default", "payments", at("INITIALIZED", "PROCESSING", "PAID")},
		{"picpay-checkout", "default", "authentications", at("CREATED", "AUTHENTICATED")},
		{"picpay-checkout", "default", "payments", refund(at("PRE_AUTHORIZED", "PAID"), "PARTIAL", "REFUNDED")},
		{"sandbox", "acme", "payments", refund(at("pending", "paid"), "partially_refunded", "refunded")},
		{"beeteller", "acme", "payments", at("PROCESSING", "REJECTED")},
	}
}

// together is how many lives are told at the same time, so that two steps of
// one payment are some seconds apart.
const together = 3

// demo plays the stories through the simulator's control calls.
type demo struct {
	base   string // The simulator.
	run    string // Makes ids unique to this run.
	every  time.Duration
	client *http.Client
	log    *zap.Logger

	told  int // Lives begun.
	now   [together]life
	ids   [together]string
	turns int
}

func newDemo(base string, every time.Duration, began time.Time, log *zap.Logger) *demo {
	return &demo{
		base: base, every: every, log: log,
		run:    strconv.FormatInt(began.UnixMilli(), 36),
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
}

// play makes a step at every tick until ctx ends. A step that fails is
// logged and not repeated: the next one shows whether things work again.
func (d *demo) play(ctx context.Context) {
	ticker := time.NewTicker(d.every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		l, id, s := d.next()
		if err := d.put(ctx, l, id, s); err != nil && ctx.Err() == nil {
			d.log.Warn("demo step failed", zap.String("provider", l.provider), zap.String("payment", id), zap.Error(err))
		}
	}
}

// next takes the next step of the next life, and begins another life where
// one has ended.
func (d *demo) next() (life, string, step) {
	i := d.turns % together
	d.turns++
	if len(d.now[i].steps) == 0 {
		all := stories()
		d.now[i] = all[d.told%len(all)]
		d.told++
		d.ids[i] = fmt.Sprintf("demo-%s-%d", d.run, d.told)
	}
	l := d.now[i]
	s := l.steps[0]
	s.Order = d.ids[i]
	d.now[i].steps = l.steps[1:]
	return l, d.ids[i], s
}

// put makes a control call.
func (d *demo) put(ctx context.Context, l life, id string, s step) error {
	body, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode step: %w", err)
	}
	to := fmt.Sprintf("%s/_sim/%s/%s/%s/%s", d.base, l.provider, l.account, l.unit, url.PathEscape(id))
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, to, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make control call: %w", err)
	}
	resp, err := d.client.Do(r)
	if err != nil {
		return fmt.Errorf("make control call: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // It was only read.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxReadiness))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("make control call: status %d", resp.StatusCode)
	}
	return nil
}
