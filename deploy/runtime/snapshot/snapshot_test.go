package snapshot_test

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/snapshot"
	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/subject"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// TestASnapshotUnderWritesIsAPrefix takes the snapshot of a stream of several chunks while it
// grows, and restores it on another broker: it has every message up to some sequence which was
// stored before the snapshot ended, and the consumer's ack floor.
func TestASnapshotUnderWritesIsAPrefix(t *testing.T) {
	t.Parallel()
	here, there := testbench.Start(t, "sandbox"), testbench.StartEmpty(t)
	body := bytes.Repeat([]byte("x"), 16<<10)
	write := func() uint64 {
		ack, err := here.JS.Publish(here.Ctx, "notifications.sandbox.default.p", body)
		here.Must(err)
		return ack.Sequence
	}
	for range 40 {
		write()
	}
	consumer, err := here.JS.Consumer(here.Ctx, subject.Notifications, subject.LookupConsumer("sandbox"))
	here.Must(err)
	batch, err := consumer.Fetch(7)
	here.Must(err)
	for m := range batch.Messages() {
		here.Must(m.DoubleAck(here.Ctx))
	}
	_, err = here.JS.PauseConsumer(here.Ctx, subject.Notifications, consumer.CachedInfo().Name, time.Now().Add(time.Hour))
	here.Must(err)
	least := write()
	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				write()
			}
		}
	})
	var copied bytes.Buffer
	taken, err := snapshot.Take(here.Ctx, here.NC, subject.Notifications, &copied)
	close(stop)
	writing.Wait()
	here.Must(err)
	here.Must(snapshot.Restore(here.Ctx, there.NC, subject.Notifications, taken, &copied))

	restored := there.Stream(subject.Notifications)
	state := restored.CachedInfo().State
	if state.LastSeq < least || state.FirstSeq != 1 || state.Msgs != state.LastSeq {
		t.Errorf("the restored stream has %d messages from %d to %d, want every one up to %d at least", state.Msgs, state.FirstSeq, state.LastSeq, least)
	}
	read := uint64(0)
	_, err = stream.Each(there.Ctx, restored, stream.All, 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
		read++
		if raw.Sequence != read || !bytes.Equal(raw.Data, body) {
			t.Errorf("message %d is at sequence %d with %d bytes", read, raw.Sequence, len(raw.Data))
		}
		return true, nil
	})
	there.Must(err)
	if read != state.Msgs {
		t.Errorf("%d messages can be read of %d", read, state.Msgs)
	}
	again, err := there.JS.Consumer(there.Ctx, subject.Notifications, subject.LookupConsumer("sandbox"))
	there.Must(err)
	if floor := again.CachedInfo().AckFloor.Stream; floor != 7 {
		t.Errorf("the restored consumer's ack floor is %d, want 7", floor)
	}
	_, err = there.JS.ResumeConsumer(there.Ctx, subject.Notifications, consumer.CachedInfo().Name)
	there.Must(err)
	if m, err := again.Next(); err != nil {
		t.Error(err)
	} else if meta, err := m.Metadata(); err != nil || meta.Sequence.Stream != 8 {
		t.Errorf("the restored consumer goes on with %+v (%v), want message 8", meta, err)
	}
	if next, err := there.JS.Publish(there.Ctx, "notifications.sandbox.default.p", body); err != nil || next.Sequence != state.LastSeq+1 {
		t.Errorf("the next message is at %v (%v), want %d", next, err, state.LastSeq+1)
	}
}

// TestARestoredScheduleFires takes the snapshot of a scheduled look-up. The broker that gets it
// delivers it when it is due.
func TestARestoredScheduleFires(t *testing.T) {
	t.Parallel()
	here, there := testbench.Start(t, "sandbox"), testbench.StartEmpty(t)
	_, err := here.JS.PublishMsg(here.Ctx, &nats.Msg{Subject: "lookup.parked.sandbox.default.h", Data: []byte("{}"), Header: nats.Header{
		"Nats-Schedule": {"@at " + time.Now().Add(3*time.Second).UTC().Format(time.RFC3339)}, "Nats-Schedule-Target": {"lookup.due.sandbox.default.h"},
	}})
	here.Must(err)
	var copied bytes.Buffer
	taken, err := snapshot.Take(here.Ctx, here.NC, subject.LookupRetries, &copied)
	here.Must(err)
	here.Must(snapshot.Restore(here.Ctx, there.NC, subject.LookupRetries, taken, &copied))
	there.Until("the restored look-up to be due", func() bool {
		_, err := there.Stream(subject.LookupRetries).GetLastMsgForSubject(there.Ctx, subject.AllDue)
		return err == nil
	})
}

// TestAChunkAwaitsItsSubscription restores on a server that hears of the subscription to the
// chunks after the answer to the restore, in a cluster whose servers have just found each other.
// A real route cannot be made slow at that moment, so the test answers in the broker's place.
func TestAChunkAwaitsItsSubscription(t *testing.T) {
	t.Parallel()
	url := testbench.Serve(t, &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true}).ClientURL()
	broker, _ := testbench.Connect(t, url)
	restoring, _ := testbench.Connect(t, url)
	refused := `{"error":{"code":400,"err_code":10005,"description":"no suitable peers for placement"}}`
	_, err := broker.Subscribe("$JS.API.STREAM.RESTORE.ORDERS", func(m *nats.Msg) {
		_ = m.Respond([]byte(refused))
		refused = `{"deliver_subject":"chunks"}`
	})
	testbench.Must(t, err)
	testbench.Must(t, broker.Flush())
	restored := make(chan error, 1)
	go func() {
		restored <- snapshot.Restore(testbench.Context(t), restoring, subject.Orders, snapshot.Taken{}, strings.NewReader("chunk"))
	}()
	testbench.Until(t, "a chunk to have no responders", func() bool { s := restoring.Stats(); return s.OutMsgs >= 3 && s.InMsgs >= 3 })
	var taken []string
	_, err = broker.Subscribe("chunks", func(m *nats.Msg) {
		taken = append(taken, string(m.Data))
		_ = m.Respond(nil)
	})
	testbench.Must(t, err)
	testbench.Must(t, <-restored)
	if !slices.Equal(taken, []string{"chunk", ""}) {
		t.Errorf("the chunks are %q", taken)
	}
}

// TestNothingIsOverwritten restores a stream that is there.
func TestNothingIsOverwritten(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t)
	var copied bytes.Buffer
	taken, err := snapshot.Take(b.Ctx, b.NC, subject.Orders, &copied)
	b.Must(err)
	if err := snapshot.Restore(b.Ctx, b.NC, subject.Orders, taken, &copied); err == nil || !strings.Contains(err.Error(), "restore ORDERS") {
		t.Errorf("restoring a stream that is there gives %v", err)
	}
	if _, err := snapshot.Take(b.Ctx, b.NC, "NONE", &copied); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("the snapshot of no stream gives %v", err)
	}
}
