package picpaycheckout

import (
	"cmp"
	"net/http"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/provider"
)

// sampleCharge is the charge of the documents' examples.
const sampleCharge = "61e35ec2-caa8-4598-bed5-d43e25e14151"

var sample = provider.Sample{
	About:  "PicPay Checkout (\"Gateway PicPay\"), with the results of its 3DS authentications.",
	Secret: "a45c2dee-6435-1234-5678-b2a5f0ae7a8a",
	Settings: map[string]string{
		"base_url": "{url}", "token_url": "{url}/oauth2/token", "client_id": "checkout-client", "client_secret": "checkout-secret",
	},
	Currency: "BRL",
	Token: provider.SampleToken{
		Setting: "client_secret", Login: "oauth2/token", LoginID: "client_id",
		Refused: sampleError{Message: "Invalid client or Invalid client credentials", BusinessCode: "UNAUTHORIZED", Errors: []object{}},
	},
	Refusal: sampleRefusal,
	Sign:    provider.SignHeader("authorization"),
	Webhook: sampleWebhook,
	Units: []provider.SampleUnit{
		{
			Name: "payments", Kind: order.Payment, Opening: "PRE_AUTHORIZED", LookUp: "charge/{id}",
			Missing: http.StatusBadRequest, // The charge's page lists no 404 among its replies, the 3DS status's page does.
			Answer:  sampleChargeAnswer,
			Known:   []provider.State{{ID: sampleCharge, Order: sampleCharge, Status: "PAID", Amount: 10000, Reference: "07bef486-8d86-41b8-804b-f68e343a1791"}},
			Stories: [][]provider.Step{
				{
					{Word: "CREATED", Status: order.Pending}, {Word: "PAID", Status: order.Paid},
					{Word: "PARTIAL", Refunded: 2500, Status: order.PartiallyRefunded}, {Word: "REFUNDED", Refunded: 10000, Status: order.Refunded},
				},
				{{Word: "CREATED", Status: order.Pending}, {Word: "DENIED", Status: order.Refused}},
			},
		},
		{
			Name: "authentications", Kind: order.Authentication, Opening: "CREATED", LookUp: "charge/3ds/{id}/status", Prefix: challengePrefix,
			Missing: http.StatusNotFound,
			// The answer names neither the charge nor the order.
			Answer: func(s provider.State) any { return object{"hasChallenged": s.Status != "CREATED", "status": s.Status} },
			Known: []provider.State{{
				ID: "bac0ffd7-e4cb-48c7-9f3e-a05ff7eb40a1", Order: sampleCharge, Status: "AUTHENTICATED", Amount: 10000,
				Reference: "21b91897-a897-49bc-b16e-6256f0bf2368",
			}},
			Stories: [][]provider.Step{{{Word: "CREATED", Status: order.Pending}, {Word: "AUTHENTICATED", Status: order.Authenticated}}},
		},
	},
}

// object is a JSON object whose fields have no order.
type object = map[string]any

// sampleID writes a reference as a UUID; those of the examples already are.
func sampleID(s provider.State) string {
	r := s.Reference
	if len(r) != 32 {
		return r
	}
	return r[:8] + "-" + r[8:12] + "-4" + r[13:16] + "-a" + r[17:20] + "-" + r[20:]
}

// sampleTime writes a time as PicPay's samples do, at Brazil's offset.
func sampleTime(t time.Time) string { return provider.Brazilian(t).Format("2006-01-02T15:04:05-07:00") }

// sampleChargeAnswer is the charge look-up's answer. Amounts are cents; amount is what is
// left of the captured sum after refunds, originalAmount what was charged.
func sampleChargeAnswer(s provider.State) any {
	left := max(0, s.CapturedSum(true)-s.Refunded)
	return object{
		"merchantChargeId": s.ID, "id": sampleID(s), "chargeStatus": s.Status,
		"amount": left, "originalAmount": s.Amount, "refundedAmount": s.Refunded,
		"transactions": []object{{
			"paymentType": "CREDIT", "transactionStatus": sampleTransaction(s.Status),
			"amount": left, "originalAmount": s.Amount, "refundedAmount": s.Refunded,
			"createdAt": sampleTime(s.Created), "updatedAt": sampleTime(s.Changed), "transactionId": sampleID(s),
			"softDescriptor": nil, "errorMessage": nil, "mac": nil, "credit": object{"reasonCode": "00"}, "wallet": nil, "pix": nil,
		}},
	}
}

