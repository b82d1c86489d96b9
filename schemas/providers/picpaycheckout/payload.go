package picpaycheckout

import (
	"errors"
	"strings"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/wire"
)

// The types of a notification, as the body names them.
const (
	typePayment   = "PAYMENT"
	typeChallenge = "THREE_DS_CHALLENGE"
)

// messages are the same types as the event-type header names them.
var messages = map[string]string{
	"TransactionUpdateMessage":  typePayment,
	"Challenge3dsUpdateMessage": typeChallenge,
}

// envelope is what every notification has around its data. eventDate may be
// missing or without a zone, and id does not tell events apart: the documented
// payment and 3DS samples share one. Some senders leave the envelope away: what
// stands at the top is read where there is no data.
type envelope struct {
	Type      string          `json:"type"`
	ID        wire.HintID     `json:"id"`
	EventDate wire.Loose      `json:"eventDate"`
	Data      wire.Part[data] `json:"data"`
	Bare      data            `json:",embed"`
}

// data is what any type has that we read: a charge its id of the merchant, a
// challenge one more of its own.
type data struct {
	MerchantChargeID wire.HintID `json:"merchantChargeId"`
	ChargeID         wire.HintID `json:"chargeId"`
	Status           wire.Loose  `json:"status"`
	PARes            wire.Loose  `json:"paresStatus"`
	ECI              wire.Loose  `json:"eciRaw"`
}

func read(w provider.Webhook) (provider.Notice, error) {
	var e envelope
	if err := provider.DecodeWebhook(w, &e); err != nil {
		return provider.Notice{}, err
	}
	d := e.Data.Fields
	if !e.Data.Present {
		d = e.Bare
	}
	switch word := typeOf(e, w.Header); {
	case strings.EqualFold(word, typePayment):
		return readCharge(e, d)
	case strings.EqualFold(word, typeChallenge):
		return readChallenge(e, d)
	default: // Its data may have any shape, so that any id that is there is taken.
		return provider.Unknown(order.Payment, word, d.MerchantChargeID.Loose(), d.ChargeID.Loose(), e.ID.Loose())
	}
}

// typeOf is the notification's type: the body's, else the header's, which the
// documents spell in two ways, else a payment, since PicPay's Pix webhook has
// the same contract with payments only.
func typeOf(e envelope, h provider.Header) string {
	if e.Type != "" {
		return e.Type
	}
	for _, name := range []string{"event-type", "event_type"} {
		for _, value := range h.Values(name) {
			for message, word := range messages {
				if strings.EqualFold(message, strings.TrimSpace(value)) {
					return word
				}
			}
			if value != "" {
				return value
			}
		}
	}
	return typePayment
}

// maxMerchantCharge is how many bytes a merchantChargeId may have. PicPay
// documents 6 to 36 characters of ^[a-zA-Z0-9-]+$ where a charge is made and
// where it is looked up (developers-business.picpay.com, checkout and pix,
// docs/api/charge-pix and find-charge). It makes no charge with another id and
// answers no question about one, so that no true webhook has one. The lower
// bound protects nothing and is not held. A chargeId has no documented form.
const maxMerchantCharge = 36

// checkCharge says why a payment, whose id the named field has, and its
// merchantChargeId, "" for none, cannot be used.
func checkCharge(field, payment, merchant string) error {
	if err := provider.CheckNamed(field, payment, "merchantChargeId", merchant); err != nil {
		return err
	}
	return provider.CheckForm("merchantChargeId", merchant, maxMerchantCharge, "-")
}

func readCharge(e envelope, d data) (provider.Notice, error) {
	charge, err := d.MerchantChargeID.Strict()
	if err != nil {
		return provider.Notice{}, provider.Refuse(provider.RuleType, "merchantChargeId", "merchantChargeId: %w", err)
	}
	if err := checkCharge("merchantChargeId", charge, charge); err != nil {
		return provider.Notice{}, err
	}
	return provider.Notice{
		Kind: order.Payment, Payment: charge, Order: charge,
		Fields: provider.Present(map[string]string{"status": string(d.Status), "eventDate": string(e.EventDate)}),
	}, nil
}

func readChallenge(e envelope, d data) (provider.Notice, error) {
	charge, problem := d.ChargeID.Strict()
	merchant, err := d.MerchantChargeID.Strict()
	if err := errors.Join(problem, err); err != nil {
		return provider.Notice{}, provider.Refuse(provider.RuleType, "chargeId or merchantChargeId", "chargeId or merchantChargeId: %w", err)
	}
	if err := provider.CheckNamed("chargeId", charge, "", ""); err != nil {
		return provider.Notice{}, err
	}
	if err := checkCharge("chargeId", challengePrefix+charge, merchant); err != nil {
		return provider.Notice{}, err
	}
	return provider.Notice{
		Kind: order.Authentication, Payment: challengePrefix + charge, Order: merchant,
		Fields: provider.Present(map[string]string{
			"status": string(d.Status), "eventDate": string(e.EventDate),
			"paresStatus": string(d.PARes), "eciRaw": string(d.ECI),
		}),
	}, nil
}
