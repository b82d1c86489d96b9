package load

import (
	"bufio"
	"bytes"
	"context"
	_ "embed" // The payment is data.
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/errgroup"
)

// documented is the body of PicPay Checkout's documented payment notification.
// A test compares it with the adapter's fixture.
//
//go:embed payment.json
var documented []byte

// Route is where the gateway takes the webhook.
const Route = "/v1/picpay-checkout/notifications"

// credential is the static credential of the documented sample.
const credential = "a45c2dee-6435-1234-5678-b2a5f0ae7a8a" //nolint:gosec // It is public.

// documentedID is the payment of the documented body. Each request has its own
// payment instead, with an id of the same length and prefix.
const (
	documentedID = "61e35ec2-caa8-4598-bed5-d43e25e14151"
	idPrefix     = "61e35ec2-caa8-4598-"
	idFormat     = idPrefix + "%04x-%012x"
)

// Payment names the payment of one request. Groups keep the payments of
// senders and runs apart.
type Payment struct {
	Group uint16
	N     uint64
}

// String is the payment's id, in the form of a UUID.
func (p Payment) String() string { return fmt.Sprintf(idFormat, p.Group, p.N) }

// ParsePayment is the payment with that id; ok is false for any other text.
func ParsePayment(id string) (p Payment, ok bool) {
	group, n, _ := strings.Cut(strings.TrimPrefix(id, idPrefix), "-")
	g, _ := strconv.ParseUint(group, 16, 16)
	number, _ := strconv.ParseUint(n, 16, 48)
	p = Payment{uint16(g), number}
	return p, p.String() == id
}

// answerTimeout is how long a request may take: far more than the gateway
// takes.
const answerTimeout = 10 * time.Second

// sender sends webhooks over one connection at a time.
type sender struct {
	address string
	request []byte
	id      []byte // Where the payment's id is to be written in the request.
	answer  fasthttp.Response
	in      *bufio.Reader
	conn    net.Conn // Nil without one.
}

// Webhooks drives n connections to a host:port, which are opened before, with
// webhooks. Their problems are connection, timeout, and answer for a 200 that
// is not Ok; the next request has a new connection then.
func Webhooks(ctx context.Context, address string, n int, o Options) (Report, error) {
	var all []*sender
	var senders []Send
	defer func() {
		for _, s := range all {
			s.close()
		}
	}()
	connecting, dialing := errgroup.WithContext(ctx)
	for range n {
		s := newSender(address)
		all, senders = append(all, s), append(senders, s.send)
		connecting.Go(func() error { return s.connect(dialing) })
	}
	if err := connecting.Wait(); err != nil {
		return Report{}, err
	}
	return Drive(ctx, o, senders)
}

// newSender renders the request as the documented sample, but on a connection
// that is kept.
func newSender(address string) *sender {
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nhost: %s\r\naccept-encoding: gzip, compress, deflate, br\r\n"+
		"content-length: %d\r\nuser-agent: axios/1.4.0\r\nauthorization: %s\r\nevent-type: TransactionUpdateMessage\r\n"+
		"content-type: application/json\r\naccept: application/json, text/plain, */*\r\n\r\n%s",
		Route, address, len(documented), credential, documented)
	at := bytes.Index(request, []byte(documentedID))
	return &sender{address: address, request: request, id: request[at:at], in: bufio.NewReaderSize(nil, 1<<10)}
}

func (s *sender) connect(ctx context.Context) (err error) {
	dialer := net.Dialer{Timeout: answerTimeout}
	if s.conn, err = dialer.DialContext(ctx, "tcp", s.address); err != nil {
		s.conn = nil
		return fmt.Errorf("connect: %w", err)
	}
	s.in.Reset(s.conn)
	return nil
}

func (s *sender) close() {
	if s.conn != nil {
		_ = s.conn.Close() // What was wrong with it is counted already.
		s.conn = nil
	}
}

// send is a Send.
func (s *sender) send(ctx context.Context, p Payment) (status int, problem string) {
	if s.conn == nil && s.connect(ctx) != nil {
		return 0, "connection"
	}
	_ = fmt.Appendf(s.id, idFormat, p.Group, p.N) // It writes over the id in the request.
	err := s.conn.SetDeadline(time.Now().Add(answerTimeout))
	if err == nil {
		_, err = s.conn.Write(s.request)
	}
	if err == nil {
		err = s.answer.Read(s.in)
	}
	if err != nil || s.answer.ConnectionClose() {
		s.close()
	}
	if is := net.Error(nil); errors.As(err, &is) && is.Timeout() {
		return 0, "timeout"
	}
	if err != nil {
		return 0, "connection"
	}
	if status = s.answer.StatusCode(); status == fasthttp.StatusOK && string(s.answer.Body()) != "Ok" {
		return 0, "answer"
	}
	return status, ""
}
