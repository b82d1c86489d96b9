package api_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"arauto/deploy/tools/simulator/api"
)

func TestLookUpsHaveTheDocumentedShape(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	b.steer("picpay/default/payments/partial", `{"status":"paid","amount":9599,"refunded":599}`)
	b.steer("picpay/default/payments/open", `{}`)
	b.steer("picpay-checkout/default/payments/half", `{"status":"PARTIAL","amount":1000,"refunded":500}`)
	b.steer("picpay-checkout/default/payments/held", `{"status":"AUTHORIZED","amount":1000}`)
	b.steer("yapay/default/payments/tok1", `{"status":7,"amount":65000,"refunded":65000,"order":"613620"}`)
	b.steer("yapay/default/payments/tok2", `{"status":"4","amount":10401}`)
	b.steer("beeteller/default/payments/bee1", `{"status":"PAID","order":"ref-1"}`)
	b.steer("beeteller/default/payments/bee2", `{"status":"REJECTED","order":"ref-2"}`)
	b.steer("sandbox/default/payments/box", `{"status":"paid","order":"o-1","amount":100,"refunded":1}`)
	cases := map[string]struct{ provider, id, want string }{
		"picpay example": {"picpay", "102030",
			`{"authorizationId":"555008cef7f321d00ef236333","referenceId":"102030","status":"paid","summary":{"authorized":100,"paid":100,"refunded":0}}`},
		"picpay partial refund keeps the word": {"picpay", "partial",
			`{"authorizationId":"` + reference("picpay", "partial") + `","referenceId":"partial","status":"paid","summary":{"authorized":95.99,"paid":95.99,"refunded":5.99}}`},
		"picpay unpaid has no authorization": {"picpay", "open",
			`{"referenceId":"open","status":"created","summary":{"authorized":100,"paid":0,"refunded":0}}`},
		"checkout example": {"picpay-checkout", "61e35ec2-caa8-4598-bed5-d43e25e14151",
			charge("61e35ec2-caa8-4598-bed5-d43e25e14151", "07bef486-8d86-41b8-804b-f68e343a1791", "PAID", "PAID", "10000", "10000", "0")},
		"checkout partial": {"picpay-checkout", "half",
			charge("half", uuid("picpay-checkout", "half"), "PARTIAL", "PARTIALLY_REFUNDED", "500", "1000", "500")},
		"checkout hold": {"picpay-checkout", "held",
			charge("held", uuid("picpay-checkout", "held"), "AUTHORIZED", "PRE_AUTHORIZED", "1000", "1000", "0")},
		"checkout 3DS example": {"picpay-checkout", "3ds/bac0ffd7-e4cb-48c7-9f3e-a05ff7eb40a1/status", `{"hasChallenged":true,"status":"AUTHENTICATED"}`},
		"beeteller paid":       {"beeteller", "bee1", `{"order":"bee1","status":"PAID","reference":"ref-1","type":"REVERSE_PIX"}`},
		"beeteller rejected":   {"beeteller", "bee2", `{"order":"bee2","status":"REJECTED","reference":"ref-2","type":"REVERSE_PIX","rejection_reason":"pix.timeout"}`},
		"sandbox":              {"sandbox", "box", `{"payment":"box","order":"o-1","status":"paid","amount":100,"refunded":1}`},
		"yapay refunded": {"yapay", "tok1", `{"message_response":{"message":"success"},"data_response":{"transaction":{` +
			`"order_number":"613620","transaction_id":` + number("tok1", 0) + `,"status_name":"Cancelada","status_id":7,"token_transaction":"tok1",` +
			`"payment":{"price_original":"650.0","price_payment":"650.0","payment_response":null,"url_payment":"https://intermediador-sandbox.yapay.com.br/orders/show/` + reference("yapay", "tok1") + `",` +
			`"tid":"00000642891","split":1,"payment_method_id":27,"payment_method_name":"Pix","linha_digitavel":null,"date_payment":1795359600,"date_approval":1795359600},` +
			`"refunds":[{"id":` + number("tok1", 1) + `,"value":650.0,"observation":"Cancelamento","status_id":157,"status_name":"Finalizado","refund_kind_id":53,"refund_kind_name":"refund_kind_full",` +
			`"refund_method_id":54,"refund_method_name":"refund_method_withdraw","created_at":1795359600}]}}}`},
		"yapay open": {"yapay", "tok2", `{"message_response":{"message":"success"},"data_response":{"transaction":{` +
			`"order_number":"tok2","transaction_id":` + number("tok2", 0) + `,"status_name":"Aguardando Pagamento","status_id":4,"token_transaction":"tok2",` +
			`"payment":{"price_original":"104.01","price_payment":"104.01","payment_response":null,"url_payment":"https://intermediador-sandbox.yapay.com.br/orders/show/` + reference("yapay", "tok2") + `",` +
			`"tid":"00000642891","split":1,"payment_method_id":27,"payment_method_name":"Pix","linha_digitavel":null,"date_payment":null,"date_approval":null},"refunds":[]}}}`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := b.mustLook(c.provider, c.id)
			if got.status != http.StatusOK || !sameJSON(got.body, c.want) {
				t.Errorf("got  %d %s\nwant 200 %s", got.status, got.body, c.want)
			}
		})
	}
}

