package conformance_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/durability"
	"arauto/deploy/runtime/testbench"
	"arauto/gateway/publish"
	"arauto/schemas/subject"
)

// reachStreams has the gateway, the viewer and the service of the documents do
// their work on each server of a cluster, across the boundary of their accounts.
// At most one of the servers leads the stream that is used.
func (f *flow) reachStreams(brokers []*broker) {
	f.T.Helper()
	f.letServicesSubscribe(brokers[0])
	for i, b := range brokers {
		f.storeAsGateway(b, i)
		viewer, _ := b.as("viewer")
		heard := f.subscribe(viewer, "orders.>")
		on := fmt.Sprintf("orders.sandbox.default.p%d.o.paid", i)
		_, normalize := b.as("normalize")
		_, err := normalize.Publish(f.Ctx, on, nil)
		f.Must(err)
		_, js := b.as(biller)
		consumer, err := js.Consumer(f.Ctx, subject.Orders, biller)
		f.Must(err)
		m, err := consumer.Next(jetstream.FetchContext(f.Ctx))
		f.Must(err)
		f.Must(m.DoubleAck(f.Ctx))
		if m.Subject() != on {
			f.T.Errorf("server %d: the service got %s, want %s", i, m.Subject(), on)
		}
		if m, err := heard.NextMsgWithContext(f.Ctx); err != nil || m.Subject != on {
			f.T.Errorf("server %d: the viewer heard %v, %v, want %s", i, m, err, on)
		}
	}
	for _, b := range brokers {
		for _, line := range b.trace.refusals() {
			f.T.Errorf("the broker refused: %s", line)
		}
	}
}

// storeAsGateway stores webhooks, concurrent ones and a batch, and reads what
// readiness and durability need.
func (f *flow) storeAsGateway(b *broker, number int) {
	f.T.Helper()
	nc, js := b.as("gateway")
	publisher, err := publish.New(nc, publish.Options{
		Timeout: 20 * time.Second, GroupCommit: func() bool { return true },
	})
	f.Must(err)
	f.Must(publisher.Ready(f.Ctx))
	store := func(i int) error {
		return publisher.Store(f.Ctx, publish.Message{
			ID: fmt.Sprintf("%d-%d", number, i), Subject: fmt.Sprintf("notifications.sandbox.default.p%d", i), Body: []byte("{}"),
		})
	}
	const together = 32
	results := make(chan error, together)
	for i := range together {
		go func() { results <- store(i) }()
	}
	for range together {
		f.Must(<-results)
	}
	f.storeBatch(nc, number)
	facts, err := durability.NewReader(js, nil).Read(f.Ctx)
	f.Must(err)
	if want := uint64(number+1) * (together + 2); facts.Messages != want || facts.Replicas != 3 || len(facts.Servers) != 3 {
		f.T.Errorf("server %d: the gateway sees %d messages on %d servers, want %d on 3", number, facts.Messages, len(facts.Servers), want)
	}
}

// storeBatch stores a batch of two, of which only the last message asks for an
// answer, as the publisher does when that pays.
func (f *flow) storeBatch(nc *nats.Conn, number int) {
	f.T.Helper()
	first := nats.NewMsg("notifications.sandbox.default.first")
	first.Header = nats.Header{
		server.JSBatchId: {fmt.Sprint("batch-", number)}, server.JSBatchSeq: {"1"},
		jetstream.MsgIDHeader: {fmt.Sprint("first-", number)}, jetstream.ExpectedStreamHeader: {subject.Notifications},
	}
	f.Must(nc.PublishMsg(first))
	last := nats.NewMsg("notifications.sandbox.default.last")
	last.Header = nats.Header{
		server.JSBatchId: first.Header[server.JSBatchId], server.JSBatchSeq: {"2"}, server.JSBatchCommit: {"1"},
		jetstream.MsgIDHeader: {fmt.Sprint("last-", number)},
	}
	answer, err := nc.RequestMsgWithContext(f.Ctx, last)
	f.Must(err)
	var ack server.JSPubAckResponse
	f.Must(json.Unmarshal(answer.Data, &ack))
	if ack.Error != nil || ack.PubAck == nil || ack.Stream != subject.Notifications || ack.BatchSize != 2 {
		f.T.Errorf("server %d: a batch was answered with %s", number, answer.Data)
	}
}

// clusterConfWithDocumentedUsers is nats-cluster.conf beside the nats.conf of
// confWithDocumentedUsers.
func clusterConfWithDocumentedUsers(t *testing.T) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(confWithDocumentedUsers(t)), "nats-cluster.conf")
	testbench.Must(t, os.WriteFile(path, []byte(read(t, "deploy/nats-cluster.conf")), 0o600))
	return path
}
