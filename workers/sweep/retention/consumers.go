package retention

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// consumersOf lists all consumers of a stream, with their states. It returns an error if the
// state of one is not known: what that consumer has not acknowledged must stay.
//
// In a cluster, nats-server 2.15.3 (server/jetstream_cluster.go,
// jsClusteredConsumerListRequest) leaves a consumer that does not answer within 4 s out of
// the list, and lists a consumer whose servers are all offline without name and state. It
// names both in "missing", which nats.go 1.55.0 (jetstream/stream.go, consumerInfos) does not
// read: it asks for the next page by the number of consumers that it got, and gets a later
// one twice. Before these checks may go, check that ListConsumers returns an error if
// "missing" is not empty.
func consumersOf(ctx context.Context, s jetstream.Stream, name string) ([]*jetstream.ConsumerInfo, error) {
	var all []*jetstream.ConsumerInfo
	list := s.ListConsumers(ctx)
	for c := range list.Info() { // To the end: the lister's goroutine waits for a reader.
		all = append(all, c)
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list consumers of %s: %w", name, err)
	}
	seen := map[string]bool{}
	for _, c := range all {
		switch {
		case c.Name == "":
			return nil, fmt.Errorf("list consumers of %s: %q has no state", name, c.Config.Durable)
		case seen[c.Name]:
			return nil, fmt.Errorf("list consumers of %s: %s is listed twice, so another one is missing", name, c.Name)
		case c.Cluster != nil && c.Cluster.Leader == "":
			return nil, fmt.Errorf("list consumers of %s: %s has no leader", name, c.Name)
		}
		seen[c.Name] = true
	}
	return all, nil
}
