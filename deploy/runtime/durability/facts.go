package durability

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/subject"
)

// Sync is when a server brings to disk what it has confirmed.
type Sync string

const (
	// Always is before the confirmation.
	Always Sync = "always"
	// Lazily is some time after it.
	Lazily Sync = "lazily"
	// Unseen means that the policy could not be read.
	Unseen Sync = "unknown"
)

// Facts are what was read of the broker and of the stream NOTIFICATIONS. A fact that could
// not be read has its least favourable value.
type Facts struct {
	Version string   `json:"version"` // Of the server that we are connected to.
	Sync    Sync     `json:"sync"`    // The weakest policy of the servers that hold the stream and are online.
	Servers []Server `json:"servers"` // The servers that hold the stream.

	elsewhere bool // Whether the stream is on a server other than the connected one, whose restart this process would not notice.

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

// Lines are the facts in two lines for people: one about the broker, one about
// the stream.
func (f Facts) Lines() []string {
	maxAge := none
	if f.MaxAge > 0 {
		maxAge = f.MaxAge.String()
	}
	fill := fmt.Sprintf("%d bytes without a limit", f.Bytes)
	if f.MaxBytes > 0 {
		fill = fmt.Sprintf("%d %% of %d bytes full", share(f.Bytes, f.MaxBytes), f.MaxBytes)
	}
	return []string{
		"broker: nats-server " + cmp.Or(f.Version, "of unknown version") + ", sync_interval " + policies(f.Servers),
		fmt.Sprintf("%s: replicas %d, storage %s, persist_mode %s, discard %s, max_age %s (look-ups need %v), %s",
			subject.Notifications, f.Replicas, strings.ToLower(f.Storage.String()), strings.ToLower(f.Persist.String()),
			strings.ToLower(strings.TrimPrefix(f.Discard.String(), "Discard")), maxAge, Horizon, fill),
	}
}

// policies says which sync policy each server has.
func policies(servers []Server) string {
	var all []string
	for _, s := range servers {
		if s.Offline {
			all = append(all, s.Name+" is offline")
		} else {
			all = append(all, s.policy()+" on "+s.Name)
		}
	}
	return cmp.Or(strings.Join(all, ", "), string(Unseen))
}

// policy is how late the server syncs, in the words of its configuration.
func (s Server) policy() string {
	if s.Sync == Lazily {
		return s.Interval.String()
	}
	return string(s.Sync)
}

// Server is a server that holds the stream, as its monitoring address shows it.
type Server struct {
	id         string    // The server's id, which is new after each start.
	away       bool      // It was, since it was last seen.
	checked    bool      // Its /healthz was read, so Failed is all.
	Name       string    `json:"name"`
	Version    string    `json:"version,omitempty"`
	Offline    bool      `json:"offline"` // Offline or silent: it confirms nothing now, so its policy does not count.
	Sync       Sync      `json:"sync"`
	Interval   Span      `json:"sync_interval"` // How late a lazily syncing server may sync.
	StoreUsed  uint64    `json:"store_bytes"`
	StoreLimit int64     `json:"store_max_bytes"` // 0 where it was not seen.
	SeenAt     time.Time `json:"seen_at,omitzero"`
	Problem    string    `json:"problem,omitempty"` // Why it was not seen this time; the rest is then from SeenAt.

	Failed []Failure `json:"failed,omitempty"` // The write errors that last until it is restarted.
}

// Failure is a write error that a server of the broker keeps: nats-server 2.15.3
// (server/stream.go, setWriteErrLocked) writes nothing more into a stream after one,
// also when the disk has room again, until it is restarted. Before this may go, check
// that it writes again once there is room.
type Failure struct {
	Name  string `json:"name"`  // Of the stream, of the stream and its consumer, or "" for the cluster's own log.
	Error string `json:"error"` // In the server's words.
}

// failing are the holders that are there and have a write error, and how many of
// them cannot write NOTIFICATIONS.
func (f Facts) failing() (holders []Server, notifications int) {
	for _, s := range f.Servers {
		if s.Offline || len(s.Failed) == 0 {
			continue
		}
		holders = append(holders, s)
		if slices.ContainsFunc(s.Failed, func(e Failure) bool { return e.Name == "" || e.Name == subject.Notifications }) {
			notifications++
		}
	}
	return holders, notifications
}

// writeErrors is how many streams and consumers have one, on all holders.
func (f Facts) writeErrors() int {
	sum := 0
	holders, _ := f.failing()
	for _, s := range holders {
		sum += len(s.Failed)
	}
	return sum
}

// Unwritable says why NOTIFICATIONS cannot be written, nil where it can: with replicas
// a majority is enough.
func (f Facts) Unwritable() error {
	if _, n := f.failing(); n == 0 || 2*n < f.Replicas {
		return nil
	}
	return f.firstFailure()
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
