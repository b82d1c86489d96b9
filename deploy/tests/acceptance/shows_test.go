package acceptance

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
)

const (
	picpaySeed = `{
            "referenceId" : "102030",
            "authorizationId" : "555008cef7f321d00ef236333"
        }`
	checkoutSeed = `{"type":"PAYMENT","eventDate":"2024-07-01T16:00:00-03:00","merchantDocument":"123456789012",
"id":"21b91897-a897-49bc-b16e-6256f0bf2368","merchantCode":"1234","data":{"status":"AUTHORIZED","amount":10000,
"originalAmount":10000,"refundedAmount":0,"merchantChargeId":"61e35ec2-caa8-4598-bed5-d43e25e14151",
"transactions":[{"paymentType":"WALLET","transactionId":"07bef486-8d86-41b8-804b-f68e343a1791","status":"CAPTURED","amount":10000}]}}`
	threeDSSeed = `{"type":"THREE_DS_CHALLENGE","merchantDocument":"123456789012","id":"21b91897-a897-49bc-b16e-6256f0bf2368",
"merchantCode":"72425145000145","data":{"status":"Approved","paresStatus":"Y","eciRaw":"05",
"merchantChargeId":"61e35ec2-caa8-4598-bed5-d43e25e14151","chargeId":"bac0ffd7-e4cb-48c7-9f3e-a05ff7eb40a1"}}`
)

func TestSeedNotificationsBecomeTheProvidersTruth(t *testing.T) {
	t.Parallel()
	s := start(t)
	json := "application/json"

	s.post("/v1/picpay/notifications", json, map[string]string{"x-seller-token": "4ef4edbd-5cda-42da-860b-0e8d7b90c784"}, picpaySeed)
	paid := s.awaitStatuses("picpay/default/102030", order.Paid)[0]
	if paid.Amount == nil || paid.Amount.Value != 10000 || !paid.Confirmed || paid.From != nil {
		t.Errorf("event of 102030 is %+v", paid)
	}
	stream, err := s.js.Stream(s.ctx, "ORDERS")
	testbench.Must(t, err)
	if _, err := stream.GetLastMsgForSubject(s.ctx, "orders.picpay.default.102030.102030.paid"); err != nil {
		t.Errorf("event is not on its subject: %v", err)
	}

	checkout := map[string]string{"authorization": "a45c2dee-6435-1234-5678-b2a5f0ae7a8a", "event-type": "TransactionUpdateMessage"}
	s.post("/v1/picpay-checkout/notifications", json, checkout, checkoutSeed)
	s.awaitStatuses("picpay-checkout/default/61e35ec2-caa8-4598-bed5-d43e25e14151", order.Paid)
	checkout["event-type"] = "Challenge3dsUpdateMessage"
	s.post("/v1/picpay-checkout/notifications", json, checkout, threeDSSeed)
	challenge := s.awaitStatuses("picpay-checkout/default/3ds-bac0ffd7-e4cb-48c7-9f3e-a05ff7eb40a1", order.Authenticated)[0]
	if challenge.Kind != order.Authentication || challenge.Order != "61e35ec2-caa8-4598-bed5-d43e25e14151" {
		t.Errorf("3DS event is %+v", challenge)
	}
	if got := len(s.log("picpay-checkout/default/61e35ec2-caa8-4598-bed5-d43e25e14151")); got != 1 {
		t.Errorf("the 3DS result moved the payment: %d events", got)
	}

	for id, want := range map[string]struct {
		body   string
		status order.Status
		reason string
	}{
		"b-1": {`"status": "PAID"`, order.Paid, ""},
		"b-2": {`"status": "REJECTED", "rejection_reason": "pix.timeout"`, order.Refused, "pix.timeout"},
		"b-3": {`"status": "EXPIRED"`, order.Expired, ""},
	} {
		s.post("/v1/beeteller/default/beeteller-local-key/notifications", json, nil,
			fmt.Sprintf(`{"order": %q, %s, "reference": "ref-%s", "type": "REVERSE_PIX"}`, id, want.body, id))
		e := s.awaitStatuses("beeteller/default/"+id, want.status)[0]
		if e.Kind != order.Payout || e.Confirmed || e.Order != "ref-"+id || (e.Reason != nil) != (want.reason != "") {
			t.Errorf("event of %s is %+v", id, e)
		}
		if e.Reason != nil && *e.Reason != want.reason {
			t.Errorf("reason of %s is %q", id, *e.Reason)
		}
	}
}

