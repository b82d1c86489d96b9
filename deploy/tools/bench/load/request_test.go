package load

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers/picpaycheckout"
)

// fixture is the adapter's, which is the documented sample byte for byte.
func fixture(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile("../../../../schemas/providers/picpaycheckout/testdata/seed_payment.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range txtar.Parse(data).Files {
		files[f.Name] = string(f.Data)
	}
	return files
}

func TestRequestIsTheDocumentedSample(t *testing.T) {
	t.Parallel()
	seed := fixture(t)
	if string(payment) != seed["webhook.body"] {
		t.Error("payment.json is not the webhook.body of seed_payment.txtar any more; copy it")
	}
	if credential != strings.TrimSpace(seed["webhook.secret"]) {
		t.Error("the credential is not the sample's")
	}
	r := render("127.0.0.1:8080", connection(1))
	got, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(r.bytes)))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(seed["webhook.headers"]) {
		name, want, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if name == "host" || name == "content-length" || name == "connection" {
			continue // Of the address and body that are really sent; net/http takes connection away.
		}
		if have := got.Header.Get(name); have != want {
			t.Errorf("header %s is %q, the sample has %q", name, have, want)
		}
	}
	if !got.Close || got.Host != "127.0.0.1:8080" || got.ContentLength != int64(len(payment)) || got.URL.Path != Route {
		t.Errorf("got %+v", got)
	}
	if keeps := render("h", connection(0)); bytes.Contains(keeps.bytes, []byte("connection: close")) {
		t.Error("a kept connection says that it closes")
	}
}

func TestEachRequestNamesItsOwnPayment(t *testing.T) {
	t.Parallel()
	r := render("host", connection(0))
	r.address(513, 0xabcdef)
	sent, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(r.bytes)))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(sent.Body)
	if err != nil {
		t.Fatal(err)
	}
	w := provider.Webhook{Header: values(sent.Header), Body: body}
	if _, err := picpaycheckout.Provider.Verify(w, []string{credential}); err != nil {
		t.Error(err)
	}
	notice, err := picpaycheckout.Provider.Read(w)
	if err != nil || notice.Payment != PaymentID(513, 0xabcdef) || notice.Kind != order.Payment {
		t.Errorf("read as %+v, %v; want payment %s", notice, err, PaymentID(513, 0xabcdef))
	}
}

type values http.Header

func (v values) Values(name string) []string { return http.Header(v).Values(name) }

func TestPaymentIDsAreReadBack(t *testing.T) {
	t.Parallel()
	for _, want := range []struct {
		group uint16
		n     uint64
	}{{0, 0}, {1, 17}, {65535, 1<<48 - 1}} {
		group, n, ok := ParsePaymentID(PaymentID(want.group, want.n))
		if !ok || group != want.group || n != want.n {
			t.Errorf("%v is read as %d, %d, %v", want, group, n, ok)
		}
	}
	for _, id := range []string{"", seedPayment[:35], "x" + seedPayment[1:], strings.Replace(PaymentID(1, 1), "0001-", "zzzz-", 1), idPrefix + "0001-00000000000g", idPrefix + "0001x000000000001"} {
		if _, _, ok := ParsePaymentID(id); ok {
			t.Errorf("%q is read as one of ours", id)
		}
	}
}
