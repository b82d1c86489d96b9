package webhook

import (
	"errors"
	"fmt"
	"testing"

	"arauto/deploy/runtime/commit"
	"arauto/gateway/publish"
)

func TestWriteErrorIsTheClassOfItsEffects(t *testing.T) {
	t.Parallel()
	broken := errors.New("the store of nats-1 is in a write error")
	for err, want := range map[error]string{
		commit.ErrTimeout: "store_failed", commit.ErrOverloaded: "store_failed", commit.ErrDisconnected: "disconnected",
		commit.ErrFull: "full", commit.ErrMissing: "missing", publish.ErrUnverified: "unverified", errLimited: "limited",
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

// className returns the class of an error, which must be listed.
func className(t *testing.T, err error) string {
	t.Helper()
	name := failureClass(err)
	for _, known := range failureClasses() {
		if known == name {
			return name
		}
	}
	t.Fatalf("%s is not listed", name)
	return ""
}
