package webhook_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/publish"
	"arauto/gateway/webhook"
	"arauto/schemas/providers"
	"arauto/schemas/record"
)

// storedPayments is a publisher that notes the payments of what it gets.
type storedPayments []string

func (s *storedPayments) Store(_ context.Context, m publish.Message) error {
	var n record.Notification
	err := json.Unmarshal(m.Body, &n)
	*s = append(*s, n.Payment)
	return err
}

// piecewise is a connection whose bytes arrive in pieces.
type piecewise struct {
	pipe
	sizes []int
}

func (p *piecewise) Read(b []byte) (int, error) {
	if len(p.sizes) > 0 {
		b, p.sizes = b[:min(len(b), p.sizes[0])], p.sizes[1:]
	}
	return p.in.Read(b)
}

// However the bytes of a connection arrive, each request is answered by itself, and exactly
// the accepted ones are stored.
func TestRequestsInPiecesAreKeptApart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		o, store := options(t, providers.All), &storedPayments{}
		o.Publisher = store
		g, err := webhook.New(o)
		testbench.Must(rt, err)
		var text strings.Builder
		var codes []int
		var payments []string
		ended := false
		for i := range rapid.IntRange(1, 8).Draw(rt, "requests") {
			payment := fmt.Sprintf("p%d", i)
			body := fmt.Sprintf(`{"payment":%q,"x":%q}`, payment, strings.Repeat("\r\n\r\n", rapid.SampledFrom([]int{0, 1, 300, 3000}).Draw(rt, "filling")))
			body = strings.ReplaceAll(body, `\r\n`, " ") + strings.Repeat("\r\n", rapid.SampledFrom([]int{0, 2, 3000}).Draw(rt, "end"))
			more := ""
			if n := rapid.SampledFrom([]int{0, 0, 3900, 9000}).Draw(rt, "header"); n > 0 {
				more = "X-Long: " + strings.Repeat("y", n) + "\r\n"
			}
			lead := rapid.SampledFrom([]string{"", "", "\r\n", "\r\n\r\n", "\r\n\r\n\r\n"}).Draw(rt, "lead")
			h := lead + head("HTTP/1.1") + more
			code, last := 200, false
			switch kind := rapid.SampledFrom([]string{"length", "chunks", "trailer", "continue", "refused", "nowhere", "wrong"}).Draw(rt, "kind"); kind {
			case "length":
				fmt.Fprintf(&text, "%sContent-Length: %d\r\n\r\n%s", h, len(body), body)
			case "continue":
				fmt.Fprintf(&text, "%sExpect: 100-continue\r\nContent-Length: %d\r\n\r\n%s", h, len(body), body)
			case "chunks", "trailer":
				text.WriteString(h + "Transfer-Encoding: chunked\r\n\r\n")
				for rest := body; rest != ""; {
					n := min(len(rest), rapid.SampledFrom([]int{1, 2, 7, 1000, 5000, 100000}).Draw(rt, "chunk"))
					if len(rest) > 300 {
						n = max(n, len(rest)/20)
					}
					fmt.Fprintf(&text, "%x\r\n%s\r\n", n, rest[:n])
					rest = rest[n:]
				}
				text.WriteString("0\r\n")
				if last = kind == "trailer"; last {
					text.WriteString("X: y\r\n")
				}
				text.WriteString("\r\n")
			case "refused", "nowhere", "wrong":
				switch kind {
				case "nowhere":
					h, code = strings.Replace(h, "/v1/sandbox", "/v1/nowhere", 1), 404100
				case "wrong":
					h, code = strings.Replace(h, "Authorization: ", "Authorization: x", 1), 400105
				default:
					h, code = strings.Replace(h, "POST", "PUT", 1), 405100
				}
				fmt.Fprintf(&text, "%sContent-Length: %d\r\n\r\n%s", h, len(body), body)
				last = len(body) > 8<<10 // A connection without a listener counts as authenticated.
			}
			if !ended {
				codes = append(codes, code)
				if code == 200 {
					payments = append(payments, payment)
				}
			}
			ended = ended || last
		}
		p := &piecewise{pipe: pipe{in: bytes.NewReader([]byte(text.String()))}}
		p.sizes = rapid.SliceOfN(rapid.SampledFrom([]int{1, 2, 3, 50, 1000, 4096, 20000}), 0, 200).Draw(rt, "pieces")
		testbench.Must(rt, g.ServeConn(p))
		r := bufio.NewReader(&p.out)
		var got []int
		for {
			if _, err := r.Peek(1); err != nil {
				break
			}
			answer := next(t, r)
			if answer.status != 100 {
				got = append(got, answer.code(t))
			}
		}
		if !slices.Equal(got, codes) || !slices.Equal(*store, payments) {
			rt.Fatalf("answers %v, want %v; stored %v, want %v", got, codes, *store, payments)
		}
	})
}
