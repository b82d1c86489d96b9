package webhook

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"arauto/deploy/runtime/topology/jetstreamtest"
	"arauto/schemas/subject"
)

func TestReadinessSaysThatTheStreamIsFull(t *testing.T) {
	t.Parallel()
	b := jetstreamtest.Start(t)
	ctx := jetstreamtest.Context(t)
	p, err := NewPublisher(b.Connect(), PublisherOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Ready(ctx); err != nil {
		t.Errorf("while there is room: %v", err)
	}
	stream, err := b.JS.Stream(ctx, subject.Notifications)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxBytes = leastRoom - 1
	if _, err := b.JS.UpdateStream(ctx, config); err != nil {
		t.Fatal(err)
	}
	if err := p.Ready(ctx); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "stream is full: NOTIFICATIONS has 0 of 65535 bytes") {
		t.Errorf("without room: %v", err)
	}
}

// The broker may refuse for want of room in its whole store, which no stream shows.
func TestPublisherIsNotReadyAfterARefusalForWantOfRoom(t *testing.T) {
	t.Parallel()
	b := jetstreamtest.Start(t)
	p, err := NewPublisher(b.Connect(), PublisherOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		result error
		ready  bool
	}{
		{nil, true}, {fmt.Errorf("store: %w", ErrFull), false}, {ErrTimeout, false}, {nil, true},
	} {
		p.fullness.note(step.result)
		if err := p.Ready(jetstreamtest.Context(t)); (err == nil) != step.ready || err != nil && !errors.Is(err, ErrFull) {
			t.Errorf("step %d: %v", i, err)
		}
	}
}

func TestWriteErrorIsAClassOfItsOwn(t *testing.T) {
	t.Parallel()
	broken := errors.New("the store of nats-1 is in a write error")
	for err, want := range map[error]string{
		ErrTimeout: "store_failed", ErrOverloaded: "store_failed", ErrDisconnected: "disconnected", ErrFull: "full",
		ErrMissing: "missing", ErrUnverified: "unverified", ErrLimited: "limited",
	} {
		for why, class := range map[error]string{broken: want, nil: className(t, err)} {
			g := &Gateway{options: Options{StoreFailure: func() error { return why }}}
			got := g.explain(fmt.Errorf("store notification: %w", err))
			if className(t, got) != class || !errors.Is(got, err) {
				t.Errorf("%v with the broker's %v is %q of class %s, want %s", err, why, got, className(t, got), class)
			}
		}
	}
}

// className is the class of an error, which must be in the list of classes.
func className(t *testing.T, err error) string {
	t.Helper()
	name := class(err)
	for _, known := range classes() {
		if known == name {
			return name
		}
	}
	t.Fatalf("%s is not listed", name)
	return ""
}
