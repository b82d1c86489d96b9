package api

import (
	"net/http"
	"time"
)

// checkout is the slug of PicPay Checkout.
const checkout = "picpay-checkout"

func checkoutDialect() dialect {
	return dialect{
		opening:  map[unit]string{payments: "PRE_AUTHORIZED", authentications: "CREATED"},
		word:     textWord,
		question: checkoutQuestion,
		login:    checkoutLogin,
		missing:  checkoutMissing,
		answer:   checkoutAnswer,
		refusal:  checkoutRefusal,
		webhook:  checkoutWebhook,
	}
}

// checkoutQuestion: GET charge/{merchantChargeId} and GET
// charge/3ds/{chargeId}/status, both with a bearer token.
func checkoutQuestion(r *http.Request, path []string, now time.Time) (question, bool) {
	account := bearer(r.Header.Get("authorization"), now)
	switch {
	case len(path) == 2 && path[0] == "charge":
		return question{payments, path[1], account}, true
	case len(path) == 4 && path[0] == "charge" && path[1] == "3ds" && path[3] == "status":
		return question{authentications, path[2], account}, true
	}
	return question{}, false
}

// checkoutMissing: the charge's page lists no 404 among its replies, the 3DS
// status's page does.
func checkoutMissing(u unit) int {
	if u == authentications {
		return http.StatusNotFound
	}
	return http.StatusBadRequest
}

// checkoutCharge is the charge look-up's answer. Amounts are cents; amount is
// what is left after refunds, originalAmount what was charged.
type checkoutCharge struct {
	MerchantChargeID string                `json:"merchantChargeId"`
	ID               string                `json:"id"`
	ChargeStatus     string                `json:"chargeStatus"`
	Amount           int64                 `json:"amount"`
	OriginalAmount   int64                 `json:"originalAmount"`
	RefundedAmount   int64                 `json:"refundedAmount"`
	Transactions     []checkoutTransaction `json:"transactions"`
}

type checkoutTransaction struct {
	PaymentType       string         `json:"paymentType"`
	TransactionStatus string         `json:"transactionStatus"`
	Amount            int64          `json:"amount"`
	OriginalAmount    int64          `json:"originalAmount"`
	RefundedAmount    int64          `json:"refundedAmount"`
	CreatedAt         string         `json:"createdAt"`
	UpdatedAt         string         `json:"updatedAt"`
	TransactionID     string         `json:"transactionId"`
	SoftDescriptor    *string        `json:"softDescriptor"`
	ErrorMessage      *string        `json:"errorMessage"`
	MAC               *string        `json:"mac"`
	Credit            map[string]any `json:"credit"`
	Wallet            map[string]any `json:"wallet"`
	Pix               map[string]any `json:"pix"`
}

// checkout3DS is the 3DS status look-up's answer: it names neither the charge
// nor the order.
type checkout3DS struct {
	HasChallenged bool   `json:"hasChallenged"`
	Status        string `json:"status"`
}

func checkoutAnswer(k key, p payment) any {
	if k.Unit == authentications {
		return checkout3DS{HasChallenged: p.Status != "CREATED", Status: p.Status}
	}
	// The amount of a charge is what is left of the captured sum.
	left := max(0, p.captured(true)-p.Refunded)
	return checkoutCharge{
		MerchantChargeID: k.ID,
		ID:               uuidOf(p.Reference),
		ChargeStatus:     p.Status,
		Amount:           left,
		OriginalAmount:   p.Amount,
		RefundedAmount:   p.Refunded,
		Transactions: []checkoutTransaction{{
			PaymentType:       "CREDIT",
			TransactionStatus: checkoutTransactionWord(p.Status),
			Amount:            left,
			OriginalAmount:    p.Amount,
			RefundedAmount:    p.Refunded,
			CreatedAt:         brazilian(p.Created),
			UpdatedAt:         brazilian(p.Changed),
			TransactionID:     uuidOf(p.Reference),
			Credit:            map[string]any{"reasonCode": "00"},
		}},
	}
}

// checkoutTransactionWord is the word of the one transaction of a charge. A
// charge stays PRE_AUTHORIZED both before the payer acts and while a card
// hold waits for its capture; here the former is PRE_AUTHORIZED, the latter
// AUTHORIZED. A word that is not in the list is the transaction's too.
func checkoutTransactionWord(charge string) string {
	word, ok := map[string]string{
		"CREATED":        "PENDING",
		"PRE_AUTHORIZED": "PENDING",
		"PreAuthorized":  "PENDING",
		"AUTHORIZED":     "PRE_AUTHORIZED",
		"CAPTURED":       "PAID",
		"PARTIAL":        "PARTIALLY_REFUNDED",
		"CANCELLED":      "CANCELED",
	}[charge]
	if !ok {
		return charge
	}
	return word
}

// brazilian writes a time as PicPay's samples do, at Brazil's offset.
func brazilian(t time.Time) string {
	return t.In(time.FixedZone("", -3*60*60)).Format("2006-01-02T15:04:05-07:00")
}

// checkoutError is the documented error body.
type checkoutError struct {
	Message      string               `json:"message"`
	Success      bool                 `json:"success"`
	BusinessCode string               `json:"businessCode"`
	Errors       []checkoutFieldError `json:"errors"`
}

type checkoutFieldError struct {
	Message string `json:"message"`
	Field   string `json:"field"`
}

// checkoutRefusal has the documented message of 401; the business codes are
// made up, because no list of them is public.
func checkoutRefusal(status int) any {
	e := checkoutError{Errors: []checkoutFieldError{}}
	switch status {
	case http.StatusUnauthorized:
		e.Message, e.BusinessCode = "Authorization token not found.", "UNAUTHORIZED"
	case http.StatusBadRequest:
		e.Message, e.BusinessCode = "Charge not found.", "CHARGE_NOT_FOUND"
		e.Errors = append(e.Errors, checkoutFieldError{Message: "charge not found", Field: "merchantChargeId"})
	case http.StatusNotFound:
		e.Message, e.BusinessCode = "Not found.", "NOT_FOUND"
	case http.StatusTooManyRequests:
		e.Message, e.BusinessCode = "API rate limit exceeded", "TOO_MANY_REQUESTS"
	default:
		e.Message, e.BusinessCode = http.StatusText(status), "ERROR"
	}
	return e
}
