package yapay

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/wire"
)

// maxRefunds bounds the sum of refunds, in centavos, far below an overflow.
const maxRefunds = 1 << 53

// reply is every answer of API v3: a success with data, or an error with
// codes.
type reply struct {
	MessageResponse wire.Struct[message]  `json:"message_response"`
	ErrorResponse   wire.Struct[problems] `json:"error_response"`
	DataResponse    wire.Struct[response] `json:"data_response"`
}

type message struct {
	Message string `json:"message"`
}

type problems struct {
	General    []wire.Struct[fault] `json:"general_errors"`
	Validation []wire.Struct[fault] `json:"validation_errors"`
}

type response struct {
	Transaction wire.Struct[transaction] `json:"transaction"`
}

// fault is one error. Its message is not read: it may quote what we sent.
type fault struct {
	Code wire.Text `json:"code"`
}

// transaction is the answer's core. Numbers come as numbers or as text,
// prices in decimal reais. price_payment has the instalments' interest, so it
// is not the order's amount.
type transaction struct {
	Token       wire.ID               `json:"token_transaction"`
	ID          wire.HintID           `json:"transaction_id"`
	OrderNumber wire.ID               `json:"order_number"`
	StatusID    wire.Text             `json:"status_id"`
	Payment     wire.Struct[payment]  `json:"payment"`
	Refunds     []wire.Struct[refund] `json:"refunds"`
}

type payment struct {
	PriceOriginal wire.Text  `json:"price_original"`
	DateApproval  wire.Loose `json:"date_approval"` // Unix seconds, or one of the form's formats.
}

type refund struct {
	Value    wire.Text `json:"value"`
	StatusID wire.Text `json:"status_id"`
	KindID   wire.Text `json:"refund_kind_id"`
}

// decode looks at the error codes first, because Yapay's HTTP statuses for
// them are mostly undocumented, and believes no 200 that does not say success.
func decode(r provider.Reply) (transaction, error) {
	var body reply
	err := provider.DecodeReply(provider.Reply{Status: http.StatusOK, Body: r.Body}, &body)
	success := strings.EqualFold(body.MessageResponse.Fields.Message, "success")
	if err == nil && !success {
		if class := body.class(); class != nil {
			return transaction{}, fmt.Errorf("status %d: %w", r.Status, class)
		}
		if r.Status == http.StatusBadRequest && body.faulty() {
			return transaction{}, fmt.Errorf("status %d: %w: it names an error that we do not know", r.Status, provider.ErrUnreadable)
		}
	}
	if err := cmp.Or(provider.NoAnswer(r, err == nil && body.faulty()), provider.StatusError(r.Status)); err != nil {
		return transaction{}, err
	}
	if err == nil && !success {
		err = fmt.Errorf("%w: it does not say success", provider.ErrUnreadable)
	}
	return body.DataResponse.Fields.Transaction.Fields, err
}

// class is what the first known error code means, nil when there is none.
func (r reply) class() error {
	problems := r.ErrorResponse.Fields
	for _, list := range [][]wire.Struct[fault]{problems.General, problems.Validation} {
		for _, f := range list {
			if class, ok := faults[string(f.Fields.Code)]; ok {
				return class
			}
		}
	}
	return nil
}

// faulty reports whether Yapay itself names an error. Which HTTP status it has is
// mostly undocumented, so that a 400 of its own need not be about the question.
func (r reply) faulty() bool {
	problems := r.ErrorResponse.Fields
	return len(problems.General)+len(problems.Validation) > 0
}

// back is what was given back and has arrived.
type back struct {
	sum  int64 // Centavos.
	any  bool
	full bool
}

// refunds sums up the finished refunds. A refund that is asked for leaves the
// transaction as it was until the money is recovered.
func (t transaction) refunds() (back, error) {
	var b back
	for _, entry := range t.Refunds {
		refund := entry.Fields
		if refund.StatusID != refundFinished {
			continue
		}
		cents, err := refund.Value.Cents()
		if err != nil {
			return back{}, fmt.Errorf("%w: refund: %w", provider.ErrUnreadable, err)
		}
		if b.sum += cents; b.sum > maxRefunds {
			return back{}, fmt.Errorf("%w: its refunds are absurdly large", provider.ErrUnreadable)
		}
		b.any = true
		b.full = b.full || refund.KindID == refundFull
	}
	return b, nil
}

// refine adds what the status id alone does not tell: an approved transaction
// may have been refunded in part or whole, and a canceled or refused one with a
// finished refund was paid before.
func (b back) refine(word order.Status, value int64) order.Status {
	switch {
	case !b.any, word != order.Paid && word != order.Canceled && word != order.Refused:
		return word
	case b.full:
		return order.Refunded
	case b.sum == 0: // It tells of no money that was given back, and so of none that came.
		return word
	}
	return provider.AfterRefunds(order.Paid, value, b.sum)
}
