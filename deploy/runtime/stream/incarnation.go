package stream

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// IncarnationKey is the key of a stream's metadata by which arauto restore says when the
// stream was created that was copied, in RFC 3339: the broker gives a restored stream the time
// of the restore, see Created. It may go when the broker keeps the creation time of a
// snapshot of the second format.
const IncarnationKey = "arauto.incarnation"

// Incarnation is the time by which a stream's sequences are known to count from one
// beginning: that of its creation, or, of a restored stream, of the copied one's.
func Incarnation(info *jetstream.StreamInfo) time.Time {
	if at, err := time.Parse(time.RFC3339Nano, info.Config.Metadata[IncarnationKey]); err == nil {
		return at
	}
	return info.Created
}