func charge(id, transaction, word, transactionWord, amount, original, refunded string) string {
	sums := `"amount":` + amount + `,"originalAmount":` + original + `,"refundedAmount":` + refunded
	return `{"merchantChargeId":"` + id + `","id":"` + transaction + `","chargeStatus":"` + word + `",` + sums +
		`,"transactions":[{"paymentType":"CREDIT","transactionStatus":"` + transactionWord + `",` + sums +
		`,"createdAt":"2026-11-22T12:00:00-03:00","updatedAt":"2026-11-22T12:00:00-03:00","transactionId":"` + transaction +
		`","softDescriptor":null,"errorMessage":null,"mac":null,"credit":{"reasonCode":"00"},"wallet":null,"pix":null}]}`
}

func TestYapayPartialRefundIsOfKind52(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	b.steer("yapay/default/payments/tok", `{"status":6,"amount":10000,"refunded":2550}`)
	got := b.mustLook("yapay", "tok").body
	for _, want := range []string{`"status_id":6,`, `"value":25.5}`, `"refund_kind_id":52,"refund_kind_name":"refund_kind_partial"`} {
		if !strings.Contains(got, want) {
			t.Errorf("answer lacks %s: %s", want, got)
		}
	}
}

func TestUnknownPaymentsAreRefusedInTheProvidersWords(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	cases := map[string]struct {
		provider, id, body string
		status             int
	}{
		"picpay":       {"picpay", "nobody", `{"message":"Pedido não encontrado"}`, 404},
		"checkout":     {"picpay-checkout", "nobody", `{"message":"Charge not found.","success":false,"businessCode":"CHARGE_NOT_FOUND","errors":[{"message":"charge not found","field":"merchantChargeId"}]}`, 400},
		"checkout 3DS": {"picpay-checkout", "3ds/nobody/status", `{"message":"Not found.","success":false,"businessCode":"NOT_FOUND","errors":[]}`, 404},
		"yapay":        {"yapay", "nobody", `{"message_response":{"message":"error"},"error_response":{"general_errors":[{"code":"003005","message":"Transação inválida ou inexistente"}]}}`, 404},
		"beeteller":    {"beeteller", "nobody", `{"error":"Not Found"}`, 404},
		"sandbox":      {"sandbox", "nobody", `{"error":"Not Found"}`, 404},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := b.mustLook(c.provider, c.id); got.status != c.status || !sameJSON(got.body, c.body) {
				t.Errorf("got  %d %s\nwant %d %s", got.status, got.body, c.status, c.body)
			}
		})
	}
}

func TestBadCredentialsAreRefusedInTheProvidersWords(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	const checkout401 = `{"message":"Authorization token not found.","success":false,"businessCode":"UNAUTHORIZED","errors":[]}`
	cases := map[string]struct {
		path   string
		header []string
		body   string
	}{
		"picpay wrong":      {"/picpay/payments/102030/status", []string{"x-picpay-token", "wrong"}, `{"message":"O Token informado é inválido"}`},
		"picpay none":       {"/picpay/payments/102030/status", nil, `{"message":"O Token informado é inválido"}`},
		"checkout none":     {"/picpay-checkout/charge/x", nil, checkout401},
		"checkout no dot":   {"/picpay-checkout/charge/x", []string{"authorization", "Bearer x"}, checkout401},
		"checkout forged":   {"/picpay-checkout/charge/x", []string{"authorization", "Bearer " + b.token("default") + "x"}, checkout401},
		"checkout basic":    {"/picpay-checkout/charge/x", []string{"authorization", "Basic " + b.token("default")}, checkout401},
		"checkout 3DS":      {"/picpay-checkout/charge/3ds/x/status", nil, checkout401},
		"yapay wrong":       {"/yapay/transactions/get_by_token_brief?token_account=wrong&token_transaction=x", nil, `{"message_response":{"message":"error"},"error_response":{"general_errors":[{"code":"001001","message":"Token inválido ou não encontrado"}]}}`},
		"beeteller wrong":   {"/beeteller/orders/x", []string{"authorization", "wrong"}, `{"error":"Unauthorized"}`},
		"sandbox wrong":     {"/sandbox/payments/x", []string{"authorization", "wrong"}, `{"error":"Unauthorized"}`},
		"sandbox doubled":   {"/sandbox/payments/x", []string{"authorization", "acme-acme-sandbox-lookup-token"}, `{"error":"Unauthorized"}`},
		"sandbox webhook's": {"/sandbox/payments/x", []string{"authorization", "sandbox-local-token"}, `{"error":"Unauthorized"}`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := b.do(http.MethodGet, c.path, "", c.header...); got.status != http.StatusUnauthorized || !sameJSON(got.body, c.body) {
				t.Errorf("got  %d %s\nwant 401 %s", got.status, got.body, c.body)
			}
		})
	}
}

