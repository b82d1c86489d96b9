package console

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/workers/console/index"
)

// fed opens an index in a folder and brings it up to date, as a console that starts does.
func (r *rig) fed(folder string) *index.Index {
	r.T.Helper()
	x, err := index.Open(folder, r.Tokens)
	r.Must(err)
	r.T.Cleanup(func() { r.Must(x.Close()) })
	options := r.site.Options
	options.Index = x
	f := newFollower(options, &r.site.watch.letters)
	for more := true; more; {
		more, err = f.step(r.Ctx)
		r.Must(err)
	}
	return x
}

// listed are the payments of an index.
func (r *rig) listed(x *index.Index) (names []string) {
	r.T.Helper()
	page, err := x.List(index.Query{Oldest: true, Limit: 10})
	r.Must(err)
	for _, p := range page.Payments {
		names = append(names, p.Unit.Payment)
	}
	return names
}

func TestDamagedIndexIsMadeAgainFromOrders(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.event("p-1", "", order.Paid, 1)
	folder := t.TempDir()
	r.Must(r.fed(folder).Close())
	path := filepath.Join(folder, "payments.db")
	data, err := os.ReadFile(path)
	r.Must(err)
	for at := 4096; at < len(data); at += 512 {
		data[at] ^= 0x55
	}
	r.Must(os.WriteFile(path, data, 0o600))
	if names := r.listed(r.fed(folder)); len(names) != 1 || names[0] != "p-1" {
		t.Errorf("it lists %v", names)
	}
}

func TestPaymentIsErasedThatWasForgottenWhileTheConsoleWasStopped(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.event("gone", "", order.Paid, 1)
	r.event("kept", "", order.Paid, 1)
	folder := t.TempDir()
	forget := func(payment string) {
		r.Publish(r.Tokens.Waiting("sandbox", "default", payment).Forgotten(), record.Forgotten{At: time.Now().UTC()})
	}
	forget("another")
	r.Must(r.fed(folder).Close())
	forget("gone")
	if names := r.listed(r.fed(folder)); len(names) != 1 || names[0] != "kept" {
		t.Errorf("it lists %v", names)
	}
}
