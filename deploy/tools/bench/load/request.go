package load

import (
	"bytes"
	_ "embed" // The payment is data.
	"fmt"
	"strconv"
)

// payment is the documented PicPay Checkout payment notification. A test
// holds it to the adapter's fixture, which holds the seed.
//
//go:embed payment.json
var payment []byte

// Route is where the gateway takes the notification.
const Route = "/v1/picpay-checkout/notifications"

// credential is the local webhook secret of account default.
const credential = "a45c2dee-6435-1234-5678-b2a5f0ae7a8a" //nolint:gosec // It is public and good for nothing but the local profile.

// seedPayment is the id in the notification, which each request replaces
// with its own of the same length.
const seedPayment = "61e35ec2-caa8-4598-bed5-d43e25e14151"

// idPrefix is what all ids of a load have in common.
const idPrefix = "61e35ec2-caa8-4598-"

// PaymentID is the id of the nth payment of a group: the connection in a
// closed loop, the run in an open one. It has the form of a UUID.
func PaymentID(group uint16, n uint64) string {
	return fmt.Sprintf("%s%04x-%012x", idPrefix, group, n)
}

// ParsePaymentID takes PaymentID apart, false for any other id.
func ParsePaymentID(id string) (group uint16, n uint64, ok bool) {
	if len(id) != len(seedPayment) || id[:len(idPrefix)] != idPrefix || id[len(idPrefix)+4] != '-' {
		return 0, 0, false
	}
	g, err := strconv.ParseUint(id[len(idPrefix):len(idPrefix)+4], 16, 16)
	if err != nil {
		return 0, 0, false
	}
	n, err = strconv.ParseUint(id[len(idPrefix)+5:], 16, 48)
	return uint16(g), n, err == nil
}

// request is one connection's copy of the request, rendered once. Only the
// id in it changes.
type request struct {
	bytes []byte
	group []byte // The four digits of the id's group, within bytes.
	digit []byte // The twelve digits of its number.
}

// connection is the value of the connection header that the two ways to use
// connections have.
func connection(perConnection int) string {
	if perConnection == 1 {
		return "close"
	}
	return "keep-alive"
}

// render writes the request as PicPay's client sends it: the headers of the
// documented sample, in its order.
func render(host, connection string) request {
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nconnection: %s\r\nhost: %s\r\n", Route, connection, host)
	fmt.Fprintf(&b, "accept-encoding: gzip, compress, deflate, br\r\ncontent-length: %d\r\n", len(payment))
	b.WriteString("user-agent: axios/1.4.0\r\nauthorization: " + credential + "\r\n")
	b.WriteString("event-type: TransactionUpdateMessage\r\ncontent-type: application/json\r\n")
	b.WriteString("accept: application/json, text/plain, */*\r\n\r\n")
	b.Write(payment)
	r := request{bytes: b.Bytes()}
	at := bytes.Index(r.bytes, []byte(seedPayment)) + len(idPrefix)
	r.group, r.digit = r.bytes[at:at+4], r.bytes[at+5:at+17]
	return r
}

// address sets the request's payment, as PaymentID names it.
func (r request) address(group uint16, n uint64) {
	hex(r.group, uint64(group))
	hex(r.digit, n)
}

// hex writes n over all of dst, the least significant digit last.
func hex(dst []byte, n uint64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = "0123456789abcdef"[n&15]
		n >>= 4
	}
}
