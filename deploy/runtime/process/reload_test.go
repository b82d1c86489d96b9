package process

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/testbench"
)

// reloading is a role that uses one secret of a file, which a symbolic link leads to.
type reloading struct {
	t     *testing.T
	dir   string
	url   string // Of the broker.
	kit   *Kit
	logs  testbench.Output
	token atomic.Pointer[string]
	wrong atomic.Bool // The role cannot use what it gets.
	links int
}

func reloadable(t *testing.T) *reloading {
	t.Helper()
	r := &reloading{t: t, dir: t.TempDir(), url: broker(t, nil).ClientURL()}
	r.mount(canary + "-1")
	r.write("", "")
	ctx, cancel := context.WithCancel(t.Context())
	kits, code := make(chan *Kit, 1), make(chan int, 1)
	go func() {
		code <- Run(ctx, config.RoleExpect, []string{"-config", filepath.Join(r.dir, "arauto.yaml")}, nothing, io.Discard, &r.logs,
			func(ctx context.Context, k *Kit) error {
				kits <- k
				return Together(ctx, k.Reload(r.use))
			})
	}()
	t.Cleanup(func() {
		cancel()
		if c := testbench.Receive(t, "the role ends", code); c != ExitClean {
			t.Errorf("the exit code is %d:\n%s", c, &r.logs)
		}
		if strings.Contains(r.logs.String(), canary) {
			t.Errorf("a secret is logged:\n%s", &r.logs)
		}
	})
	r.kit = testbench.Receive(t, "the role begins", kits)
	return r
}

func (r *reloading) use(next *config.Config) error {
	cfg, err := next.Expect()
	if err == nil && r.wrong.Load() {
		err = errors.New("it cannot be used")
	}
	if err == nil {
		token := cfg.Bearer.Reveal()
		r.token.Store(&token)
	}
	return err
}

// mount replaces the secret as Kubernetes does.
func (r *reloading) mount(secret string) {
	r.t.Helper()
	r.links++
	version := strings.Repeat(".", 2) + strings.Repeat("v", r.links)
	testbench.Must(r.t, os.Mkdir(filepath.Join(r.dir, version), 0o700))
	testbench.Must(r.t, os.WriteFile(filepath.Join(r.dir, version, "token"), []byte(secret), 0o600))
	testbench.Must(r.t, os.Symlink(version, filepath.Join(r.dir, "..next")))
	testbench.Must(r.t, os.Rename(filepath.Join(r.dir, "..next"), filepath.Join(r.dir, "..data")))
}

// write writes the configuration as an editor does.
func (r *reloading) write(key, more string) {
	r.t.Helper()
	path := filepath.Join(r.dir, "arauto.yaml")
	text := "profile: local\nhash_key: hash-" + canary + key + "\nnats: {url: '" + r.url + "'}\n" +
		"expect: {admin: '127.0.0.1:0', http_token: {file: ..data/token}}\n" + more
	testbench.Must(r.t, os.WriteFile(path+"~", []byte(text), 0o600))
	testbench.Must(r.t, os.Rename(path+"~", path))
}

func (r *reloading) metric(name string, labels ...string) float64 {
	r.t.Helper()
	return testbench.Value(r.t, r.kit.Registry, name, labels...)
}

// is reports whether the role was given a secret by a reload.
func (r *reloading) is(secret string) bool {
	token := r.token.Load()
	return token != nil && *token == secret
}

// uses waits until the role uses a secret.
func (r *reloading) uses(secret string) {
	r.t.Helper()
	testbench.Until(r.t, "the role uses the new secret", func() bool { return r.is(secret) })
	testbench.Until(r.t, "the configuration in use is the new one", func() bool {
		cfg, err := r.kit.Current().Expect()
		testbench.Must(r.t, err)
		return cfg.Bearer.Reveal() == secret
	})
	testbench.Until(r.t, "the reload is a success", func() bool { return r.metric("arauto_config_last_reload_successful") == 1 })
}

// refuses waits until a change is refused for a reason.
func (r *reloading) refuses(because string) {
	r.t.Helper()
	testbench.Until(r.t, "the change is refused", func() bool { return strings.Contains(r.logs.String(), because) })
	if got := r.metric("arauto_config_last_reload_successful"); got != 0 {
		r.t.Errorf("the gauge is %v", got)
	}
}

func TestReplacedLinkAndRenamedFileAreReloaded(t *testing.T) {
	t.Parallel()
	r := reloadable(t)
	began := r.metric("arauto_config_last_reload_success_timestamp_seconds")
	r.mount(canary + "-2")
	r.uses(canary + "-2")
	testbench.Until(t, "the log says what changed", func() bool {
		return strings.Contains(r.logs.String(), `"msg":"config.reloaded","role":"expect","changed":["expect.http_token"]`)
	})
	if now := r.metric("arauto_config_last_reload_success_timestamp_seconds"); now <= began {
		t.Errorf("the time of the last success was %v and is %v", began, now)
	}
	r.write("", "providers: {sandbox: {accounts: {default: {webhook_secrets: [hook]}}}}\n")
	testbench.Until(t, "the account is known", func() bool { return len(r.kit.Current().AccountNames("sandbox")) == 1 })
}

func TestRefusedChangeKeepsTheOldConfiguration(t *testing.T) {
	t.Parallel()
	r := reloadable(t)
	r.write("", "nope: 1\nlookup: {concurency: 3}\n")
	r.refuses(`there is no key \"nope\"`)
	if !strings.Contains(r.logs.String(), `there is no key \"concurency\"`) {
		t.Errorf("one problem is not logged:\n%s", &r.logs)
	}
	r.write("", "")
	testbench.Until(t, "the change is undone", func() bool { return r.metric("arauto_config_last_reload_successful") == 1 })

	// A good change waits while another change of the same file needs a restart.
	r.write("-other", "topology: {replicas: 3}\n")
	r.mount(canary + "-2")
	r.refuses(`arauto.yaml:5: topology.replicas: differs from what the running expect uses, and cannot change while it runs; restart expect to change it`)
	if !strings.Contains(r.logs.String(), `arauto.yaml:2: hash_key: differs`) || r.is(canary+"-2") {
		t.Errorf("half of it is in use, or one key is not named:\n%s", &r.logs)
	}
	r.write("", "")
	r.uses(canary + "-2")

	r.wrong.Store(true)
	r.mount(canary + "-3")
	r.refuses("it cannot be used")
	if cfg, err := r.kit.Current().Expect(); err != nil || cfg.Bearer.Reveal() != canary+"-2" {
		t.Errorf("what the role refused is in use, %v", err)
	}
	if got := r.metric("arauto_config_reloads_total", "failure"); got < 3 { // SIGHUP of another test counts one again.
		t.Errorf("%v failures are counted, want 3", got)
	}
}

// SIGHUP reaches every role of this process.
func TestHangUpReloadsAtOnce(t *testing.T) {
	t.Parallel()
	r := reloadable(t)
	testbench.Must(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	r.uses(canary + "-1")
	testbench.Until(t, "the success is counted", func() bool { return r.metric("arauto_config_reloads_total", "success") >= 1 })
}
