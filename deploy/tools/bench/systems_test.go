package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tools/bench/load"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// TestBatchesAreStagedWhereConfigured compares the link with where the broker
// itself stages: a batch that is not yet committed lies there.
func TestBatchesAreStagedWhereConfigured(t *testing.T) {
	t.Parallel()
	dirs := []string{t.TempDir(), t.TempDir()}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	urls, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- serveBroker(ctx, dirs, func(addresses ...any) error {
			urls <- addresses[0].(string)
			return nil
		})
	}()
	var url string
	select {
	case url = <-urls:
	case err := <-ended:
		t.Fatal(err)
	}
	nc, _ := testbench.Connect(t, url)
	send := func(sequence, commit string) string {
		m := nats.NewMsg("notifications.sandbox.default.p" + sequence)
		m.Header = nats.Header{server.JSBatchId: {"b"}, server.JSBatchSeq: {sequence}, jetstream.MsgIDHeader: {sequence}}
		if commit != "" {
			m.Header.Set(server.JSBatchCommit, commit)
		}
		answer, err := nc.RequestMsg(m, 10*time.Second)
		testbench.Must(t, err)
		return string(answer.Data)
	}
	send("1", "")
	staged, err := os.ReadDir(filepath.Join(dirs[1], subject.Notifications))
	if err != nil || len(staged) != 1 {
		t.Errorf("%v is staged, %v", staged, err)
	}
	if answer := send("2", "1"); !strings.Contains(answer, `"count":2`) {
		t.Errorf("the commit is answered %s", answer)
	}
	// The batch is removed after the answer.
	testbench.Until(t, "nothing is staged after the commit", func() bool {
		staged, err := os.ReadDir(filepath.Join(dirs[1], subject.Notifications))
		return err == nil && len(staged) == 0
	})
	nc.Close()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestMessageIsTheGatewaysNotification(t *testing.T) {
	t.Parallel()
	p := load.Payment{Group: 2, N: 3}
	m, err := message(p)
	testbench.Must(t, err)
	var got record.Notification
	testbench.Must(t, json.Unmarshal(m.Body, &got))
	if got.Payment != p.String() || got.Order != p.String() || got.ID != m.ID || m.Subject != "notifications.picpay-checkout.default."+p.String() {
		t.Errorf("message %s on %s has %+v", m.ID, m.Subject, got)
	}
}

// TestEveryMessageOfTheCommitterIsStored runs it on a broker.
func TestEveryMessageOfTheCommitterIsStored(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t)
	r, err := committer(t.Context(), b.URL, 3, true, load.Options{Warm: 10 * time.Millisecond, For: 100 * time.Millisecond})
	if err != nil || len(r.Failed) != 0 || r.Total == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	info, err := b.JS.Stream(testbench.Context(t), subject.Notifications)
	testbench.Must(t, err)
	if stored := info.CachedInfo().State.Msgs; stored != uint64(r.Total) {
		t.Errorf("%d are stored, %d were acknowledged", stored, r.Total)
	}
}

// TestAuditFindsWhatWasLost stores some of the payments that were answered
// 200, and another one.
func TestAuditFindsWhatWasLost(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t)
	nc := b.Connect()
	for _, n := range []uint64{1, 2, 3, 2} {
		if _, err := nc.Request("notifications.picpay-checkout.default."+load.Payment{N: n}.String(), []byte("{}"), 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	lost, more, err := audit(t.Context(), b.URL, []load.Payment{{N: 1}, {N: 2}, {N: 4}, {N: 5}})
	if err != nil || lost != 2 || more != 1 {
		t.Errorf("%d lost, %d more, %v; want 2 and 1", lost, more, err)
	}
	if _, _, err := audit(t.Context(), "nats://127.0.0.1:1", nil); err == nil {
		t.Error("no broker, no error")
	}
}
