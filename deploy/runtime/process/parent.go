package process

import (
	"context"
	"errors"
	"io"
	"os"
)

// errParent is the cause of a stop by the end of the parent process.
var errParent = errors.New("stdin reached its end: the supervisor is gone")

// Parent ends the context when stdin reaches its end, if the environment says
// ARAUTO_STOP_ON_STDIN_EOF=1. A supervisor holds the other end of that pipe,
// so its children stop however it dies, SIGKILL included, where no signal
// could be sent.
func Parent(ctx context.Context) (context.Context, context.CancelFunc) {
	if os.Getenv("ARAUTO_STOP_ON_STDIN_EOF") != "1" {
		return context.WithCancel(ctx)
	}
	return untilEnd(ctx, os.Stdin)
}

// untilEnd ends the context when r does. Its goroutine lives as long as r: a
// read of a pipe cannot be interrupted.
func untilEnd(ctx context.Context, r io.Reader) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, r) // A broken pipe is an end too.
		cancel(errParent)
	}()
	return ctx, func() { cancel(context.Canceled) }
}
