package watch_test

import (
	"testing"

	"github.com/nats-io/jsm.go/api"
	"github.com/nats-io/jsm.go/monitor"

	"arauto/deploy/runtime/topology"
)

var settings = topology.Settings{Replicas: 3, Store: 8 << 30, Providers: []string{"picpay"}}

// TestNATSToolsReadWhenAConsumerIsUnhealthy gives the declared metadata to the check of
// NATS' own tools.
func TestNATSToolsReadWhenAConsumerIsUnhealthy(t *testing.T) {
	t.Parallel()
	for _, c := range topology.Consumers(settings) {
		check, err := monitor.ExtractConsumerHealthCheckOptions(c.Metadata)
		if err != nil || !check.Enabled {
			t.Fatalf("%s: %+v, %v", c.Durable, check, err)
		}
		for _, state := range []struct {
			info    api.ConsumerInfo
			healthy bool
		}{
			{api.ConsumerInfo{}, true},
			{api.ConsumerInfo{NumAckPending: c.MaxAckPending - 1, NumPending: 9_999}, true},
			{api.ConsumerInfo{NumAckPending: c.MaxAckPending}, false},
			{api.ConsumerInfo{NumPending: 10_000}, false},
		} {
			result := &monitor.Result{}
			monitor.CheckConsumerInfoHealth(&state.info, result, *check, api.NewDiscardLogger())
			if got := len(result.Criticals) == 0; got != state.healthy {
				t.Errorf("%s with %d in work and %d waiting is healthy: %v (%v)", c.Durable, state.info.NumAckPending, state.info.NumPending, got, result.Criticals)
			}
		}
	}
}

// TestNATSToolsReadWhenAStreamIsUnhealthy does the same for streams with three replicas.
func TestNATSToolsReadWhenAStreamIsUnhealthy(t *testing.T) {
	t.Parallel()
	peers := func(second, third api.PeerInfo) *api.ClusterInfo {
		return &api.ClusterInfo{Leader: "one", Replicas: []*api.PeerInfo{&second, &third}}
	}
	current := api.PeerInfo{Current: true}
	for _, s := range topology.Streams(settings) {
		check, err := monitor.ExtractStreamHealthCheckOptions(s.Metadata)
		if err != nil || !check.Enabled {
			t.Fatalf("%s: %+v, %v", s.Name, check, err)
		}
		for _, state := range []struct {
			what    string
			cluster *api.ClusterInfo
			healthy bool
		}{
			{"whole", peers(current, current), true},
			{"without a leader", &api.ClusterInfo{}, false},
			{"with a replica too few", &api.ClusterInfo{Leader: "one", Replicas: []*api.PeerInfo{&current}}, false},
			{"with a replica that is offline", peers(current, api.PeerInfo{Offline: true}), false},
			{"with a replica far behind", peers(current, api.PeerInfo{Lag: 1_001}), false},
			{"with a silent replica", peers(current, api.PeerInfo{Active: 6e9}), false},
		} {
			result, info := &monitor.Result{}, api.StreamInfo{Config: api.StreamConfig{Name: s.Name, Replicas: 3}, Cluster: state.cluster}
			monitor.CheckStreamInfoHealth(&info, result, *check, api.NewDiscardLogger())
			if got := len(result.Criticals) == 0; got != state.healthy {
				t.Errorf("%s %s is healthy: %v (%v)", s.Name, state.what, got, result.Criticals)
			}
		}
	}
}
