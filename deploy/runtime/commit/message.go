package commit

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Message is what Store stores. It has an ID, a Guard or both: without either, a message
// that is sent again could be stored twice. Its fields must not alias memory that changes:
// the message may be sent again after Store has returned.
type Message struct {
	ID      string // The broker's message id (Nats-Msg-Id); the stream stores an id once within its duplicate window.
	Subject string
	Header  nats.Header // Further headers, nil for none.
	Body    []byte
	Guard   *Guard // Nil for none.
}

// Guard makes the broker refuse a message unless the last message on a filter has the
// expected sequence. All writers of one log use the same filter.
type Guard struct {
	Filter string // Empty for the message's own subject.
	Last   uint64 // Expected sequence, 0 for none.
}

// Receipt says where a message is stored.
type Receipt struct {
	Sequence  uint64
	Duplicate bool // The stream had stored the id before, at that sequence.
}

// The headers of an atomic batch (nats-architecture-and-design, ADR-50).
const (
	batchID       = "Nats-Batch-Id"
	batchSequence = "Nats-Batch-Sequence"
	batchCommit   = "Nats-Batch-Commit"
)

// wire is m as it is published alone. A notification's trace is in its body: nats-server
// 2.15.3 searches all headers for each that it knows, and parses all of them if there is a
// traceparent (server/msgtrace.go).
func (m Message) wire() *nats.Msg {
	header := make(nats.Header, len(m.Header)+4)
	maps.Copy(header, m.Header)
	if m.ID != "" {
		header[jetstream.MsgIDHeader] = []string{m.ID}
	}
	if g := m.Guard; g != nil {
		header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(g.Last, 10)}
		if g.Filter != "" {
			header[jetstream.ExpectedLastSubjSeqSubjHeader] = []string{g.Filter}
		}
	}
	return &nats.Msg{Subject: m.Subject, Data: m.Body, Header: header}
}

// answer is what the broker answers to a message or to the last message of a batch.
type answer struct {
	Error     *jetstream.APIError `json:"error"`
	Stream    string              `json:"stream"`
	Sequence  uint64              `json:"seq"`
	Duplicate bool                `json:"duplicate"`
	Count     int                 `json:"count"`
}

// readAnswer returns the answer to a request. Every answer but an ack is a classified error.
func (c *Committer) readAnswer(m *nats.Msg, to *request) (a answer, err error) {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return a, Classify(nats.ErrNoResponders)
	}
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return a, fmt.Errorf("read confirmation: %w", err)
	}
	switch {
	case a.Error != nil:
		return a, Classify(a.Error)
	case a.Stream != c.options.Stream || a.Sequence == 0:
		return a, fmt.Errorf("%w: stream %q confirmed instead", ErrMissing, a.Stream)
	case to.batch && a.Count != len(to.entries):
		return a, errNoBatches
	}
	return a, nil
}