func TestCheckoutRefusesBadLogins(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	cases := map[string]struct {
		body   string
		status int
	}{
		"wrong secret":             {`{"grant_type":"client_credentials","client_id":"checkout-client","client_secret":"x"}`, 401},
		"another account's secret": {`{"grant_type":"client_credentials","client_id":"checkout-client","client_secret":"acme-checkout-secret"}`, 401},
		"unknown client":           {`{"grant_type":"client_credentials","client_id":"x","client_secret":"checkout-secret"}`, 401},
		"nothing":                  {`{"grant_type":"client_credentials"}`, 401},
		"other grant":              {`{"grant_type":"password","client_id":"checkout-client","client_secret":"checkout-secret"}`, 400},
		"form":                     {`grant_type=client_credentials`, 400},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := b.do(http.MethodPost, "/picpay-checkout/oauth2/token", c.body)
			if got.status != c.status || !strings.Contains(got.body, `"success":false`) {
				t.Errorf("got %d %s, want %d", got.status, got.body, c.status)
			}
		})
	}
	if got := b.do(http.MethodGet, "/picpay-checkout/oauth2/token", ""); got.status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", got.status)
	}
}

func TestCheckoutTokensEndAfterFiveMinutesAndSurviveARestart(t *testing.T) {
	t.Parallel()
	var passed atomic.Int64
	clock := func() time.Time { return noon.Add(time.Duration(passed.Load())) }
	const path = "/picpay-checkout/charge/61e35ec2-caa8-4598-bed5-d43e25e14151"
	token := simulate(t, api.Options{Now: clock}).token("default")
	b := simulate(t, api.Options{Now: clock})
	passed.Store(int64(5*time.Minute - time.Millisecond))
	if got := b.do(http.MethodGet, path, "", "authorization", "Bearer "+token); got.status != http.StatusOK {
		t.Errorf("before its end: %d %s", got.status, got.body)
	}
	passed.Store(int64(5 * time.Minute))
	if got := b.do(http.MethodGet, path, "", "authorization", "Bearer "+token); got.status != http.StatusUnauthorized {
		t.Errorf("at its end: %d %s", got.status, got.body)
	}
}

func TestAccountsDoNotShareTheirPayments(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	b.steer("picpay/acme/payments/102030", `{"status":"refunded"}`)
	got := b.do(http.MethodGet, "/picpay/payments/102030/status", "", "x-picpay-token", "acme-picpay-lookup-token")
	if !strings.Contains(got.body, `"status":"refunded"`) {
		t.Errorf("acme: %s", got.body)
	}
	if got := b.mustLook("picpay", "102030"); !strings.Contains(got.body, `"status":"paid"`) {
		t.Errorf("default: %s", got.body)
	}
	b.steer("picpay-checkout/acme/payments/only-acme", `{"status":"PAID"}`)
	got = b.do(http.MethodGet, "/picpay-checkout/charge/only-acme", "", "authorization", "Bearer "+b.token("acme"))
	if got.status != http.StatusOK {
		t.Errorf("acme's charge: %d %s", got.status, got.body)
	}
	if got := b.mustLook("picpay-checkout", "only-acme"); got.status != http.StatusBadRequest {
		t.Errorf("acme's charge as default: %d %s", got.status, got.body)
	}
}

func TestOtherPathsAndMethodsAreRefused(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	cases := map[string]struct {
		method, path string
		status       int
	}{
		"unknown provider":     {"GET", "/elsewhere/payments/1", 404},
		"root":                 {"GET", "/", 404},
		"path of another":      {"GET", "/picpay/charge/1", 404},
		"slash behind":         {"GET", "/sandbox/payments/1/", 404},
		"doubled slash":        {"GET", "/sandbox//payments/1", 404},
		"POST to a look-up":    {"POST", "/sandbox/payments/1", 405},
		"no token transaction": {"GET", "/yapay/transactions/get_by_token_brief?token_account=yapay-lookup-token", 404},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := b.do(c.method, c.path, ""); got.status != c.status {
				t.Errorf("got %d %s, want %d", got.status, got.body, c.status)
			}
		})
	}
}
