package picpaycheckout_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/provider/providertest"
	"arauto/schemas/providers/picpaycheckout"
)

func FuzzRead(f *testing.F) {
	providertest.FuzzRead(f, picpaycheckout.Provider, providertest.Dir("testdata"))
}

func FuzzAnswer(f *testing.F) {
	providertest.FuzzAnswer(f, picpaycheckout.Provider, providertest.Dir("testdata"))
}

// A charge that stays PAID while it is given back in two parts has three
// events, whatever the word says.
func TestEveryRefundOfAChargeThatStaysPaidIsAnnounced(t *testing.T) {
	t.Parallel()
	var s order.Standing
	var told []string
	for _, sum := range []int64{0, 500, 1000} {
		f, err := picpaycheckout.Provider.Answer(provider.Target{Kind: order.Payment, Payment: "p"}, provider.Account{}, provider.Reply{
			Status: http.StatusOK,
			Body:   fmt.Appendf(nil, `{"merchantChargeId":"p","chargeStatus":"PAID","originalAmount":1000,"refundedAmount":%d}`, sum),
		})
		if err != nil {
			t.Fatal(err)
		}
		after, outcome := s.Fold(order.Observation{Kind: f.Kind, Status: f.Status, Amount: f.Amount}, time.Time{})
		s, told = after, append(told, fmt.Sprintf("%s: %s %d", outcome, after.Status, after.Refunded))
	}
	if want := []string{"applied: paid 0", "applied: partially_refunded 500", "applied: refunded 1000"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

// The reference of an authentication is its chargeId, which comes from the
// webhook and has no documented form.
func TestPersonalChargeIDIsNoReference(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{"bac0ffd7-e4cb-48c7-9f3e-a05ff7eb40a1": "bac0ffd7-e4cb-48c7-9f3e-a05ff7eb40a1", "529.982.247-25": "", "maria@example.com": ""} {
		f, err := picpaycheckout.Provider.Answer(provider.Target{Kind: order.Authentication, Payment: "3ds-" + id}, provider.Account{},
			provider.Reply{Status: http.StatusOK, Body: []byte(`{"status":"AUTHENTICATED"}`)})
		if err != nil || f.ProviderReference != want {
			t.Errorf("chargeId %s gives the reference %q, %v", id, f.ProviderReference, err)
		}
	}
}

func TestTokenIsGoodWhateverItSaysOfItsLifetime(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]time.Duration{
		`"300"`: 5 * time.Minute, `300.0`: 5 * time.Minute, `3e2`: 5 * time.Minute, `null`: 5 * time.Minute, `-1`: 5 * time.Minute,
		`"soon"`: 5 * time.Minute, `"NaN"`: 5 * time.Minute, `{}`: 5 * time.Minute, `true`: 5 * time.Minute, `0`: 5 * time.Minute,
		`"60"`: time.Minute, `90.5`: 90*time.Second + 500*time.Millisecond, `1e300`: 24 * time.Hour, `"Inf"`: 24 * time.Hour,
	} {
		k, err := picpaycheckout.Provider.Login.Answer(provider.Reply{Status: http.StatusOK, Body: []byte(`{"access_token":"t","expires_in":` + said + `}`)})
		if err != nil || k.Lifetime != want || k.Value != "t" {
			t.Errorf("expires_in %s gives %+v, %v", said, k, err)
		}
	}
}

func TestTokenEndpointRefusesTheClientWith400Too(t *testing.T) {
	t.Parallel()
	for body, refused := range map[string]bool{
		`{"error":"invalid_client"}`: true, `{"error":"unauthorized_client","error_description":"x"}`: true,
		`{"error":"invalid_request"}`: false, `{"error":{}}`: false, `{}`: false, `<html>invalid_client`: false,
	} {
		_, err := picpaycheckout.Provider.Login.Answer(provider.Reply{Status: http.StatusBadRequest, Body: []byte(body)})
		if errors.Is(err, provider.ErrCredential) != refused || errors.Is(err, provider.ErrRefused) == refused {
			t.Errorf("400 %s gives %v", body, err)
		}
	}
}

func TestWordsMeanWhatTheDocumentsSay(t *testing.T) {
	t.Parallel()
	providertest.Words(t, picpaycheckout.Provider, order.Payment, map[order.Status]string{
		order.Pending: "PRE_AUTHORIZED PreAuthorized CREATED", order.Authorized: "AUTHORIZED", order.Paid: "PAID CAPTURED",
		order.PartiallyRefunded: "PARTIAL", order.Refunded: "REFUNDED", order.ChargedBack: "CHARGEBACK", order.Expired: "EXPIRED",
		order.Canceled: "CANCELED CANCELLED", order.Refused: "DENIED", order.Failed: "ERROR",
	})
	providertest.Words(t, picpaycheckout.Provider, order.Authentication, map[order.Status]string{
		order.Authenticated: "Approved AUTHENTICATED", order.NotAuthenticated: "REJECTED FAILED Rejected",
		order.Pending: "CREATED Challenged",
	})
}
