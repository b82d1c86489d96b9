package webhook_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"arauto/gateway/publish"
	"arauto/gateway/webhook"
	"arauto/schemas/providers"
)

// instant is a Publisher that stores nothing.
type instant struct{}

func (instant) Store(context.Context, publish.Message) error { return nil }

// many is a connection that sends the same request n times.
type many struct {
	pipe
	text []byte
	n    int
	at   int
}

func (m *many) Read(b []byte) (int, error) {
	if m.n == 0 {
		return 0, io.EOF
	}
	read := copy(b, m.text[m.at:])
	if m.at += read; m.at == len(m.text) {
		m.at, m.n = 0, m.n-1
	}
	return read, nil
}

func (*many) Write(b []byte) (int, error)      { return len(b), nil }
func (*many) SetReadDeadline(time.Time) error  { return nil }
func (*many) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkAccept measures a webhook without storing it: HTTP, authentication, reading,
// encoding, metrics and the log line.
func BenchmarkAccept(b *testing.B) {
	checkout := `{"type":"PAYMENT","eventDate":"2024-07-01T16:00:00-03:00","merchantDocument":"123456789012","id":"21b91897-a897-49bc-b16e-6256f0bf2368","merchantCode":"1234",` +
		`"data":{"status":"AUTHORIZED","amount":10000,"originalAmount":10000,"refundedAmount":0,"merchantChargeId":"61e35ec2-caa8-4598-bed5-d43e25e14151","paymentSource":"GATEWAY"}}`
	post := func(name, lines, body string) string {
		c := caller{name: name}
		return fmt.Sprintf("POST /v1/%s/notifications HTTP/1.1\r\nHost: gateway.example\r\nUser-Agent: axios/1.4.0\r\nAccept: */*\r\nContent-Type: application/json\r\n"+
			"%sContent-Length: %d\r\n\r\n%s", name, strings.ReplaceAll(lines, "SECRET", c.secret("default")), len(body), body)
	}
	for _, bc := range []struct{ name, text string }{
		{"checkout", post("picpay-checkout", "Authorization: SECRET\r\nevent-type: TransactionUpdateMessage\r\n", checkout)},
		{"picpay", post("picpay", "x-seller-token: SECRET\r\n", `{"referenceId":"102030","authorizationId":"555008cef7f321d00ef236333"}`)},
		{"refused", post("picpay", "", `{"referenceId":"102030"}`)},
		{"ambiguous", post("picpay", "Host: twice\r\n", `{"referenceId":"102030"}`)},
	} {
		b.Run(bc.name, func(b *testing.B) {
			o := options(b, providers.All)
			o.Publisher = instant{}
			o.Log = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(io.Discard), zap.InfoLevel))
			g, err := webhook.New(o)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			if bc.name == "ambiguous" { // The connection is closed after it.
				for range b.N {
					_ = g.ServeConn(&many{text: []byte(bc.text), n: 1})
				}
				return
			}
			_ = g.ServeConn(&many{text: []byte(bc.text), n: b.N})
		})
	}
}

var _ net.Conn = (*many)(nil)
