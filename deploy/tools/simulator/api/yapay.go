package api

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"
)

// yapay is the slug of Yapay Intermediador.
const yapay = "yapay"

// yapayNames are the status names of Yapay's tables.
var yapayNames = map[string]string{
	"4": "Aguardando Pagamento", "5": "Em Processamento", "6": "Aprovada", "7": "Cancelada",
	"24": "Em Contestação", "87": "Em Monitoramento", "88": "Em Recuperação", "89": "Reprovada",
	"184": "Aguardando confirmação",
}

func yapayDialect() dialect {
	return dialect{
		opening:  map[unit]string{payments: "4"},
		word:     numberWord,
		question: yapayQuestion,
		missing:  func(unit) int { return http.StatusNotFound },
		answer:   yapayAnswer,
		refusal:  yapayRefusal,
		webhook:  yapayWebhook,
	}
}

// yapayQuestion: GET transactions/get_by_token_brief with both tokens in the
// query.
func yapayQuestion(r *http.Request, path []string, _ time.Time) (question, bool) {
	if len(path) != 2 || path[0] != "transactions" || path[1] != "get_by_token_brief" {
		return question{}, false
	}
	query := r.URL.Query()
	return question{payments, query.Get("token_transaction"), holderOf(query.Get("token_account"), "yapay-lookup-token")}, true
}

type yapayReply struct {
	MessageResponse yapayMessage  `json:"message_response"`
	DataResponse    *yapayData    `json:"data_response,omitempty"`
	ErrorResponse   *yapayProblem `json:"error_response,omitempty"`
}

type yapayMessage struct {
	Message string `json:"message"`
}

type yapayData struct {
	Transaction yapayTransaction `json:"transaction"`
}

// yapayTransaction is the brief form, without the customer. Ids and split are
// numbers here and text in the webhook; prices are text but for a refund's
// value.
type yapayTransaction struct {
	OrderNumber      string        `json:"order_number"`
	TransactionID    int64         `json:"transaction_id"`
	StatusName       string        `json:"status_name"`
	StatusID         json.Number   `json:"status_id"`
	TokenTransaction string        `json:"token_transaction"`
	Payment          yapayPayment  `json:"payment"`
	Refunds          []yapayRefund `json:"refunds"`
}

type yapayPayment struct {
	PriceOriginal     string  `json:"price_original"`
	PricePayment      string  `json:"price_payment"`
	PaymentResponse   *string `json:"payment_response"`
	URLPayment        string  `json:"url_payment"`
	TID               string  `json:"tid"`
	Split             int     `json:"split"`
	PaymentMethodID   int     `json:"payment_method_id"`
	PaymentMethodName string  `json:"payment_method_name"`
	LinhaDigitavel    *string `json:"linha_digitavel"`
	DatePayment       *int64  `json:"date_payment"` // Unix seconds.
	DateApproval      *int64  `json:"date_approval"`
}

type yapayRefund struct {
	ID               int64       `json:"id"`
	Value            json.Number `json:"value"`
	Observation      string      `json:"observation"`
	StatusID         int         `json:"status_id"`
	StatusName       string      `json:"status_name"`
	RefundKindID     int         `json:"refund_kind_id"`
	RefundKindName   string      `json:"refund_kind_name"`
	RefundMethodID   int         `json:"refund_method_id"`
	RefundMethodName string      `json:"refund_method_name"`
	CreatedAt        int64       `json:"created_at"` // Unix seconds.
}

func yapayAnswer(k key, p payment) any {
	return yapayReply{
		MessageResponse: yapayMessage{"success"},
		DataResponse: &yapayData{yapayTransaction{
			OrderNumber:      p.Order,
			TransactionID:    yapayNumber(p.Reference),
			StatusName:       yapayNames[p.Status],
			StatusID:         json.Number(p.Status),
			TokenTransaction: k.ID,
			Payment:          yapayPaymentOf(p),
			Refunds:          yapayRefunds(p),
		}},
	}
}

func yapayPaymentOf(p payment) yapayPayment {
	out := yapayPayment{
		PriceOriginal:     decimal(p.Amount, 1),
		PricePayment:      decimal(p.Amount, 1),
		URLPayment:        "https://intermediador-sandbox.yapay.com.br/orders/show/" + p.Reference,
		TID:               "00000642891",
		Split:             1,
		PaymentMethodID:   27,
		PaymentMethodName: "Pix",
	}
	if yapayPaid(p.Status) {
		at := p.Since.Unix()
		out.DatePayment, out.DateApproval = &at, &at
	}
	return out
}

// yapayPaid reports whether the payer has paid: approved, contested or
// cancelled, which is also what a refund leads to.
func yapayPaid(status string) bool { return status == "6" || status == "7" || status == "24" }

// yapayRefunds lists what was given back as one finished refund, of kind full
// when nothing is left.
func yapayRefunds(p payment) []yapayRefund {
	if p.Refunded == 0 {
		return []yapayRefund{}
	}
	kind, name := 52, "refund_kind_partial"
	if p.Refunded >= p.Amount {
		kind, name = 53, "refund_kind_full"
	}
	return []yapayRefund{{
		ID:               yapayNumber(p.Reference) + 1,
		Value:            json.Number(decimal(p.Refunded, 1)),
		Observation:      "Cancelamento",
		StatusID:         157,
		StatusName:       "Finalizado",
		RefundKindID:     kind,
		RefundKindName:   name,
		RefundMethodID:   54,
		RefundMethodName: "refund_method_withdraw",
		CreatedAt:        p.Changed.Unix(),
	}}
}

// yapayNumber is the transaction id that goes with a reference.
func yapayNumber(reference string) int64 {
	raw, err := hex.DecodeString(reference)
	if err != nil || len(raw) < 4 {
		return 1
	}
	return int64(binary.BigEndian.Uint32(raw))
}

type yapayProblem struct {
	GeneralErrors []yapayError `json:"general_errors"`
}

type yapayError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// yapayRefusal has the documented codes of an unknown account and an unknown
// transaction. The HTTP status of the former is not documented.
func yapayRefusal(status int) any {
	e := yapayError{"000000", "Erro interno"}
	switch status {
	case http.StatusUnauthorized:
		e = yapayError{"001001", "Token inválido ou não encontrado"}
	case http.StatusNotFound:
		e = yapayError{"003005", "Transação inválida ou inexistente"}
	}
	return yapayReply{
		MessageResponse: yapayMessage{"error"},
		ErrorResponse:   &yapayProblem{[]yapayError{e}},
	}
}
