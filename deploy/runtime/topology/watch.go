package topology

import (
	"encoding/json"
	"strconv"
	"strings"
)

// watchPrefix begins the metadata by which tools of NATS know what to check: package
// monitor of github.com/nats-io/jsm.go, v0.5.1. Other metadata is not declared, such as
// that of the broker itself.
const watchPrefix = "io.nats.monitor."

const (
	// pendingCritical is how many messages may wait for one consumer: 50 s of work at the
	// default rate limit of one account.
	pendingCritical = 10_000
	// peerLagCritical is how many operations a replica may be behind. A guess.
	peerLagCritical = 1_000
	// peerSeenCritical is for how long a replica may be silent: its broker confirms nothing
	// after 5 s.
	peerSeenCritical = "5s"
)

// watchStream says when a stream is unhealthy: without all of its replicas. How full it is,
// no such check says; arauto_stream_fill_ratio does.
func watchStream(replicas int) map[string]string {
	if replicas < 2 {
		return map[string]string{watchPrefix + "enabled": "true"}
	}
	return map[string]string{
		watchPrefix + "enabled":            "true",
		watchPrefix + "peer-expect":        strconv.Itoa(replicas),
		watchPrefix + "peer-lag-critical":  strconv.Itoa(peerLagCritical),
		watchPrefix + "peer-seen-critical": peerSeenCritical,
	}
}

// watchConsumer says when a consumer is unhealthy: when its workers hold all that they may
// and acknowledge none, or too much waits for them.
func watchConsumer() map[string]string {
	return map[string]string{
		watchPrefix + "enabled":                  "true",
		watchPrefix + "outstanding-ack-critical": strconv.Itoa(maxAckPending),
		watchPrefix + "unprocessed-critical":     strconv.Itoa(pendingCritical),
	}
}

// watched is what of an object's metadata is declared, as JSON, "" for nothing.
func watched(metadata json.RawMessage) string {
	var all map[string]string
	if err := json.Unmarshal(metadata, &all); err != nil {
		return string(metadata)
	}
	for name := range all {
		if !strings.HasPrefix(name, watchPrefix) {
			delete(all, name)
		}
	}
	if len(all) == 0 {
		return ""
	}
	text, err := json.Marshal(all) // Its keys are sorted.
	if err != nil {
		return string(metadata)
	}
	return string(text)
}
