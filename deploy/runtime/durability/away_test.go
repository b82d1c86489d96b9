package durability

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestServerWithoutHeartbeatIsAway(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		peer jetstream.PeerInfo
		led  time.Duration // By the present leader.
		away bool
	}{
		"at work":                     {jetstream.PeerInfo{Current: true, Active: 900 * time.Millisecond}, time.Hour, false},
		"behind, but heard":           {jetstream.PeerInfo{Current: false, Lag: 1000, Active: 2 * time.Second}, time.Hour, false},
		"stopped":                     {jetstream.PeerInfo{Offline: true}, time.Hour, true},
		"crashed just now":            {jetstream.PeerInfo{Current: true, Active: 4 * time.Second}, time.Hour, false},
		"crashed a bit back":          {jetstream.PeerInfo{Current: false, Active: 6 * time.Second}, time.Hour, true},
		"led and crashed a bit back":  {jetstream.PeerInfo{Current: false}, 6 * time.Second, true},
		"not heard by a fresh leader": {jetstream.PeerInfo{Current: false}, 2 * time.Second, false},
		"heard this very moment":      {jetstream.PeerInfo{Current: true}, time.Hour, false},
	} {
		if got := away(&c.peer, c.led); got != c.away {
			t.Errorf("%s: away is %t, want %t", name, got, c.away)
		}
	}
}
