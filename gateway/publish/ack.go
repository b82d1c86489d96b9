package publish

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/subject"
)

// errNoBatches means that the broker stored the last message of a batch alone. Brokers
// before nats-server 2.12 ignore the batch headers.
var errNoBatches = errors.New("the broker does not know atomic batches")

// ackPrefix is how the ack of a message on NOTIFICATIONS begins; its sequence follows.
var ackPrefix = []byte(`{"stream":"` + subject.Notifications + `","seq":`)

// isDuplicate reports whether an ack says that the stream already had the message id.
func isDuplicate(m *nats.Msg) bool { return bytes.Contains(m.Data, []byte(`"duplicate"`)) }

// readAck returns nil for an ack of a single message (batch is 0) or of a batch of that
// many messages, and a classified error for every other answer.
func readAck(m *nats.Msg, batch int) error {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return classify(nats.ErrNoResponders)
	}
	if batch == 0 && bytes.HasPrefix(m.Data, ackPrefix) && !bytes.Contains(m.Data, []byte(`"error"`)) {
		return nil // The usual answer, recognized without a JSON parser.
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
