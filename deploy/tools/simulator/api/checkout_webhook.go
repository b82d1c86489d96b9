package api

import (
	"net/http"
	"net/url"
	"time"
)

// checkoutEnvelope is what both events have in common. The 3DS sample of the
// documentation has no eventDate.
type checkoutEnvelope struct {
	Type             string `json:"type"`
	EventDate        string `json:"eventDate,omitempty"`
	MerchantDocument string `json:"merchantDocument"`
	ID               string `json:"id"`
	MerchantCode     string `json:"merchantCode"`
	Data             any    `json:"data"`
}

// checkoutPaymentData is the payment event's data. The field names differ
// from the look-up's.
type checkoutPaymentData struct {
	Status           string                   `json:"status"`
	Amount           int64                    `json:"amount"`
	OriginalAmount   int64                    `json:"originalAmount"`
	RefundedAmount   int64                    `json:"refundedAmount"`
	Customer         checkoutCustomer         `json:"customer"`
	MerchantChargeID string                   `json:"merchantChargeId"`
	SmartCheckoutID  *string                  `json:"smartCheckoutId"`
	PaymentSource    string                   `json:"paymentSource"`
	LateCapture      bool                     `json:"lateCapture"`
	Transactions     []checkoutWebTransaction `json:"transactions"`
}

type checkoutCustomer struct {
	Document     string `json:"document"`
	DocumentType string `json:"documentType"`
	Email        string `json:"email"`
	Name         string `json:"name"`
}

type checkoutWebTransaction struct {
	PaymentType   string            `json:"paymentType"`
	TransactionID string            `json:"transactionId"`
	Status        string            `json:"status"`
	Amount        int64             `json:"amount"`
	CreatedAt     string            `json:"createdAt"`
	UpdatedAt     string            `json:"updatedAt"`
	Wallet        map[string]string `json:"wallet"`
}

// checkout3DSData is the 3DS event's data.
type checkout3DSData struct {
	Status           string `json:"status"`
	ParesStatus      string `json:"paresStatus"`
	EciRaw           string `json:"eciRaw"`
	MerchantChargeID string `json:"merchantChargeId"`
	ChargeID         string `json:"chargeId"`
}

// checkoutWebhook has the headers of the documentation's curl sample. The
// word is the state's as it stands: which words the real webhooks use is not
// documented in full, and they are hints only.
func checkoutWebhook(base *url.URL, k key, p payment, now time.Time) (*http.Request, error) {
	envelope := checkoutEnvelope{
		Type:             "PAYMENT",
		EventDate:        brazilian(now),
		MerchantDocument: "123456789012",
		ID:               uuidOf(p.Reference),
		MerchantCode:     "1234",
	}
	event := "TransactionUpdateMessage"
	if k.Unit == authentications {
		event, envelope.Type, envelope.EventDate = "Challenge3dsUpdateMessage", "THREE_DS_CHALLENGE", ""
		envelope.Data = checkoutChallenge(k, p)
	} else {
		envelope.Data = checkoutPayment(k, p)
	}
	r, err := postJSON(signed(base, k), envelope)
	if err != nil {
		return nil, err
	}
	r.Close = true // The sample says "connection: close".
	r.Header.Set("accept-encoding", "gzip, compress, deflate, br")
	r.Header.Set("user-agent", "axios/1.4.0")
	r.Header.Set("authorization", secretOf(k.Account, "a45c2dee-6435-1234-5678-b2a5f0ae7a8a"))
	r.Header.Set("event-type", event)
	r.Header.Set("accept", "application/json, text/plain, */*")
	return r, nil
}

func checkoutPayment(k key, p payment) checkoutPaymentData {
	word := checkoutTransactionWord(p.Status)
	if word == "PAID" {
		word = "CAPTURED" // In the webhook's sample, in no enum of the look-up.
	}
	left := max(0, p.Amount-p.Refunded)
	return checkoutPaymentData{
		Status:         p.Status,
		Amount:         left,
		OriginalAmount: p.Amount,
		RefundedAmount: p.Refunded,
		Customer: checkoutCustomer{
			Document: "123456789", DocumentType: "CPF", Email: "pessoa.silva@email.com", Name: "Pessoa Da Silva",
		},
		MerchantChargeID: k.ID,
		PaymentSource:    "GATEWAY",
		Transactions: []checkoutWebTransaction{{
			PaymentType:   "WALLET",
			TransactionID: uuidOf(p.Reference),
			Status:        word,
			Amount:        left,
			CreatedAt:     brazilian(p.Created),
			UpdatedAt:     brazilian(p.Changed),
			Wallet: map[string]string{
				"expiresAt": brazilian(p.Created.Add(5 * time.Minute)), "qrCode": "xpto", "qrCodeBase64": "xpto in base64",
			},
		}},
	}
}

func checkoutChallenge(k key, p payment) checkout3DSData {
	d := checkout3DSData{Status: p.Status, ParesStatus: "N", EciRaw: "07", MerchantChargeID: p.Order, ChargeID: k.ID}
	switch p.Status {
	case "Approved", "AUTHENTICATED":
		d.ParesStatus, d.EciRaw = "Y", "05"
	case "CREATED", "Challenged":
		d.ParesStatus, d.EciRaw = "C", ""
	}
	return d
}
