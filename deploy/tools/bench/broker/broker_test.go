package broker

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestBatchesAreStagedWhereTheyAreSaid holds the link to the broker's own idea
// of where it stages: a batch that is not yet committed lies there.
func TestBatchesAreStagedWhereTheyAreSaid(t *testing.T) {
	t.Parallel()
	o := Options{Dir: t.TempDir(), Stage: t.TempDir(), Sync: SyncAlways}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	urls, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- Serve(ctx, o, func(url, _ string) error {
			urls <- url
			return nil
		})
	}()
	var url string
	select {
	case url = <-urls:
	case err := <-ended:
		t.Fatal(err)
	}
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	send := func(sequence, commit string) string {
		m := nats.NewMsg("notifications.sandbox.default.p" + sequence)
		m.Header = nats.Header{server.JSBatchId: {"b"}, server.JSBatchSeq: {sequence}, jetstream.MsgIDHeader: {sequence}}
		if commit != "" {
			m.Header.Set(server.JSBatchCommit, commit)
		}
		answer, err := nc.RequestMsg(m, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return string(answer.Data)
	}
	send("1", "")
	staged, err := os.ReadDir(o.Stage)
	if err != nil || len(staged) != 1 {
		t.Errorf("%v is staged, %v", staged, err)
	}
	if answer := send("2", "1"); !strings.Contains(answer, `"count":2`) {
		t.Errorf("the commit is answered %s", answer)
	}
	// It is removed after the answer.
	for tick := time.Tick(time.Millisecond); len(staged) != 0 && err == nil && ctx.Err() == nil; staged, err = os.ReadDir(o.Stage) {
		<-tick
	}
	if err != nil || ctx.Err() != nil {
		t.Errorf("after the commit %v is staged, %v, %v", staged, err, ctx.Err())
	}
	nc.Close()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
