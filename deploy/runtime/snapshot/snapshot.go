// Package snapshot copies a stream with its consumers off a broker and onto one, by
// JetStream's own protocol. A snapshot is an archive that only a broker reads. It is not
// encrypted, also where the broker's store is.
//
// github.com/nats-io/jsm.go does the same. It is not used because it would link the broker and
// an expression language into the operator's command.
package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/wait"
)

const (
	// chunk is how many bytes a message carries, and window how many may be on their way. Both
	// are below what the broker allows; max_payload of nats.conf is 1 MB.
	chunk, window = 128 << 10, 4 << 20
	// silence is how long the broker may say nothing. It ends a snapshot or a restore itself
	// after five seconds without a chunk or an ack. A guess: it checks every message first.
	silence = time.Minute
	// pause is how long a subject without responders, or servers that have not found each other,
	// are left alone before they are asked again.
	pause = 50 * time.Millisecond
)

// Taken is a stream as it was when its snapshot was taken, in the broker's words. Restore
// needs both.
type Taken struct {
	Config json.RawMessage `json:"config"`
	State  json.RawMessage `json:"state"`
}

// answer is what the broker says to each request.
type answer struct {
	Taken
	DeliverSubject string `json:"deliver_subject"`
	Error          *struct {
		Code        int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

// noPeers is the broker's error code for a cluster with too few servers, as long as they have
// not found each other (nats-server 2.15.3, server/errors.json, JSClusterNoPeersErrF).
const noPeers = 10005

// errNoPeers is noPeers as an error.
var errNoPeers = errors.New("the cluster has too few servers")

// read decodes an answer. An empty one says that a chunk was taken.
func read(m *nats.Msg) (a answer, err error) {
	if len(m.Data) > 0 {
		err = json.Unmarshal(m.Data, &a)
	}
	if err == nil && a.Error != nil {
		err = errors.New(a.Error.Description)
		if a.Error.Code == noPeers {
			err = fmt.Errorf("%w: %w", errNoPeers, err)
		}
	}
	return a, err
}

// request asks the broker, and reads its answer.
func request(ctx context.Context, nc *nats.Conn, to string, body any) (answer, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return answer{}, err
	}
	return send(ctx, nc, to, data)
}

// send sends data, and reads the broker's answer. In a cluster the server that takes a restore
// subscribes to its chunks and answers in the same moment, and the client's server may hear of
// the subscription after the answer. What has no responders was delivered to none, so sending
// it again is safe. So is a request that was refused because servers have not found each other.
func send(ctx context.Context, nc *nats.Conn, to string, data []byte) (a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	for {
		var m *nats.Msg
		if m, err = nc.RequestWithContext(ctx, to, data); err == nil {
			a, err = read(m)
		}
		if again := errors.Is(err, nats.ErrNoResponders) || errors.Is(err, errNoPeers); !again || !wait.For(ctx, pause) {
			return a, err
		}
	}
}

// Take writes the snapshot of a stream and its consumers to w. The broker checks each
// message's checksum first. What is written before an error is of no use. The connection's
// user needs to publish to $JS.API.STREAM.SNAPSHOT.<stream> and $JS.SNAPSHOT.ACK.<stream>.>.
func Take(ctx context.Context, nc *nats.Conn, stream string, w io.Writer) (Taken, error) {
	inbox := nc.NewInbox()
	chunks, err := nc.SubscribeSync(inbox)
	if err != nil {
		return Taken{}, fmt.Errorf("take snapshot of %s: %w", stream, err)
	}
	defer chunks.Unsubscribe() //nolint:errcheck // The connection is closed, or it works.
	a, err := request(ctx, nc, "$JS.API.STREAM.SNAPSHOT."+stream, map[string]any{
		"deliver_subject": inbox, "chunk_size": chunk, "window_size": window, "jsck": true,
	})
	if err != nil {
		return Taken{}, fmt.Errorf("take snapshot of %s: %w", stream, err)
	}
	for {
		m, err := next(ctx, chunks)
		if err != nil {
			return Taken{}, fmt.Errorf("take snapshot of %s: %w", stream, err)
		}
		if len(m.Data) == 0 { // The end; nothing in front of it is missing, because the window is acked in order.
			if status := m.Header.Get("Status"); status != "" && status != "204" {
				return Taken{}, fmt.Errorf("take snapshot of %s: the broker ended it: %s %s", stream, status, m.Header.Get("Description"))
			}
			return a.Taken, nil
		}
		if _, err := w.Write(m.Data); err != nil {
			return Taken{}, fmt.Errorf("take snapshot of %s: %w", stream, err)
		}
		if m.Reply == "" { // The last piece, which needs no ack.
			continue
		}
		if err := m.Respond(nil); err != nil {
			return Taken{}, fmt.Errorf("take snapshot of %s: %w", stream, err)
		}
	}
}

func next(ctx context.Context, chunks *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	return chunks.NextMsgWithContext(ctx)
}

// Restore makes a stream and its consumers from a snapshot. The broker refuses a stream that
// it has. The connection's user needs to publish to $JS.API.STREAM.RESTORE.<stream> and
// $JS.SNAPSHOT.RESTORE.<stream>.*.
func Restore(ctx context.Context, nc *nats.Conn, stream string, from Taken, r io.Reader) error {
	a, err := request(ctx, nc, "$JS.API.STREAM.RESTORE."+stream, from)
	if err != nil {
		return fmt.Errorf("restore %s: %w", stream, err)
	}
	for buffer := make([]byte, chunk); ; {
		n, err := io.ReadFull(r, buffer)
		ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !ended {
			return fmt.Errorf("restore %s: %w", stream, err)
		}
		if n > 0 {
			if _, err := send(ctx, nc, a.DeliverSubject, buffer[:n]); err != nil {
				return fmt.Errorf("restore %s: %w", stream, err)
			}
		}
		if ended { // An empty message says so, and its answer that the stream is there.
			if _, err := send(ctx, nc, a.DeliverSubject, nil); err != nil {
				return fmt.Errorf("restore %s: %w", stream, err)
			}
			return nil
		}
	}
}
