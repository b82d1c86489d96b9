package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/wait"
	"arauto/schemas/subject"
)

// reloadConfig has its secrets in files, as Kubernetes mounts them. Its limits leave the machine
// alone to limit the load, and its timeouts let no webhook fail because the machine is busy.
const reloadConfig = `profile: production
hash_key: ${ARAUTO_HASH_KEY}
nats: {url: "${NATS_URL}", user: "${NATS_USER}", password: "${NATS_PASSWORD}"}
gateway: {admin: "127.0.0.1:0", publish_timeout: 9s, write_timeout: 10s}
lookup: {admin: "127.0.0.1:0", providers: [sandbox, yapay], ask_timeout: 1m, rate_limit: {rate: 5000, burst: 5000, concurrency: 64}}
normalize: {admin: "127.0.0.1:0"}
providers:
  yapay:
    accounts:
      default:
        path_keys: [{file: secrets/key}, {file: secrets/key_next}]
        settings: {base_url: "%s", token_account: {file: secrets/token}}
  sandbox:
    accounts:
      default:
        webhook_secrets: [{file: secrets/webhook}, {file: secrets/webhook_next}]
        settings: {base_url: "%s", token: {file: secrets/token}}
`

// acme is one more account at the end of reloadConfig.
const acme = `      acme:
        webhook_secrets: [{file: secrets/acme}]
        settings: {base_url: "%s", token: {file: secrets/token}}
`

// The secrets before and after their rotation.
const (
	firstHook, secondHook   = "webhook-secret-number-1", "webhook-secret-number-2"
	firstKey, secondKey     = "path-key-of-yapay-number-1", "path-key-of-yapay-number-2"
	firstToken, secondToken = "look-up-token-number-1", "look-up-token-number-2"
	acmeHook                = "webhook-secret-of-acme-1"
)

// strictProvider answers the look-ups of one provider. From the first one with the second token
// on it refuses the first token, also to look-ups that had begun before.
type strictProvider struct {
	renewed atomic.Bool
	// read is the token and the answer of a look-up.
	read func(*http.Request) (token, answer string)
}

func (p *strictProvider) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	token, answer := p.read(q)
	if token == secondToken {
		p.renewed.Store(true)
	}
	wait.For(q.Context(), 30*time.Millisecond) // How long the provider takes.
	if token != secondToken && (token != firstToken || p.renewed.Load()) {
		w.WriteHeader(http.StatusUnauthorized)
		answer = `{"message_response":{"message":"error"},"error_response":{"general_errors":[{"code":"001001"}]}}` // As Yapay refuses a token.
	}
	_, _ = io.WriteString(w, answer) // It fails only if the caller has gone.
}

// strictProviders are the sandbox and Yapay at one address.
func strictProviders() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/payments/", &strictProvider{read: func(q *http.Request) (token, answer string) {
		return q.Header.Get("Authorization"), fmt.Sprintf(`{"payment":%q,"status":"paid","amount":100}`, path.Base(q.URL.Path))
	}})
	mux.Handle("/transactions/", &strictProvider{read: func(q *http.Request) (token, answer string) {
		return q.FormValue("token_account"), fmt.Sprintf(`{"message_response":{"message":"success"},"data_response":{"transaction":`+
			`{"token_transaction":%q,"status_id":"6","payment":{"price_original":"1.00"}}}}`, q.FormValue("token_transaction"))
	}})
	return mux
}

// webhook is how an account's webhooks are sent.
type webhook struct {
	path   string // Between /v1/ and /notifications.
	secret string // In the header Authorization.
	body   string // With %s for the payment.
}

func ofSandbox(account, secret string) *webhook {
	return &webhook{path: "sandbox/" + account, secret: secret, body: `{"payment":"%s"}`}
}

func ofYapay(key string) *webhook {
	return &webhook{path: "yapay/default/" + key, body: "token_transaction=%s"}
}

// rotation is a plant whose secrets are in files, under load.
type rotation struct {
	*plant
	provider *httptest.Server
	versions int

	client   *http.Client
	sandbox  atomic.Pointer[webhook] // Of the account default.
	yapay    atomic.Pointer[webhook]
	accepted atomic.Int64
}