func TestTransitionsNotNotificationsMakeEvents(t *testing.T) {
	t.Parallel()
	s := start(t)
	key := "picpay/default/r-1"
	notify := func() {
		s.post("/v1/picpay/notifications", "application/json",
			map[string]string{"x-seller-token": "4ef4edbd-5cda-42da-860b-0e8d7b90c784"}, `{"referenceId":"r-1"}`)
	}
	s.set("picpay", "r-1", map[string]any{"status": "paid", "amount": 10000})
	notify()
	s.awaitStatuses(key, order.Paid)
	s.set("picpay", "r-1", map[string]any{"status": "paid", "refunded": 2500})
	notify()
	s.awaitStatuses(key, order.Paid, order.PartiallyRefunded)
	s.set("picpay", "r-1", map[string]any{"status": "refunded", "refunded": 10000})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 13 {
				notify()
			}
		})
	}
	all.Wait()
	s.awaitStatuses(key, order.Paid, order.PartiallyRefunded, order.Refunded)
	// Everything accepted is through once a later payment's event is there and
	// the consumers are empty.
	s.drained()
	s.awaitStatuses(key, order.Paid, order.PartiallyRefunded, order.Refunded)
	if got := s.lookups("picpay")["r-1"]; got > 60 {
		t.Errorf("106 notifications caused %d look-ups", got)
	}
}

func TestForgedFormNeverMovesAPayment(t *testing.T) {
	t.Parallel()
	s := start(t)
	claim := func(status string) {
		form := url.Values{
			"token_transaction": {"tok-1"}, "transaction[status_id]": {status}, "transaction[order_number]": {"forged"},
			"transaction[products][][code]": {"a", "b"},
		}
		s.post("/v1/yapay/default/yapay-local-key/notifications", "application/x-www-form-urlencoded", nil, form.Encode())
	}
	key := "yapay/default/tok-1"
	s.set("yapay", "tok-1", map[string]any{"order": "o-77", "status": 4, "amount": 65000})
	claim("6")
	if e := s.awaitStatuses(key, order.Pending)[0]; e.Order != "o-77" {
		t.Errorf("the order is %q, want the one that Yapay names", e.Order)
	}
	want := []order.Status{order.Pending}
	for _, step := range []struct {
		id     int
		status order.Status
	}{{6, order.Paid}, {24, order.Disputed}, {6, order.Paid}, {7, order.Canceled}} {
		s.set("yapay", "tok-1", map[string]any{"status": step.id})
		claim("89")
		want = append(want, step.status)
		s.awaitStatuses(key, want...)
	}
}

func TestReadyAndMetricsSpeakForEveryRole(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.set("sandbox", "m-1", map[string]any{"status": "paid"})
	s.notify("m-1")
	s.awaitStatuses("sandbox/default/m-1", order.Paid)
	if status, body := s.call("GET", "http://"+s.at.Admin+"/readyz", "", nil, ""); status != 200 {
		t.Errorf("/readyz is %d: %s", status, body)
	}
	_, metrics := s.call("GET", "http://"+s.at.Admin+"/metrics", "", nil, "")
	for _, want := range []string{
		"arauto_webhooks_total", "arauto_webhook_durable_seconds_bucket", "arauto_lookups_total", "arauto_lookup_seconds_bucket",
		"arauto_normalize_outcomes_total", "arauto_webhook_to_event_seconds_bucket",
		"arauto_consumer_pending_messages", "arauto_consumer_ack_pending_messages",
		"arauto_sweep_oldest_stuck_schedule_seconds", "arauto_advisories_without_dead_letter_total",
		"arauto_consumer_redelivered_messages", "arauto_consumer_oldest_age_seconds",
		`role="gateway"`, `role="lookup"`, `role="normalize"`, `role="sweep"`, `role="expect"`, `role="simulator"`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}
