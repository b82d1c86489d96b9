package conformance_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/process"
	"arauto/deploy/runtime/testbench"
	"arauto/workers/console"
)

// show runs the console, and opens each of its pages. The returned function waits until the
// console has read what was erased since, and ends it.
func (f *flow) show(b *broker) (end func()) {
	f.T.Helper()
	free, err := (&net.ListenConfig{}).Listen(f.Ctx, "tcp", "127.0.0.1:0")
	f.Must(err)
	at := free.Addr().String()
	f.Must(free.Close())
	folder := f.T.TempDir()
	path := filepath.Join(folder, "arauto.yaml")
	f.Must(os.WriteFile(path, fmt.Appendf(nil, `profile: local
hash_key: ${KEY}
nats: {url: %q, user: console, password: "${PASSWORD}"}
console: {admin: "127.0.0.1:0", listen: %q, index: %q, operator_password: "${ACTS}"}
providers: {sandbox: {accounts: {default: {webhook_secrets: ["a secret of the hook"], settings: {base_url: "http://127.0.0.1:1", token: t}}}}}
`, b.server.ClientURL(), at, filepath.Join(folder, "index")), 0o600))
	env := func(name string) (string, bool) {
		value, ok := map[string]string{"KEY": testbench.HashKey, "PASSWORD": password("console"), "ACTS": password("operator")}[name]
		return value, ok
	}
	ctx, stop := context.WithCancel(f.Ctx)
	ended := make(chan int, 1)
	var log bytes.Buffer
	go func() {
		ended <- process.Run(ctx, config.RoleConsole, []string{"-config", path}, env, io.Discard, &log, console.Run)
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, page := range []string{"/", "/payments", "/payments/sandbox/default/p-1", "/payments?q=o-1", "/dead", "/providers", "/broker"} {
		f.Until("the page "+page, func() bool {
			request, err := http.NewRequestWithContext(f.Ctx, http.MethodGet, "http://"+at+page, nil)
			f.Must(err)
			answer, err := client.Do(request)
			if err != nil {
				return false
			}
			defer answer.Body.Close() //nolint:errcheck // It was read.
			text, err := io.ReadAll(answer.Body)
			return err == nil && answer.StatusCode == http.StatusOK && !strings.Contains(string(text), "not read yet")
		})
	}
	return func() {
		f.T.Helper()
		f.Until("the console to have read what was erased", func() bool {
			published, _ := b.used("console")
			return slices.Contains(published, "$JS.API.STREAM.MSG.GET.FORGOTTEN")
		})
		stop()
		if code := <-ended; code != process.ExitClean {
			f.T.Errorf("the console ended with %d:\n%s", code, log.String())
		}
	}
}
