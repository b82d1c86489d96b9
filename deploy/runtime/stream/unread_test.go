package stream_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/testbench"
)

// unreadable restarts the broker, so that it has nothing in memory, and takes the files of
// some messages away, of which each has one of its own. back puts them there again.
func unreadable(t *testing.T, b *testbench.Broker, files ...string) (back func()) {
	t.Helper()
	store := b.Server.StoreDir()
	b.Stop()
	var all []string
	testbench.Must(t, filepath.WalkDir(store, func(name string, _ fs.DirEntry, err error) error {
		if slices.Contains(files, filepath.Base(name)) && strings.Contains(name, "NUMBERS") {
			all = append(all, name)
		}
		return err
	}))
	if len(all) != len(files) {
		t.Fatalf("found %v below %s, want %v", all, store, files)
	}
	for _, name := range all {
		testbench.Must(t, os.Rename(name, name+".away"))
		testbench.Must(t, os.Mkdir(name, 0o700)) // Else the broker takes the messages for lost.
	}
	b.Restart()
	b.Until("the broker to be there again", b.NC.IsConnected)
	return func() {
		for _, name := range all {
			testbench.Must(t, os.Remove(name))
			testbench.Must(t, os.Rename(name+".away", name))
		}
	}
}

func TestWhatTheDiskCannotReadIsNotTakenForRemoved(t *testing.T) {
	t.Parallel()
	b := testbench.StartEmpty(t)
	s, err := b.JS.CreateStream(b.Ctx, jetstream.StreamConfig{Name: "NUMBERS", Subjects: []string{"n.>"}, MaxBytes: 120 << 10}) // So a file is closed after 32 KiB.
	testbench.Must(t, err)
	for _, on := range []string{"n.a", "n.b", "n.a", "n.a"} {
		ack, err := b.JS.Publish(b.Ctx, on, make([]byte, 33<<10))
		testbench.Must(t, err)
		if ack.Sequence == 3 {
			testbench.Must(t, s.DeleteMsg(b.Ctx, 3))
		}
	}
	back := unreadable(t, b, "1.blk", "2.blk")
	if _, err := s.GetMsg(b.Ctx, 1); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Fatalf("a read says %v; this test no longer shows what the broker says of a failing disk", err)
	}
	unread := func(name string, raw *jetstream.RawStreamMsg, err error) {
		t.Helper()
		if !errors.Is(err, stream.ErrUnread) {
			t.Errorf("%s: %v, %v, want ErrUnread", name, raw, err)
		}
	}
	none := func(name string, raw *jetstream.RawStreamMsg, err error) {
		t.Helper()
		if raw != nil || err != nil {
			t.Errorf("%s: %v, %v, want none", name, raw, err)
		}
	}
	found := func(name string, sequence uint64, raw *jetstream.RawStreamMsg, err error) {
		t.Helper()
		if err != nil || raw == nil || raw.Sequence != sequence {
			t.Errorf("%s: %v, %v, want %d", name, raw, err, sequence)
		}
	}
	next := func(filter string, above uint64) (*jetstream.RawStreamMsg, error) {
		return stream.NextOrNone(b.Ctx, s, filter, above)
	}
	at := func(sequence uint64) (*jetstream.RawStreamMsg, error) { return stream.At(b.Ctx, s, "n.>", sequence) }
	check := func(want func(string, *jetstream.RawStreamMsg, error), name string, read func() (*jetstream.RawStreamMsg, error)) {
		t.Helper()
		raw, err := read()
		want(name, raw, err)
	}
	is := func(sequence uint64) func(string, *jetstream.RawStreamMsg, error) {
		return func(name string, raw *jetstream.RawStreamMsg, err error) { t.Helper(); found(name, sequence, raw, err) }
	}
	check(unread, "the first of a subject with more", func() (*jetstream.RawStreamMsg, error) { return next("n.a", 0) })
	check(unread, "the only one of a subject", func() (*jetstream.RawStreamMsg, error) { return next("n.b", 0) })
	check(unread, "by sequence", func() (*jetstream.RawStreamMsg, error) { return at(2) })
	check(none, "a subject that never was", func() (*jetstream.RawStreamMsg, error) { return next("n.never", 0) })
	check(none, "behind the last one of a subject", func() (*jetstream.RawStreamMsg, error) { return next("n.a", 4) })
	check(none, "a removed one", func() (*jetstream.RawStreamMsg, error) { return at(3) })
	check(none, "a sequence that never was", func() (*jetstream.RawStreamMsg, error) { return at(9) })
	back()
	check(is(1), "afterwards the first", func() (*jetstream.RawStreamMsg, error) { return next("n.a", 0) })
	check(is(2), "afterwards the only one", func() (*jetstream.RawStreamMsg, error) { return next("n.b", 0) })
	check(is(2), "afterwards by sequence", func() (*jetstream.RawStreamMsg, error) { return at(2) })
	testbench.Must(t, s.DeleteMsg(b.Ctx, 4))
	check(none, "the last one, which was removed", func() (*jetstream.RawStreamMsg, error) { return at(4) })
	testbench.Must(t, s.Purge(b.Ctx))
	check(none, "in an empty stream", func() (*jetstream.RawStreamMsg, error) { return at(2) })
}
