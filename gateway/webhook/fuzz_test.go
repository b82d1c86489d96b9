package webhook_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/publish"
	"arauto/gateway/webhook"
	"arauto/schemas/providers"
	"arauto/schemas/record"
)

// checkingPublisher checks the messages that it gets and stores nothing.
type checkingPublisher struct{ problem error }

func (n *checkingPublisher) Store(_ context.Context, m publish.Message) error {
	var document record.Notification
	if err := json.Unmarshal(m.Body, &document); err != nil {
		n.problem = fmt.Errorf("document is not JSON: %w", err)
		return nil
	}
	tokens := strings.Split(m.Subject, ".")
	if len(tokens) != 4 || tokens[0] != "notifications" || tokens[1] != document.Provider || tokens[2] != document.Account ||
		tokens[3] == "" || strings.Trim(tokens[3], plain) != "" {
		n.problem = fmt.Errorf("subject %q for payment %q", m.Subject, document.Payment)
	}
	if document.ID != m.ID || document.Payment == "" || len(document.Trace) != 55 {
		n.problem = errors.Join(n.problem, fmt.Errorf("message %+v", m))
	}
	return nil
}

// pipe is a connection on which every byte has been received.
type pipe struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func (p *pipe) Read(b []byte) (int, error)       { return p.in.Read(b) }
func (p *pipe) Write(b []byte) (int, error)      { return p.out.Write(b) }
func (p *pipe) Close() error                     { return nil }
func (p *pipe) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (p *pipe) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (p *pipe) SetDeadline(time.Time) error      { return nil }
func (p *pipe) SetReadDeadline(time.Time) error  { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

// FuzzConnection sends any bytes. Answers must be well-formed and not 5xx, and stored
// messages valid.
func FuzzConnection(f *testing.F) {
	for _, c := range callers(f) {
		for _, body := range []string{c.body("p-1"), c.body("a.b *>"), "null", "{}"} {
			target, headers, _ := c.sending("default", c.secret("default"), body)
			var b strings.Builder
			fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: x\r\n", target)
			for name, value := range headers {
				fmt.Fprintf(&b, "%s: %s\r\n", name, value)
			}
			f.Add([]byte(fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", b.String(), len(body), body)))
			f.Add([]byte(fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", b.String(), len(body), body)))
		}
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\nPURGE /v1/sandbox/notifications HTTP/1.0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		o, store := options(t, providers.All), &checkingPublisher{}
		o.Publisher = store
		g, err := webhook.New(o)
		testbench.Must(t, err)
		p := &pipe{in: bytes.NewReader(input)}
		_ = g.ServeConn(p)
		if store.problem != nil {
			t.Error(store.problem)
		}
		checkAnswers(t, &p.out)
	})
}

func checkAnswers(t *testing.T, out io.Reader) {
	t.Helper()
	r := bufio.NewReader(out)
	for {
		if _, err := r.Peek(1); err != nil {
			return
		}
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("answer is not HTTP: %v", err)
		}
		if answer.StatusCode == http.StatusContinue {
			continue
		}
		// The answer to HEAD has a length and no body.
		if next, _ := r.Peek(1); answer.StatusCode != http.StatusOK && (len(next) == 0 || next[0] != '{') {
			continue
		}
		if got := read(t, answer); got.status >= 500 || got.code(t) == 0 {
			t.Errorf("answer %d %q", got.status, got.body)
		}
	}
}
