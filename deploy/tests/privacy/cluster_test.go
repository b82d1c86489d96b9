package privacy

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/operator"
	"arauto/workers/workertest"
)

// cluster is three servers with three replicas of the declared streams.
type cluster struct {
	workertest.Bench
	servers []*server.Server
	folders []string
	url     string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{}
	ports := processtest.FreePorts(t, 3)
	for i := range ports {
		folder := t.TempDir()
		o := &server.Options{
			ServerName: "n" + strconv.Itoa(i), Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: folder,
			JetStreamMaxStore: testbench.Store, NoLog: true, NoSigs: true,
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: ports[i]},
		}
		for _, port := range ports {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))})
		}
		c.servers, c.folders = append(c.servers, testbench.Serve(t, o)), append(c.folders, folder)
	}
	c.url = c.servers[0].ClientURL()
	_, js := testbench.Connect(t, c.url)
	c.Bench = workertest.Bench{Bench: testbench.NewBench(t, js)}
	c.Until("the cluster takes the streams", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := topology.Apply(ctx, js, topology.Settings{Replicas: 3, Store: testbench.Store, Providers: []string{"sandbox"}})
		return err == nil
	})
	return c
}

// hold has a payment be in every stream.
func (c *cluster) hold(payment string) {
	c.T.Helper()
	c.Notify(record.Notification{Payment: payment, Order: "o-" + payment})
	c.Publish(c.Unit(payment).Status(), order.Observation{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Order: "o-" + payment,
		Status: order.Paid, ProviderStatus: "paid", Confirmed: true, AskedAt: time.Now(), AnsweredAt: time.Now(),
	})
	c.Schedule(record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Order: "o-" + payment,
		Cause: order.CauseSweep, Reason: "sweep", DueAt: time.Now().Add(time.Hour).UTC(),
	})
	c.DeadLetter(1, record.DeadLetter{
		Class: record.ClassData, Stage: record.StageLookup, Provider: "sandbox", Account: "default", Payment: payment, Order: "o-" + payment,
		Kind: order.Payment, Cause: "status 500", LastAnswer: "unavailable", Next: "redrive", At: time.Now(),
	})
	c.Publish(c.Unit(payment).Expected(), expectation.Expectation{Order: "o-" + payment})
	c.Publish(c.Unit(payment).Outcome(string(expectation.Met)), expectation.Outcome{
		Provider: "sandbox", Account: "default", Payment: payment, Outcome: expectation.Met, Version: expectation.UnreadableVersion(nil), At: time.Now().UTC(),
	})
	c.Until("the event of "+payment, func() bool { return len(c.Messages(subject.Orders, c.Unit(payment).Events())) > 0 })
}

// logBlock is the size of a block of a Raft log (nats-server 2.15.3, server/raft.go,
// startRaftNode of server/jetstream_cluster.go, defaultMediumBlockSize).
const logBlock = 4 << 20

// fillLogs has more than a block go through the Raft log of every stream that holds payments.
func (c *cluster) fillLogs() {
	c.T.Helper()
	raw := make([]byte, logBlock/8)
	for i := range 10 {
		_, _ = rand.Read(raw) // It cannot fail; a log packs what can be packed.
		piece := base64.StdEncoding.EncodeToString(raw)
		c.Publish(c.Unit("filler").Notification(), piece)
		c.Publish(c.Unit("filler").Status(), piece)
		c.Publish(c.Unit("filler").Event("filler", order.Paid), piece)
		c.Publish(c.Unit("filler").OfOrder("filler"), piece)
		c.Publish(c.Unit("filler").DeadLetter("ours", "sweep"), piece)
		c.Publish(c.Unit("filler").Outcome("met"), piece)
		for small := range slices.Chunk([]byte(piece), 7<<10) {
			c.Publish(c.Unit("filler").Expected(), string(small))
		}
		c.Schedule(record.ScheduledLookUp{
			Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: fmt.Sprintf("filler-%d", i), Fields: map[string]string{"x": piece},
			Cause: order.CauseSweep, Reason: "sweep", DueAt: time.Now().Add(time.Hour).UTC(),
		})
	}
}

// TestForgetLeavesNothingOnThreeServers erases a payment of which each server has a copy, and
// its Raft log another one. The log is cut at its next snapshot, which a server takes every
// two minutes and when it stops. What is cut off stays in the log's file until a block of
// it is full, so OPERATING.md names both.
func TestForgetLeavesNothingOnThreeServers(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Consume(subject.Statuses, subject.NormalizeConsumer, 2, c.Fold().Handle)
	for i := range 10 {
		c.hold(fmt.Sprintf("other-%d", i))
	}
	c.hold(firstPayment)
	c.hold("other-10")
	there := newSearch(t, erasedTexts()[:1])
	for i, folder := range c.folders {
		held := 0
		eachFile(t, folder, func(_ string, data []byte) {
			if there.finds(data) {
				held++
			}
		})
		if held < 12 { // A stream's block and its log's for most streams.
			t.Errorf("before the erasure %d files of server %d hold something of the payment", held, i)
		}
	}
	config := filepath.Join(t.TempDir(), "arauto.yaml")
	c.Must(os.WriteFile(config, fmt.Appendf(nil, "profile: local\nhash_key: %s\nnats: {url: %q}\ntopology: {store: 1GiB}\n", testbench.HashKey, c.url), 0o600))
	forget := func() {
		t.Helper()
		var out, problems bytes.Buffer
		if code := operator.Run(c.Ctx, []string{"forget", firstPayment, "--yes", "--by", "tester", "--config", config}, os.LookupEnv, &out, &problems); code != operator.ExitDone {
			t.Fatalf("arauto forget: code %d, %s%s", code, &out, &problems)
		}
	}
	forget()
	c.EndRefusal(firstPayment)
	forget()
	c.fillLogs()
	for _, s := range c.servers {
		s.Shutdown()
		s.WaitForShutdown()
	}
	for i, folder := range c.folders {
		eachFile(t, folder, func(name string, data []byte) { there.in(fmt.Sprintf("the file %s of server %d", name, i), data) })
	}
}
