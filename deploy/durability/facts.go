package durability

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Sync is when a server brings to disk what it has confirmed.
type Sync string

const (
	// Always is before the confirmation.
	Always Sync = "always"
	// Lazily is some time after it.
	Lazily Sync = "lazily"
	// Unseen is what nobody could look at.
	Unseen Sync = "unknown"
)

// Facts are what was seen of the broker and of the stream NOTIFICATIONS. A
// fact that nobody could see has its least favourable value.
type Facts struct {
	Version string   `json:"version"` // Of the server that we are connected to.
	Sync    Sync     `json:"sync"`    // The weakest of the servers that hold the stream and are there.
	Servers []Server `json:"servers"` // Those that hold the stream.

	elsewhere bool // Some are not the one that we are connected to, so that they can start again unnoticed.

	Replicas   int                       `json:"replicas"`
	Storage    jetstream.StorageType     `json:"storage"`
	Persist    jetstream.PersistModeType `json:"persist_mode"`
	Discard    jetstream.DiscardPolicy   `json:"discard"`
	Retention  jetstream.RetentionPolicy `json:"retention"`
	MaxAge     Span                      `json:"max_age"`              // 0 for no limit.
	PerSubject int64                     `json:"max_msgs_per_subject"` // Below 1 for no limit.

	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	MaxBytes int64  `json:"max_bytes"` // Below 1 for no limit.
}

// Server is one that holds the stream, as its monitoring address shows it.
type Server struct {
	id         string    // Another one each time that the server starts.
	Name       string    `json:"name"`
	Version    string    `json:"version,omitempty"`
	Offline    bool      `json:"offline"` // It confirms nothing now, so its policy does not count now.
	Sync       Sync      `json:"sync"`
	Interval   Span      `json:"sync_interval"` // How late a lazy one may be.
	StoreUsed  uint64    `json:"store_bytes"`
	StoreLimit int64     `json:"store_max_bytes"` // 0 where it was not seen.
	SeenAt     time.Time `json:"seen_at,omitzero"`
	Problem    string    `json:"problem,omitempty"` // Why it was not seen this time; the rest is then from SeenAt.
}

// weakest is the policy that a confirmation can be trusted with: lazy as soon
// as one server is, unknown as soon as one of the others cannot be seen.
func weakest(servers []Server) Sync {
	counts := map[Sync]int{}
	for _, s := range servers {
		if !s.Offline {
			counts[s.Sync]++
		}
	}
	switch {
	case counts[Lazily] > 0:
		return Lazily
	case counts[Unseen] > 0 || counts[Always] == 0:
		return Unseen
	}
	return Always
}

// Span is a duration that JSON shows as people write it, such as 72h0m0s.
type Span time.Duration

// String is the span as the configuration writes durations.
func (s Span) String() string { return time.Duration(s).String() }

// MarshalText writes String.
func (s Span) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *Span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("read duration: %w", err)
	}
	*s = Span(d)
	return nil
}