// sampleTransaction is the word of the one transaction of a charge. A charge stays
// PRE_AUTHORIZED both before the payer acts and while a card hold waits for its capture;
// here the former is PRE_AUTHORIZED, the latter AUTHORIZED. A word that is not in the list
// is the transaction's too.
func sampleTransaction(charge string) string {
	return cmp.Or(map[string]string{
		"CREATED":        "PENDING",
		"PRE_AUTHORIZED": "PENDING",
		"PreAuthorized":  "PENDING",
		"AUTHORIZED":     "PRE_AUTHORIZED",
		"CAPTURED":       "PAID",
		"PARTIAL":        "PARTIALLY_REFUNDED",
		"CANCELLED":      "CANCELED",
	}[charge], charge)
}

// sampleError is the documented error body.
type sampleError struct {
	Message      string   `json:"message"`
	Success      bool     `json:"success"`
	BusinessCode string   `json:"businessCode"`
	Errors       []object `json:"errors"`
}

// sampleRefusal has the documented message of 401; the business codes are made up, because
// no list of them is public.
func sampleRefusal(status int) any {
	e := sampleError{Message: http.StatusText(status), BusinessCode: "ERROR", Errors: []object{}}
	switch status {
	case http.StatusUnauthorized:
		e.Message, e.BusinessCode = "Authorization token not found.", "UNAUTHORIZED"
	case http.StatusBadRequest:
		e.Message, e.BusinessCode = "Charge not found.", "CHARGE_NOT_FOUND"
		e.Errors = append(e.Errors, object{"message": "charge not found", "field": "merchantChargeId"})
	case http.StatusNotFound:
		e.Message, e.BusinessCode = "Not found.", "NOT_FOUND"
	case http.StatusTooManyRequests:
		e.Message, e.BusinessCode = "API rate limit exceeded", "TOO_MANY_REQUESTS"
	}
	return e
}

// sampleWebhook has the headers of the documentation's curl sample. The word is the state's
// as it stands: which words the real webhooks use is not documented in full, and they are
// hints only. The 3DS sample of the documentation has no eventDate.
func sampleWebhook(s provider.State) provider.Webhook {
	envelope := object{
		"type": "PAYMENT", "eventDate": sampleTime(s.Changed), "merchantDocument": "123456789012", "id": sampleID(s), "merchantCode": "1234",
	}
	event := "TransactionUpdateMessage"
	if s.Unit == "authentications" {
		event, envelope["type"], envelope["data"] = "Challenge3dsUpdateMessage", "THREE_DS_CHALLENGE", sampleChallenge(s)
		delete(envelope, "eventDate")
	} else {
		envelope["data"] = samplePayment(s)
	}
	w := provider.JSONWebhook(envelope)
	w.Header = provider.HeaderMap{
		"content-type": {"application/json"}, "accept-encoding": {"gzip, compress, deflate, br"}, "user-agent": {"axios/1.4.0"},
		"event-type": {event}, "accept": {"application/json, text/plain, */*"}, "connection": {"close"},
	}
	return w
}

func samplePayment(s provider.State) object {
	word := sampleTransaction(s.Status)
	if word == "PAID" {
		word = "CAPTURED" // In the webhook's sample, in no enum of the look-up.
	}
	left := max(0, s.Amount-s.Refunded)
	return object{
		"status": s.Status, "amount": left, "originalAmount": s.Amount, "refundedAmount": s.Refunded,
		"customer":         object{"document": "123456789", "documentType": "CPF", "email": "pessoa.silva@email.com", "name": "Pessoa Da Silva"},
		"merchantChargeId": s.ID, "smartCheckoutId": nil, "paymentSource": "GATEWAY", "lateCapture": false,
		"transactions": []object{{
			"paymentType": "WALLET", "transactionId": sampleID(s), "status": word, "amount": left,
			"createdAt": sampleTime(s.Created), "updatedAt": sampleTime(s.Changed),
			"wallet": object{"expiresAt": sampleTime(s.Created.Add(5 * time.Minute)), "qrCode": "xpto", "qrCodeBase64": "xpto in base64"},
		}},
	}
}

func sampleChallenge(s provider.State) object {
	pares, eci := "N", "07"
	switch s.Status {
	case "Approved", "AUTHENTICATED":
		pares, eci = "Y", "05"
	case "CREATED", "Challenged":
		pares, eci = "C", ""
	}
	return object{"status": s.Status, "paresStatus": pares, "eciRaw": eci, "merchantChargeId": s.Order, "chargeId": s.ID}
}
