package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/subject"
)

// errNoBatches is the answer of a broker that stored a batch's last message
// but does not know batches: it is older than 2.12.
var errNoBatches = errors.New("the broker does not know atomic batches")

// stored is how the broker begins to say that a message is stored in our
// stream; a sequence follows.
var stored = []byte(`{"stream":"` + subject.Notifications + `","seq":`)

// isDuplicate reports whether a confirmation says that the message had been there
// before; otherwise it does not speak of it.
func isDuplicate(m *nats.Msg) bool { return bytes.Contains(m.Data, []byte(`"duplicate"`)) }

// readAck reads a confirmation: of a single message where batch is 0, else of
// a batch of so many.
func readAck(m *nats.Msg, batch int) error {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return classify(nats.ErrNoResponders)
	}
	if batch == 0 && bytes.HasPrefix(m.Data, stored) && !bytes.Contains(m.Data, []byte(`"error"`)) {
		return nil // As almost always, and without a parser's work for each message.
	}
	var ack struct {
		Error    *jetstream.APIError `json:"error"`
		Stream   string              `json:"stream"`
		Sequence uint64              `json:"seq"`
		Count    int                 `json:"count"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return fmt.Errorf("read confirmation: %w", err)
	}
	switch {
	case ack.Error != nil:
		return classify(ack.Error)
	case ack.Stream != subject.Notifications || ack.Sequence == 0:
		return fmt.Errorf("%w: stream %q confirmed instead", ErrMissing, ack.Stream)
	case batch > 0 && ack.Count != batch:
		return errNoBatches
	}
	return nil
}
