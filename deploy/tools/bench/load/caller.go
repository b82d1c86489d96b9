package load

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

// patience is how long after the end of a run an answer may still come.
const patience = 10 * time.Second

// What is wrong with a request that got no usable answer.
const (
	problemConnect = "connect"
	problemWrite   = "write"
	problemRead    = "read"
	problemTimeout = "timeout"
	problemAnswer  = "answer" // It is not one that we understand, or a 200 that is not Ok.
)

// caller is one client with one connection at a time.
type caller struct {
	address  string
	deadline time.Time
	single   int // Requests per connection, 0 for any number.
	request  request
	answer   [4096]byte
	conn     net.Conn
}

// post sends the request and reads the answer. A status of 0 comes with what
// was wrong, and the next request gets a new connection.
func (c *caller) post(ctx context.Context) (status int, problem string) {
	if c.conn == nil {
		if err := c.dial(ctx); err != nil {
			return 0, problemConnect
		}
	}
	if _, err := c.conn.Write(c.request.bytes); err != nil {
		c.hangUp()
		return 0, timeoutOr(err, problemWrite)
	}
	status, problem, open := c.read()
	if status == 0 || !open || c.single == 1 {
		c.hangUp()
	}
	return status, problem
}

func (c *caller) dial(ctx context.Context) error {
	d := net.Dialer{Deadline: c.deadline}
	conn, err := d.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	c.conn = conn
	// One deadline for the whole run: setting it per request costs.
	return conn.SetDeadline(c.deadline)
}

func (c *caller) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close() // Whatever was wrong with it was counted.
		c.conn = nil
	}
}

var (
	headEnd    = []byte("\r\n\r\n")
	lengthName = []byte("\r\nContent-Length: ")
	closeLine  = []byte("\r\nConnection: close\r\n")
	ok         = []byte("Ok")
)

// read reads one answer. open says that the server keeps the connection.
func (c *caller) read() (status int, problem string, open bool) {
	var have int
	for {
		n, err := c.conn.Read(c.answer[have:])
		have += n
		if head := bytes.Index(c.answer[:have], headEnd); head >= 0 {
			return c.body(head+len(headEnd), have)
		}
		if err != nil {
			return 0, timeoutOr(err, problemRead), false
		}
		if have == len(c.answer) {
			return 0, problemAnswer, false
		}
	}
}

// body reads the rest of an answer whose head is complete.
func (c *caller) body(head, have int) (status int, problem string, open bool) {
	status, length := parse(c.answer[:head])
	if status == 0 || head+length > len(c.answer) {
		return 0, problemAnswer, false
	}
	if missing := head + length - have; missing > 0 {
		if _, err := io.ReadFull(c.conn, c.answer[have:head+length]); err != nil {
			return 0, timeoutOr(err, problemRead), false
		}
	}
	if status == 200 && !bytes.Equal(c.answer[head:head+length], ok) {
		return 0, problemAnswer, false
	}
	return status, "", !bytes.Contains(c.answer[:head], closeLine)
}

// parse reads the status and the length of the body from an answer's head, 0
// and 0 when it is none that we understand.
func parse(head []byte) (status, length int) {
	if len(head) < 13 || string(head[:9]) != "HTTP/1.1 " {
		return 0, 0
	}
	status, err := strconv.Atoi(string(head[9:12]))
	if err != nil {
		return 0, 0
	}
	at := bytes.Index(head, lengthName)
	if at < 0 {
		return 0, 0
	}
	for _, digit := range head[at+len(lengthName):] {
		if digit < '0' || digit > '9' {
			break
		}
		length = 10*length + int(digit-'0')
		if length > len(caller{}.answer) {
			return 0, 0
		}
	}
	return status, length
}

func timeoutOr(err error, problem string) string {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return problemTimeout
	}
	return problem
}
