package wait_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"arauto/deploy/runtime/wait"
)

func ExampleFor() {
	ctx, cancel := context.WithCancel(context.Background())
	fmt.Println(wait.For(ctx, time.Millisecond))
	cancel()
	fmt.Println(wait.For(ctx, time.Hour))
	// Output:
	// true
	// false
}

func TestEndOfTheContextEndsTheWait(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	passed := make(chan bool)
	go func() { passed <- wait.For(ctx, time.Hour) }()
	cancel()
	if <-passed {
		t.Error("an hour has passed")
	}
}

func TestEndedContextNeverPasses(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		if wait.For(ctx, 0) {
			t.Fatal("it passed although the context has ended")
		}
	}
}
