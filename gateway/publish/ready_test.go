package publish

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/subject"
)

func TestFullStreamIsNotReady(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t)
	ctx := testbench.Context(t)
	c, err := New(b.Connect(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(ctx); err != nil {
		t.Errorf("while there is room: %v", err)
	}
	stream, err := b.JS.Stream(ctx, subject.Notifications)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxBytes = minFreeBytes - 1
	if _, err := b.JS.UpdateStream(ctx, config); err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(ctx); !errors.Is(err, commit.ErrFull) || !strings.Contains(err.Error(), "stream is full: NOTIFICATIONS has 0 of 65535 bytes") {
		t.Errorf("without room: %v", err)
	}
}

// The broker's store may be full while the stream's own limit is not reached.
func TestErrFullIsNotReady(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t)
	c, err := New(b.Connect(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		result error
		ready  bool
	}{
		{nil, true}, {fmt.Errorf("store: %w", commit.ErrFull), false}, {commit.ErrTimeout, false}, {nil, true},
	} {
		c.full.observe(step.result)
		if err := c.Ready(testbench.Context(t)); (err == nil) != step.ready || err != nil && !errors.Is(err, commit.ErrFull) {
			t.Errorf("step %d: %v", i, err)
		}
	}
}
