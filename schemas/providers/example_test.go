package providers_test

import (
	"fmt"
	"net/http"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers/beeteller"
	"arauto/schemas/providers/sandbox"
)

// webhook is what the sandbox sends.
var webhook = provider.Webhook{
	Header: provider.HeaderMap{"authorization": {"Bearer sandbox-token"}}, Body: []byte(`{"payment":"p-1","order":"o-1","status":"paid"}`),
}

func Example_verify() {
	which, err := sandbox.Provider.Verify(webhook, []string{"sandbox-token", "its-successor"})
	fmt.Println("secret", which, err)
	_, err = sandbox.Provider.Verify(webhook, []string{"another"})
	fmt.Println(err)
	// Output:
	// secret 0 <nil>
	// webhook credential does not match
}

// The body's status is not read: it may be forged.
func Example_read() {
	notices, err := sandbox.Provider.Read(webhook)
	for _, n := range notices {
		fmt.Println(n.Kind, n.Payment, n.Order, err)
	}
	// Output: payment p-1 o-1 <nil>
}

func Example_ask() {
	account := provider.Account{Settings: map[string]string{"base_url": "https://bank.example", "token": "look-up-token"}}
	question, err := sandbox.Provider.Ask(provider.Target{Kind: order.Payment, Payment: "p/1"}, account)
	fmt.Println(question.Method, question.URL, err)
	// Output: GET https://bank.example/payments/p%2F1 <nil>
}

func Example_answer() {
	target := provider.Target{Kind: order.Payment, Payment: "p-1"}
	for _, word := range []string{"paid", "moonlit"} {
		reply := provider.Reply{Status: http.StatusOK, Body: []byte(`{"payment":"p-1","order":"o-1","status":"` + word + `","amount":10000}`)}
		fact, err := sandbox.Provider.Answer(target, provider.Account{}, reply)
		fmt.Printf("%q %q %v\n", fact.Status, fact.ProviderStatus, err)
	}
	// Output:
	// "paid" "paid" <nil>
	// "" "moonlit" unknown provider word "moonlit"
}

// A provider without a look-up is believed as far as its webhook is authenticated.
func Example_payload() {
	fields := map[string]string{"status": "PAID", "reference": "o-1"}
	fact, err := beeteller.Provider.Payload(provider.Target{Kind: order.Payout, Payment: "b-1", Fields: fields})
	fmt.Println(fact.Kind, fact.Order, fact.Status, err)
	// Output: payout o-1 paid <nil>
}
