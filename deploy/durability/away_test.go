package durability

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestServerThatShowsNoSignOfLifeIsAway(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		peer jetstream.PeerInfo
		away bool
	}{
		"at work":            {jetstream.PeerInfo{Current: true, Active: 900 * time.Millisecond}, false},
		"behind, but heard":  {jetstream.PeerInfo{Current: false, Lag: 1000, Active: 2 * time.Second}, false},
		"stopped":            {jetstream.PeerInfo{Offline: true}, true},
		"crashed just now":   {jetstream.PeerInfo{Current: true, Active: 4 * time.Second}, false},
		"crashed a bit back": {jetstream.PeerInfo{Current: false, Active: 6 * time.Second}, true},
	} {
		if got := away(&c.peer); got != c.away {
			t.Errorf("%s: away is %t, want %t", name, got, c.away)
		}
	}
}
