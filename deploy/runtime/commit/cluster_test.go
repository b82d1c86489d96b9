package commit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/testbench"
)

// startCluster runs three servers with a stream of three replicas, and returns the address
// of each and the stream.
func startCluster(t *testing.T) (urls []string, s jetstream.Stream, nc *nats.Conn) {
	t.Helper()
	ports := processtest.FreePorts(t, 3)
	for i := range ports {
		o := &server.Options{
			ServerName: "n" + strconv.Itoa(i), Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(),
			JetStreamMaxStore: testbench.Store, NoLog: true, NoSigs: true,
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: ports[i]},
		}
		for _, port := range ports {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))})
		}
		urls = append(urls, testbench.Serve(t, o).ClientURL())
	}
	nc, js := testbench.Connect(t, urls[0])
	testbench.Until(t, "the cluster takes the stream", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var err error
		s, err = js.CreateStream(ctx, jetstream.StreamConfig{
			Name: "LOGS", Subjects: []string{"logs.*.*"}, Replicas: 3, AllowAtomicPublish: true, AllowDirect: true, Duplicates: time.Minute,
		})
		return err == nil && len(s.CachedInfo().Cluster.Replicas) == 2
	})
	return urls, s, nc
}

// appended is a message of a log: which one it is, and what was before it.
type appended struct {
	Nonce  int64
	Behind uint64
}

// TestClusterStoresEachOnceBehindItsGuard has two committers append to the same logs, each
// on another server, and store batches of messages without a guard beside that, while the
// stream's leader steps down again and again.
func TestClusterStoresEachOnceBehindItsGuard(t *testing.T) {
	t.Parallel()
	urls, s, nc := startCluster(t)
	const logs, stepdowns = 40, 4
	var (
		nonce     atomic.Int64
		results   atomic.Int64
		batches   atomic.Int64
		mu        sync.Mutex
		confirmed = map[int64]uint64{}
		callers   sync.WaitGroup
	)
	faults, stop := context.WithCancel(t.Context())
	defer stop()
	for i := range 2 {
		conn, _ := testbench.Connect(t, urls[i+1])
		c, err := commit.New(conn, commit.Options{
			Stream: "LOGS", Timeout: 3 * time.Second, GroupCommit: func() bool { return true }, Threshold: 3,
			Batched: func(int) { batches.Add(1) },
		})
		testbench.Must(t, err)
		for log := range logs {
			callers.Go(func() {
				for faults.Err() == nil {
					n := nonce.Add(1)
					body, err := json.Marshal(appended{Nonce: n})
					testbench.Must(t, err)
					if r, err := c.Store(faults, commit.Message{Subject: fmt.Sprintf("logs.n%d.a%d", log, i), ID: fmt.Sprint(n), Body: body}); err == nil {
						mu.Lock()
						confirmed[n] = r.Sequence
						mu.Unlock()
					}
				}
			})
			callers.Go(func() {
				filter := fmt.Sprintf("logs.p%d.*", log)
				var last uint64
				for faults.Err() == nil {
					n := nonce.Add(1)
					body, err := json.Marshal(appended{n, last})
					testbench.Must(t, err)
					m := commit.Message{Subject: fmt.Sprintf("logs.p%d.a%d", log, i), Body: body, Guard: &commit.Guard{Filter: filter, Last: last}}
					if n%2 == 0 {
						m.ID = fmt.Sprint(n)
					}
					r, err := c.Store(faults, m)
					results.Add(1)
					if err == nil {
						mu.Lock()
						confirmed[n] = r.Sequence
						mu.Unlock()
						last = r.Sequence
						continue
					}
					if !errors.Is(err, stream.ErrConflict) && !errors.Is(err, commit.ErrTimeout) && !errors.Is(err, commit.ErrMissing) && !errors.Is(err, commit.ErrOverloaded) {
						t.Errorf("message %d: %v", n, err)
					}
					ctx, cancel := context.WithTimeout(faults, time.Second)
					if raw, err := s.GetLastMsgForSubject(ctx, filter); err == nil {
						last = raw.Sequence
					}
					cancel()
				}
			})
		}
	}
	for range stepdowns {
		before := results.Load()
		testbench.Until(t, "messages get results", func() bool { return results.Load() > before+400 })
		testbench.Until(t, "the leader steps down", func() bool {
			_, err := nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.LOGS", nil, time.Second)
			return err == nil
		})
	}
	before := results.Load()
	testbench.Until(t, "messages get results", func() bool { return results.Load() > before+400 })
	stop()
	callers.Wait()
	var end uint64
	testbench.Until(t, "the stream has a leader", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // Without a leader, nothing answers.
		defer cancel()
		info, err := s.Info(ctx)
		if err == nil {
			end = info.State.LastSeq
		}
		return err == nil
	})
	at, lasts := map[int64]uint64{}, map[string]uint64{}
	for seq := uint64(1); seq <= end; seq++ {
		raw, err := s.GetMsg(testbench.Context(t), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		testbench.Must(t, err)
		var a appended
		testbench.Must(t, json.Unmarshal(raw.Data, &a))
		key, _, _ := strings.Cut(strings.TrimPrefix(raw.Subject, "logs."), ".")
		if key[0] == 'n' {
			lasts[key] = 0 // Nothing guards it.
		}
		if a.Behind != lasts[key] {
			t.Errorf("message %d at %d was guarded by %d, and %d is before it", a.Nonce, seq, a.Behind, lasts[key])
		}
		if at[a.Nonce] != 0 {
			t.Errorf("message %d is stored at %d and %d", a.Nonce, at[a.Nonce], seq)
		}
		at[a.Nonce], lasts[key] = seq, seq
	}
	for n, seq := range confirmed {
		if at[n] != seq {
			t.Errorf("message %d is confirmed at %d and stored at %d", n, seq, at[n])
		}
	}
	if batches.Load() == 0 || len(confirmed) == 0 {
		t.Errorf("%d batches, %d confirmed: this shows nothing", batches.Load(), len(confirmed))
	}
}
