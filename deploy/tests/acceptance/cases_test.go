package acceptance

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
)

// picpaySecret is the header of PicPay's webhooks in the local configuration.
var picpaySecret = map[string]string{"x-seller-token": "4ef4edbd-5cda-42da-860b-0e8d7b90c784"}

// told is what an event says, in short: status, refunded and value in cents, and
// whether it corrects what was published.
func told(e order.Event) string {
	text := string(e.Status)
	if a := e.Amount; a != nil {
		text += fmt.Sprintf(" %d/%d", a.Refunded, a.Value)
	}
	if e.Correction {
		text += " correction"
	}
	return text
}

// TestStoriesThatOthersReportedEndAsTheyShould plays what people who integrate
// payments reported in public, through the real binaries on a turned clock. Each
// word of a story is told by a webhook of its own.
func TestStoriesThatOthersReportedEndAsTheyShould(t *testing.T) {
	t.Parallel()
	s := startTurned(t, "600")
	type state = map[string]any
	for name, story := range map[string]struct {
		provider string
		states   []state
		events   []string
	}{
		"captured in part and given back": {"picpay", []state{
			{"status": "authorized", "amount": 10000}, {"status": "captured", "captured": 6000}, {"status": "refunded", "refunded": 6000},
		}, []string{"authorized 0/10000", "paid 0/6000", "refunded 6000/6000"}},
		"refunded with nothing ever paid": {"picpay", []state{
			{"status": "authorized", "amount": 10000}, {"status": "refunded", "captured": 0},
		}, []string{"authorized 0/10000", "canceled 0/10000"}},
		"canceled, then paid": {"yapay", []state{
			{"status": 4, "amount": 14200}, {"status": 7}, {"status": 6},
		}, []string{"pending 0/14200", "canceled 0/14200", "paid 0/14200 correction"}},
		"expired, then paid": {"picpay", []state{
			{"status": "created"}, {"status": "expired"}, {"status": "paid"},
		}, []string{"pending 0/10000", "expired 0/10000", "paid 0/10000 correction"}},
		"canceled by a partial refund": {"yapay", []state{
			{"status": 6, "amount": 14200}, {"status": 7, "refunded": 1000},
		}, []string{"paid 0/14200", "partially_refunded 1000/14200"}},
		"refused by a whole refund": {"yapay", []state{
			{"status": 6, "amount": 14200}, {"status": 89, "refunded": 14200},
		}, []string{"paid 0/14200", "refunded 14200/14200"}},
		"a chargeback after the refund": {"picpay", []state{
			{"status": "paid"}, {"status": "refunded", "refunded": 10000}, {"status": "chargeback"},
		}, []string{"paid 0/10000", "refunded 10000/10000", "charged_back 10000/10000 correction"}},
		"unknown for four turned minutes": {"picpay", []state{{"status": "paid", "known_in": 0.4}}, []string{"paid 0/10000"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			payment := strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), ",", "")
			for i, now := range story.states {
				now["notify"] = true
				s.set(story.provider, payment, now)
				if i < len(story.events) {
					s.await(fmt.Sprintf("event %d of %s", i+1, payment), func() bool { return len(s.log(story.provider+"/default/"+payment)) > i })
				}
			}
			for i, e := range s.log(story.provider + "/default/" + payment) {
				if got := told(e); i >= len(story.events) || got != story.events[i] {
					t.Errorf("event %d is %s, want %v", i+1, got, story.events)
				}
			}
		})
	}
}

// TestWebhooksThatOthersReportedAreRead sends bodies that strict readers refuse.
func TestWebhooksThatOthersReportedAreRead(t *testing.T) {
	t.Parallel()
	s := start(t)
	checkout := map[string]string{"authorization": "a45c2dee-6435-1234-5678-b2a5f0ae7a8a"}
	with := func(header map[string]string, name, value string) map[string]string {
		all := map[string]string{name: value}
		for k, v := range header {
			all[k] = v
		}
		return all
	}
	for i, c := range []struct {
		provider string
		header   map[string]string
		body     string // %s is the payment.
	}{
		{"picpay", with(picpaySecret, "Content-Encoding", "utf-8"), `{"referenceId":"%s"}`},
		{"picpay", with(picpaySecret, "Content-Encoding", "none"), `{"referenceId":"%s"}`},
		{"picpay", picpaySecret, `{"referenceId":%s}`},
		{"picpay", picpaySecret, "\xef\xbb\xbf" + `{"referenceId":"%s"}`},
		{"picpay", picpaySecret, "{\"referenceId\":\"%s\",\"note\":\"Jo\xe3o\"}"},
		{"picpay-checkout", checkout, `{"merchantChargeId":"%s","status":"PAID","amount":10000}`},
	} {
		payment, word := fmt.Sprint(5000+i), map[string]string{"picpay": "paid", "picpay-checkout": "PAID"}[c.provider]
		s.set(c.provider, payment, map[string]any{"status": word})
		s.post("/v1/"+c.provider+"/notifications", "application/json", c.header, fmt.Sprintf(c.body, payment))
		s.awaitStatuses(c.provider+"/default/"+payment, order.Paid)
	}
	for _, id := range []string{"1e5", "102030.0"} {
		status, answer := s.call("POST", "http://"+s.at.Gateway+"/v1/picpay/notifications", "application/json", picpaySecret, `{"referenceId":`+id+`}`)
		if status != 400 || !strings.Contains(answer, "400103") {
			t.Errorf("an id of %s gave %d %s", id, status, answer)
		}
	}
}

// TestNewWordIsOneLetterPerPayment has a provider say a word that nobody knows,
// of many payments and again and again.
func TestNewWordIsOneLetterPerPayment(t *testing.T) {
	t.Parallel()
	s := start(t)
	const payments = 5
	for range 2 {
		for i := range payments {
			s.set("sandbox", fmt.Sprintf("new-%d", i), map[string]any{"status": "moonlit", "notify": true})
		}
	}
	s.drained()
	var letters []struct {
		Payment        string `json:"payment"`
		ProviderStatus string `json:"provider_status"`
	}
	testbench.Must(t, json.Unmarshal([]byte(s.arauto("dead", "list", "--output", "json")), &letters))
	seen := map[string]int{}
	for _, l := range letters {
		if l.ProviderStatus == "moonlit" {
			seen[l.Payment]++
		}
	}
	for payment, n := range seen {
		if n != 1 {
			t.Errorf("%s has %d letters", payment, n)
		}
	}
	if len(seen) != payments {
		t.Errorf("%d of %d payments have a letter", len(seen), payments)
	}
	if text := s.arauto("dead", "list"); strings.Count(text, "moonlit") != 1 {
		t.Errorf("the word is not one line:\n%s", text)
	}
}