// mount replaces the directory of the secrets by one symbolic link, as Kubernetes does.
func (r *rotation) mount(secrets map[string]string) {
	r.t.Helper()
	r.versions++
	dir := filepath.Join(r.dir, "secrets")
	version := fmt.Sprintf("..version-%d", r.versions)
	testbench.Must(r.t, os.MkdirAll(filepath.Join(dir, version), 0o700))
	for name, value := range secrets {
		testbench.Must(r.t, os.WriteFile(filepath.Join(dir, version, name), []byte(value), 0o600))
		if r.versions == 1 {
			testbench.Must(r.t, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
		}
	}
	testbench.Must(r.t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
	testbench.Must(r.t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
}

// write replaces the configuration by a rename, as editors do.
func (r *rotation) write(text string) {
	r.t.Helper()
	testbench.Must(r.t, os.WriteFile(r.config()+"~", []byte(strings.ReplaceAll(text, "%s", r.provider.URL)), 0o600))
	testbench.Must(r.t, os.Rename(r.config()+"~", r.config()))
}

// logged counts an event in the log of a role.
func (p *plant) logged(role, event string) int { return len(p.lines(role, event)) }

// lines are those of an event in the log of a role.
func (p *plant) lines(role, event string) (all []string) {
	data, err := os.ReadFile(filepath.Join(p.dir, role+".log"))
	testbench.Must(p.t, err)
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, `"msg":"`+event+`"`) {
			all = append(all, line)
		}
	}
	return all
}

// reloads makes a change, and waits until the roles use it.
func (r *rotation) reloads(what string, change func(), roles ...string) {
	r.t.Helper()
	before := map[string]int{}
	for _, role := range roles {
		before[role] = r.logged(role, "config.reloaded")
	}
	change()
	for _, role := range roles {
		r.poll(role+" to use "+what, func() bool { return r.logged(role, "config.reloaded") > before[role] })
	}
}

// post sends one webhook and returns the status of its answer, 0 without one.
func (r *rotation) post(of *webhook, payment string) int {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.ctx, http.MethodPost, "http://"+r.gateway.Addr().String()+"/v1/"+of.path+"/notifications",
		strings.NewReader(fmt.Sprintf(of.body, payment)))
	if err == nil {
		request.Header.Set("Authorization", of.secret)
		var response *http.Response
		if response, err = r.client.Do(request); err == nil {
			_, err = io.Copy(io.Discard, response.Body)
			if _ = response.Body.Close(); err == nil { // Only read from.
				return response.StatusCode
			}
		}
	}
	r.t.Errorf("webhook of %s: %v", payment, err)
	return 0
}

// senders is how many send webhooks at once, each its next webhook when it has the answer to the
// last. A quarter of them has as many webhooks answered a second, but the look-ups keep up.
const senders = 64

// load sends webhooks of the accounts default, a quarter of them those of Yapay, as many as the
// machine takes, until it is ended or a webhook is refused.
func (r *rotation) load() (end func()) {
	ctx, cancel := context.WithCancel(r.ctx)
	var running sync.WaitGroup
	for i := range senders {
		of := &r.sandbox
		if i%4 == 0 {
			of = &r.yapay
		}
		running.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if status := r.post(of.Load(), fmt.Sprintf("load-%d-%d", i, n)); status != http.StatusOK {
					r.t.Errorf("webhook %d of sender %d got %d", n, i, status)
					cancel()
				}
				r.accepted.Add(1)
			}
		})
	}
	return func() { cancel(); running.Wait() }
}

