package stream_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
)

func TestCreationTimeOutlivesARestartACopyAndAChange(t *testing.T) {
	t.Parallel()
	b, s := numbers(t, "n.a")
	created := func() time.Time {
		t.Helper()
		at, err := stream.Created(t.Context(), b.JS, "NUMBERS")
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	first := created()
	if first.IsZero() || !first.Equal(s.CachedInfo().Created) {
		t.Fatalf("created at %v, its state says %v", first, s.CachedInfo().Created)
	}
	config := s.CachedInfo().Config
	config.MaxBytes = 1 << 20
	if _, err := b.JS.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	b.Stop()
	copied := filepath.Join(t.TempDir(), "copy")
	b.Restart(func(o *server.Options) {
		if err := os.CopyFS(copied, os.DirFS(o.StoreDir)); err != nil {
			t.Fatal(err)
		}
		o.StoreDir = copied
	})
	var err error
	if b.JS, err = jetstream.New(b.Connect()); err != nil { // The other connection may not be back yet.
		t.Fatal(err)
	}
	if again := created(); !again.Equal(first) {
		t.Errorf("created at %v, after a restart with a copy at %v", first, again)
	}
	b.Recreate("NUMBERS")
	if later := created(); !later.After(first) {
		t.Errorf("created at %v, after it was recreated at %v", first, later)
	}
	if err := b.JS.DeleteStream(t.Context(), "NUMBERS"); err != nil {
		t.Fatal(err)
	}
	if at := created(); !at.IsZero() {
		t.Errorf("a stream that does not exist was created at %v", at)
	}
}
