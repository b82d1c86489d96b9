package load

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers/picpaycheckout"
)

// rendered is the request of a payment as the server parses it, and its body.
func rendered(t *testing.T, p Payment) (*http.Request, []byte) {
	t.Helper()
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close(); server.Close() })
	s := newSender("127.0.0.1:8080")
	s.conn = client
	s.in.Reset(client)
	sent := make(chan int, 1)
	go func() {
		status, _ := s.send(t.Context(), p)
		sent <- status
	}()
	got, err := http.ReadRequest(bufio.NewReader(server))
	testbench.Must(t, err)
	body, err := io.ReadAll(got.Body)
	testbench.Must(t, err)
	if _, err := io.WriteString(server, good); err != nil {
		t.Fatal(err)
	}
	if status := <-sent; status != 200 {
		t.Errorf("status %d", status)
	}
	return got, body
}

// TestRequestIsTheDocumentedSample compares it with the adapter's fixture,
// which is the sample byte for byte.
func TestRequestIsTheDocumentedSample(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../../../schemas/providers/picpaycheckout/testdata/seed_payment.txtar")
	testbench.Must(t, err)
	seed := map[string]string{}
	for _, f := range txtar.Parse(data).Files {
		seed[f.Name] = string(f.Data)
	}
	if string(documented) != seed["webhook.body"] {
		t.Error("payment.json differs from webhook.body of seed_payment.txtar; copy it")
	}
	got, _ := rendered(t, Payment{})
	for line := range strings.Lines(seed["webhook.headers"]) {
		name, want, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if name == "host" || name == "content-length" || name == "connection" {
			continue // Those of the address, body and connection that are really used.
		}
		if have := got.Header.Get(name); have != want {
			t.Errorf("header %s is %q, the sample has %q", name, have, want)
		}
	}
	if got.Close || got.Host != "127.0.0.1:8080" || got.ContentLength != int64(len(documented)) || got.URL.Path != Route {
		t.Errorf("got %+v", got)
	}
}

func TestEachRequestNamesItsOwnPayment(t *testing.T) {
	t.Parallel()
	want := Payment{513, 0xabcdef}
	sent, body := rendered(t, want)
	w := provider.Webhook{Header: values(sent.Header), Body: body}
	if _, err := picpaycheckout.Provider.Verify(w, []string{credential}); err != nil {
		t.Error(err)
	}
	notices, err := picpaycheckout.Provider.Notices(w)
	if err != nil || notices[0].Payment != want.String() || notices[0].Kind != order.Payment {
		t.Errorf("read as %+v, %v; want payment %s", notices, err, want)
	}
}

type values http.Header

func (v values) Values(name string) []string { return http.Header(v).Values(name) }

func TestPaymentIDsAreReadBack(t *testing.T) {
	t.Parallel()
	for _, want := range []Payment{{0, 0}, {1, 17}, {65535, 1<<48 - 1}} {
		if p, ok := ParsePayment(want.String()); !ok || p != want {
			t.Errorf("%v is read as %v, %v", want, p, ok)
		}
	}
	for _, id := range []string{
		"", documentedID[:35], "x" + documentedID[1:], strings.Replace(Payment{1, 1}.String(), "0001-", "zzzz-", 1),
		idPrefix + "0001-00000000000g", idPrefix + "0001x000000000001", idPrefix + "0001-0000000000001",
	} {
		if p, ok := ParsePayment(id); ok {
			t.Errorf("%q is read as %v", id, p)
		}
	}
}

// TestConnectionErrorIsNoAnswer ends connections at every byte of an answer.
func TestConnectionErrorIsNoAnswer(t *testing.T) {
	t.Parallel()
	for cut := range good {
		address, _ := serve(t, func(int64) string { return good[:cut] })
		r, err := Webhooks(t.Context(), address, 1, Options{Rate: 100, For: 10 * time.Millisecond}) // One request.
		if err != nil || r.Total != 0 || r.Failed["connection"]+r.Failed["answer"] != 1 || len(r.Failed) != 1 {
			t.Errorf("after %d bytes: %d accepted, %v, %v", cut, r.Total, r.Failed, err)
		}
		if cut < len(good)-len("Ok")-1 && r.Failed["connection"] != 1 {
			t.Errorf("after %d bytes of the head: %v", cut, r.Failed)
		}
	}
}

func TestServerThatIsGoneIsAnError(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testbench.Must(t, err)
	listener.Close()
	if _, err := Webhooks(t.Context(), listener.Addr().String(), 2, Options{For: time.Millisecond}); err == nil {
		t.Error("no error")
	}
	s := newSender(listener.Addr().String())
	if status, problem := s.send(context.Background(), Payment{}); status != 0 || problem != "connection" {
		t.Errorf("status %d, problem %q", status, problem)
	}
	if !bytes.Contains(s.request, []byte(documentedID)) {
		t.Error("the request has been changed without a connection")
	}
}
