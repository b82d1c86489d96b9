package providers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// What senders of real integrations reported that their providers answer.
func picpaySays(s string) string { return `{"referenceId":"p",` + s + `}` }

func checkoutSays(s string) string {
	return `{"merchantChargeId":"p","originalAmount":10000,` + s + `}`
}

func yapaySays(s string) string {
	return `{"message_response":{"message":"success"},"data_response":{"transaction":{"order_number":"o","transaction_id":1,` +
		`"token_transaction":"p",` + s + `,"payment":{"price_original":"142.0"}}}}`
}

// TestStoriesOfAnswers folds what a provider answers, a minute apart, and
// compares what the log then says: status, refunded/value, outcome.
func TestStoriesOfAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		provider string
		answers  []string
		want     []string
	}{
		"A1: a part is captured, then refunded": {"picpay", []string{
			picpaySays(`"status":"authorized","summary":{"authorized":100}`),
			picpaySays(`"status":"paid","summary":{"authorized":100,"paid":60}`),
			picpaySays(`"status":"paid","summary":{"authorized":100,"paid":60,"refunded":60}`),
		}, []string{"authorized 0/10000 applied", "paid 0/6000 applied", "refunded 6000/6000 applied"}},
		"A1: the same at Checkout, whose amount is net": {"picpay-checkout", []string{
			checkoutSays(`"chargeStatus":"PRE_AUTHORIZED","amount":10000,"transactions":[{"transactionStatus":"PRE_AUTHORIZED"}]`),
			checkoutSays(`"chargeStatus":"PAID","amount":6000`),
			checkoutSays(`"chargeStatus":"PAID","amount":2000,"refundedAmount":4000`),
			checkoutSays(`"chargeStatus":"PAID","amount":0,"refundedAmount":6000`),
		}, []string{"authorized 0/10000 applied", "paid 0/6000 applied", "partially_refunded 4000/6000 applied", "refunded 6000/6000 applied"}},
		"a summary net of refunds": {"picpay", []string{
			picpaySays(`"status":"paid","summary":{"authorized":100,"paid":100}`),
			picpaySays(`"status":"paid","summary":{"authorized":100,"paid":50,"refunded":50}`),
			picpaySays(`"status":"paid","summary":{"authorized":100,"paid":10,"refunded":90}`),
			picpaySays(`"status":"refunded","summary":{"authorized":100,"paid":0,"refunded":100}`),
		}, []string{"paid 0/10000 applied", "partially_refunded 5000/10000 applied", "partially_refunded 9000/10000 applied", "refunded 10000/10000 applied"}},
		"A2: refunded with nothing ever paid": {"picpay", []string{
			picpaySays(`"status":"authorized","summary":{"authorized":100,"paid":0,"refunded":0}`),
			picpaySays(`"status":"refunded","summary":{"authorized":100,"paid":0,"refunded":0}`),
		}, []string{"authorized 0/10000 applied", "canceled 0/10000 applied"}},
		"A2: the same at Checkout": {"picpay-checkout", []string{
			checkoutSays(`"chargeStatus":"AUTHORIZED","amount":10000`),
			checkoutSays(`"chargeStatus":"REFUNDED","amount":0,"refundedAmount":0`),
		}, []string{"authorized 0/10000 applied", "canceled 0/10000 applied"}},
		"A3: canceled, then paid": {"yapay", []string{yapaySays(`"status_id":4`), yapaySays(`"status_id":7`), yapaySays(`"status_id":6`), yapaySays(`"status_id":6`)},
			[]string{"pending 0/14200 applied", "canceled 0/14200 applied", "canceled 0/14200 unconfirmed", "paid 0/14200 applied"}},
		"A3: expired, then paid": {"picpay", []string{picpaySays(`"status":"created"`), picpaySays(`"status":"expired"`), picpaySays(`"status":"paid"`), picpaySays(`"status":"paid"`)},
			[]string{"pending 0/0 applied", "expired 0/0 applied", "expired 0/0 unconfirmed", "paid 0/0 applied"}},
		"A3: refused, then paid": {"yapay", []string{yapaySays(`"status_id":4`), yapaySays(`"status_id":89`), yapaySays(`"status_id":6`), yapaySays(`"status_id":6`)},
			[]string{"pending 0/14200 applied", "refused 0/14200 applied", "refused 0/14200 unconfirmed", "paid 0/14200 applied"}},
		"A4: canceled by a partial refund": {"yapay", []string{yapaySays(`"status_id":6`), yapaySays(`"status_id":7,"refunds":[{"value":10.0,"status_id":157,"refund_kind_id":52}]`)},
			[]string{"paid 0/14200 applied", "partially_refunded 1000/14200 applied"}},
		"A15: a chargeback after the refund": {"picpay", []string{
			picpaySays(`"status":"refunded","summary":{"paid":100,"refunded":100}`),
			picpaySays(`"status":"chargeback","summary":{"paid":100,"refunded":100}`), picpaySays(`"status":"chargeback","summary":{"paid":100,"refunded":100}`),
		}, []string{"refunded 10000/10000 applied", "refunded 10000/10000 unconfirmed", "charged_back 10000/10000 applied"}},
		"A21: refused by a whole refund": {"yapay", []string{yapaySays(`"status_id":6`), yapaySays(`"status_id":89,"refunds":[{"value":142.0,"status_id":157,"refund_kind_id":53}]`)},
			[]string{"paid 0/14200 applied", "refunded 14200/14200 applied"}},
		"canceled, with a finished refund of nothing": {"yapay", []string{yapaySays(`"status_id":7,"refunds":[{"value":"0.00","status_id":157,"refund_kind_id":52}]`)},
			[]string{"canceled 0/14200 applied"}},
		"a refund that is not finished": {"yapay", []string{yapaySays(`"status_id":6`), yapaySays(`"status_id":6,"refunds":[{"value":142.0,"status_id":158,"refund_kind_id":53}]`)},
			[]string{"paid 0/14200 applied", "paid 0/14200 unchanged"}},
	} {
		p, ok := providers.All.Get(c.provider)
		if !ok {
			t.Fatalf("there is no %s", c.provider)
		}
		var s order.Standing
		var last *order.Event
		var got []string
		for i, body := range c.answers {
			target := provider.Target{Kind: order.Payment, Payment: "p", Order: "p"}
			f, err := p.Answer(target, provider.Account{}, provider.Reply{Status: 200, Body: []byte(body)})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			o := order.Observation{Kind: f.Kind, Payment: "p", Status: f.Status, Amount: f.Amount, Confirmed: true}
			after, outcome := s.Fold(o, time.Unix(int64(i)*60, 0))
			if s = after; outcome == order.Applied {
				event := order.Announce(last, o, uint64(i+1), after)
				last = &event
			}
			var refunded, value int64
			if last.Amount != nil {
				refunded, value = last.Amount.Refunded, last.Amount.Value
			}
			got = append(got, fmt.Sprintf("%s %d/%d %s", s.Status, refunded, value, outcome))
		}
		if have, want := strings.Join(got, ", "), strings.Join(c.want, ", "); have != want {
			t.Errorf("%s:\nhave %s\nwant %s", name, have, want)
		}
	}
}
