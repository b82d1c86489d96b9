package expectations_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/expectation"
	"arauto/schemas/subject"
	"arauto/workers/internal/expectations"
)

// TestWhatIsSettledIsErasedOnTheDisk removes the first of two expectations. The second keeps the
// broker from removing the file that both are in.
func TestWhatIsSettledIsErasedOnTheDisk(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, "sandbox")
	store, err := expectations.Open(b.Ctx, b.JS, b.Tokens, "")
	b.Must(err)
	const settled, open = "order-that-is-settled", "order-that-is-open"
	for payment, order := range map[string]string{"p-1": settled, "p-2": open} {
		_, _, err := store.Announce(b.Ctx, "sandbox", "default", payment, expectation.Expectation{Order: order}, "")
		b.Must(err)
	}
	raw, err := stream.Last(b.Ctx, store.Expected(), b.Unit("p-1").Expected())
	b.Must(err)
	b.Must(store.Remove(b.Ctx, raw.Sequence))
	folder := b.Server.JetStreamConfig().StoreDir
	b.Stop()
	held := map[string]bool{}
	b.Must(filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		for _, order := range []string{settled, open} {
			held[order] = held[order] || bytes.Contains(data, []byte(order))
		}
		return err
	}))
	if held[settled] || !held[open] {
		t.Errorf("the files of %s hold %v, want the open order only", subject.Expectations, held)
	}
}
