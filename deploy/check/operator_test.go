package check_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"arauto/deploy/arauto/operator"
)

// operate runs the operator's commands as their user: every one that reads,
// and every one that changes something.
func (f *flow) operate(b *broker) {
	f.t.Helper()
	path := filepath.Join(f.t.TempDir(), "arauto.yaml")
	// The look-up settings of the account are not in the operator's environment.
	text := fmt.Sprintf("hash_key: ${KEY}\nnats: {url: %q, user: operator, password: \"${PASSWORD}\"}\n"+
		"providers: {sandbox: {accounts: {default: {settings: {base_url: %q, token: \"${TOKEN}\"}}}}}\n", b.server.ClientURL(), f.bank.url)
	f.must(os.WriteFile(path, []byte(text), 0o600))
	env := func(name string) (string, bool) {
		value, ok := map[string]string{"KEY": hashKey, "PASSWORD": password("operator")}[name]
		return value, ok
	}
	for _, line := range []string{
		"status", "order show p-1", "dead list --class data", "circuit list",
		"replay --payment p-1", "dead redrive --all", "dead discard --all",
		"retry now p-1", "circuit open --provider sandbox --account default", "circuit close --provider sandbox --account default",
	} {
		var out, problems bytes.Buffer
		args := append(strings.Fields(line), "--config", path)
		if code := operator.Run(f.ctx, args, env, &out, &problems); code != operator.ExitDone {
			f.t.Fatalf("arauto %s: code %d, output %q, problems %q", line, code, out.String(), problems.String())
		}
	}
}
