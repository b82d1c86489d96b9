package conformance_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	conf "arauto/deploy/runtime/config"
	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/providers"
	"arauto/workers/operator"
)

// backUp backs up within a hold, restores and resumes a deployment without workers, as the user
// backup, and holds and resumes it as the user operator, as the pages of the console do.
func backUp(t *testing.T, change ...option) *broker {
	t.Helper()
	b := start(t, change...)
	f := &flow{Bench: testbench.NewBench(t, nil)}
	_, js := b.as(inspector)
	settings := topology.Settings{Store: 1 << 30, Providers: providers.All.Names()}
	_, err := topology.Apply(f.Ctx, js, settings)
	f.Must(err)
	large := make([]byte, 300<<10) // A snapshot of more than one message, so that the broker waits for acks.
	_, _ = rand.Read(large)
	_, err = js.Publish(f.Ctx, "notifications.sandbox.default.p-1", large)
	f.Must(err)

	config, folder := filepath.Join(t.TempDir(), "arauto.yaml"), filepath.Join(t.TempDir(), "backup")
	f.Must(os.WriteFile(config, fmt.Appendf(nil, "hash_key: ${KEY}\nnats: {url: %q, user: backup, password: \"${PASSWORD}\"}\n", b.server.ClientURL()), 0o600))
	env := func(name string) (string, bool) {
		value, ok := map[string]string{"KEY": testbench.HashKey, "PASSWORD": password("backup")}[name]
		return value, ok
	}
	arauto := func(args ...string) {
		t.Helper()
		var out, problems bytes.Buffer
		if code := operator.Run(f.Ctx, append(args, "--config", config, "--by", "tester"), env, &out, &problems); code != operator.ExitDone {
			t.Fatalf("arauto %q: code %d, output %q, problems %q", args, code, out.String(), problems.String())
		}
	}
	arauto("backup", folder, "--hold", "--why", "test")
	for _, one := range topology.Streams(settings) {
		f.Must(js.DeleteStream(f.Ctx, one.Name))
	}
	arauto("restore", folder)
	arauto("resume")

	cfg, err := conf.Load(config, env, providers.All)
	f.Must(err)
	_, acts := b.as("operator")
	d, err := operator.Open(f.Ctx, acts, cfg, f.Tokens, "tester")
	f.Must(err)
	f.Must(d.Hold(f.Ctx, time.Now().Add(time.Hour), time.Minute, ""))
	f.Must(d.Resume(f.Ctx))
	return b
}