// TestSecretsAndAccountsChangeUnderLoad rotates a webhook secret, a path key and look-up tokens,
// adds an account and writes a file that is refused, while as many webhooks arrive as the machine
// takes.
func TestSecretsAndAccountsChangeUnderLoad(t *testing.T) {
	t.Parallel()
	r := &rotation{plant: build(t), provider: httptest.NewServer(strictProviders())}
	t.Cleanup(r.provider.Close)
	r.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}}
	t.Cleanup(r.client.CloseIdleConnections)
	secrets := map[string]string{
		"webhook": firstHook, "webhook_next": firstHook, "key": firstKey, "key_next": firstKey, "token": firstToken, "acme": acmeHook,
	}
	r.mount(secrets)
	r.write(reloadConfig)
	r.startBroker("127.0.0.1:-1")
	if out, err := r.command("topology", "arauto", "topology", "apply", "--config", r.config()).CombinedOutput(); err != nil {
		t.Fatalf("apply topology: %v\n%s", err, out)
	}
	r.start("gateway", r.gateway, "-config", r.config())
	r.start("lookup", nil, "-config", r.config())
	r.start("normalize", nil, "-config", r.config())
	r.sandbox.Store(ofSandbox("default", firstHook))
	r.yapay.Store(ofYapay(firstKey))
	end := r.load()
	defer end()
	r.events(20)
	began := time.Now()

	secrets["webhook_next"] = secondHook
	r.reloads("a second webhook secret", func() { r.mount(secrets) }, "gateway")
	r.sandbox.Store(ofSandbox("default", secondHook))
	secrets["key_next"] = secondKey
	r.reloads("a second path key", func() { r.mount(secrets) }, "gateway")
	r.yapay.Store(ofYapay(secondKey))
	secrets["token"] = secondToken
	r.reloads("other tokens", func() { r.mount(secrets) }, "lookup")

	if status := r.post(ofSandbox("acme", acmeHook), "early"); status != http.StatusUnauthorized {
		t.Errorf("a webhook of an account that is not configured got %d", status)
	}
	r.reloads("one more account", func() { r.write(reloadConfig + acme) }, "gateway", "lookup", "normalize")
	if status := r.post(ofSandbox("acme", acmeHook), "of-acme"); status != http.StatusOK {
		t.Errorf("a webhook of an account that was added got %d", status)
	}
	r.accepted.Add(1)

	// All or nothing: neither the account that would go nor the typing error changes anything.
	r.write(strings.Replace(reloadConfig, "providers: [sandbox, yapay]", "providers: [sandbox, yapay], concurency: 3", 1))
	for _, role := range []string{"gateway", "lookup", "normalize"} {
		r.poll(role+" to refuse the file", func() bool { return r.logged(role, "config.reload_failed") > 0 })
	}
	if status := r.post(ofSandbox("acme", acmeHook), "again-of-acme"); status != http.StatusOK {
		t.Errorf("beside a file that is refused a webhook got %d", status)
	}
	r.accepted.Add(1)
	r.write(reloadConfig + acme)
	secrets["webhook"], secrets["key"] = secondHook, secondKey
	r.reloads("the second webhook secret and path key alone", func() { r.mount(secrets) }, "gateway")
	if status := r.post(ofSandbox("default", firstHook), "late"); status != http.StatusBadRequest {
		t.Errorf("a webhook with the secret that was removed got %d", status)
	}
	if status := r.post(ofYapay(firstKey), "late"); status != http.StatusUnauthorized {
		t.Errorf("a webhook with the path key that was removed got %d", status)
	}
	r.reloads("the same again", func() { testbench.Must(t, r.running["gateway"].Process.Signal(syscall.SIGHUP)) }, "gateway")

	took := time.Since(began)
	end()
	want := int(r.accepted.Load())
	if got := r.events(want); got != want {
		t.Errorf("%d webhooks led to %d events", want, got)
	}
	r.holdsNone(subject.DeadLetters, subject.Circuits)
	if failed := r.lines("lookup", "lookup.failed"); len(failed) > 0 {
		t.Errorf("%d look-ups failed, such as: %s", len(failed), failed[0])
	}
	t.Logf("%d webhooks were accepted in %v, and are events %v later", want, took, time.Since(began)-took)
}

// holdsNone fails if a stream has a message: a look-up was given up, or a circuit was opened.
func (r *rotation) holdsNone(streams ...string) {
	r.t.Helper()
	_, js := testbench.Connect(r.t, "nats://"+r.broker, nats.UserInfo("test", "test"))
	for _, name := range streams {
		stream, err := js.Stream(r.ctx, name)
		testbench.Must(r.t, err)
		if state := stream.CachedInfo().State; state.Msgs > 0 {
			text, err := json.Marshal(state)
			testbench.Must(r.t, err)
			r.t.Errorf("%s holds messages: %s", name, text)
		}
	}
}
