package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/testbench"
)

// TestMain is also the main function of the child processes that the tests
// start.
func TestMain(m *testing.M) {
	if os.Getenv(childMode) != "" {
		Main("normalize", child)
	}
	testbench.Main(m)
}

// longest bounds every wait. It is long, because the machine may be busy;
// what is waited for ends the wait at once.
const longest = 120 * time.Second

// canary is a secret that must not show up anywhere.
const canary = "canary-7f3a9b1c-canary"

// broker starts a real NATS server with JetStream; port -1 is any free one.
func broker(t *testing.T, change func(*server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true}
	if change != nil {
		change(o)
	}
	return testbench.Serve(t, o)
}

// written writes a local configuration for the broker and returns its path.
func written(t *testing.T, url, more string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "arauto.yaml")
	text := "profile: local\nhash_key: hash-" + canary + "\nnormalize: {admin: '127.0.0.1:0'}\n"
	if !strings.Contains(more, "nats:") {
		text += "nats: {url: '" + url + "'}\n"
	}
	testbench.Must(t, os.WriteFile(path, []byte(text+more), 0o600))
	return path
}

func nothing(string) (string, bool) { return "", false }

// get asks the admin listener.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Timeout: longest, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	testbench.Must(t, err)
	return resp.StatusCode, string(body)
}

// getAs reads a page in a format, and returns what that became.
func getAs(t *testing.T, url, accept string) (contentType, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	testbench.Must(t, err)
	request.Header.Set("Accept", accept)
	client := &http.Client{Timeout: longest, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(request)
	testbench.Must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	testbench.Must(t, err)
	return resp.Header.Get("Content-Type"), string(body)
}

func TestExitCodeTellsHowItEnded(t *testing.T) {
	t.Parallel()
	url := broker(t, nil).ClientURL()
	good := written(t, url, "")
	bad := written(t, url, "lookup: {concurency: 3}\nnope: 1\n")
	traced := written(t, url, "tracing: {endpoint: 'http://127.0.0.1:4318/v1/traces', headers: {authorization: '${COLLECTOR_TOKEN}'}}\n")
	for name, c := range map[string]struct {
		args []string
		env  map[string]string
		role Role
		code int
		says []string
	}{
		"role ends by itself": {
			args: []string{"-config", good},
			role: func(context.Context, *Kit) error { return nil },
			code: ExitClean, says: []string{`"msg":"process.stopped"`, `"role":"normalize"`},
		},
		"role fails": {
			args: []string{"-config", good},
			role: func(context.Context, *Kit) error { return errors.New("no more paper") },
			code: ExitFailed, says: []string{`"level":"error"`, `"msg":"process.failed","role":"normalize","error":"no more paper"`},
		},
		"clean-up fails": {
			args: []string{"-config", good},
			role: func(_ context.Context, k *Kit) error {
				k.OnStop("lamp", func(context.Context) error { return errors.New("stuck") })
				return nil
			},
			code: ExitFailed, says: []string{`stop lamp: stuck`},
		},
		"role refuses the configuration": {
			args: []string{"-config", good},
			role: func(context.Context, *Kit) error {
				return fmt.Errorf("read: %w", config.Problems{{File: "f", Line: 3, Text: "a; b"}})
			},
			code: ExitRefused, says: []string{"\nf:3: a; b\n"},
		},
		"header of the collector not set": {
			args: []string{"-check", "-config", traced},
			code: ExitRefused,
			says: []string{"tracing.headers.authorization: the environment variable COLLECTOR_TOKEN is not set"},
		},
		"configuration refused": {
			env:  map[string]string{"ARAUTO_CONFIG": bad},
			code: ExitRefused,
			says: []string{bad + ":5: lookup: there is no key \"concurency\"; write concurrency instead", "\n" + bad + ":6: there is no key \"nope\"; "},
		},
		"configuration missing": {
			args: []string{"-config", "nowhere.yaml"},
			code: ExitRefused, says: []string{"nowhere.yaml: cannot read the configuration"},
		},
		"default configuration missing": {
			code: ExitRefused, says: []string{".local/arauto.yaml: cannot read"},
		},
		"unknown flag": {
			args: []string{"-confg", good},
			code: ExitRefused, says: []string{"not defined: -confg", "configuration file"},
		},
		"argument": {
			args: []string{canary},
			code: ExitRefused, says: []string{"normalize takes no arguments"},
		},
		"help": {
			args: []string{"-help"},
			code: ExitClean, says: []string{"-config file"},
		},
		"log level": {
			args: []string{"-config", good}, env: map[string]string{"LOG_LEVEL": "loud"},
			code: ExitRefused, says: []string{`LOG_LEVEL: "loud" is not a level; write debug, info, warn or error`},
		},
		"check": {
			args: []string{"-check", "-config", good},
			code: ExitClean, says: []string{"profile: local\ntime_scale: 1\nhash_key: '***'\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out testbench.Output
			env := func(name string) (string, bool) { value, ok := c.env[name]; return value, ok }
			run := c.role
			if run == nil {
				run = func(context.Context, *Kit) error { return errors.New("the role was started") }
			}
			code := Run(t.Context(), "normalize", c.args, env, &out, &out, run)
			if code != c.code {
				t.Errorf("the exit code is %d, want %d:\n%s", code, c.code, &out)
			}
			for _, want := range c.says {
				if !strings.Contains("\n"+out.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, &out)
				}
			}
			if strings.Contains(out.String(), canary) {
				t.Errorf("it shows the secret:\n%s", &out)
			}
		})
	}
}

func TestEveryLogLineIsOneJSONObject(t *testing.T) {
	t.Parallel()
	var out testbench.Output
	code := Run(t.Context(), "normalize", []string{"-config", written(t, broker(t, nil).ClientURL(), "")}, nothing, io.Discard, &out,
		func(_ context.Context, k *Kit) error {
			k.Log.Debug("hidden")
			k.Log.Info("two\nlines")
			return errors.New("first\nsecond")
		})
	if code != ExitFailed {
		t.Errorf("the exit code is %d", code)
	}
	for line := range strings.Lines(out.String()) {
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil || event["time"] == nil || event["msg"] == nil || event["role"] != "normalize" {
			t.Errorf("this line is no event: %s (%v)", line, err)
		}
		if event["msg"] == "hidden" {
			t.Error("a debug event is logged at level info")
		}
	}
}

func TestRoleStopsCleanlyWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out testbench.Output
	code := Run(ctx, "normalize", []string{"-config", written(t, broker(t, nil).ClientURL(), "")}, nothing, io.Discard, &out,
		func(ctx context.Context, k *Kit) error {
			cancel()
			<-ctx.Done()
			return fmt.Errorf("consume: %w", ctx.Err())
		})
	if code != ExitClean || !strings.Contains(out.String(), `"msg":"process.stop_requested"`) {
		t.Errorf("the exit code is %d:\n%s", code, &out)
	}
}

func TestRoleThatFailsWhileStoppingIsAFailure(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	code := Run(ctx, "normalize", []string{"-config", written(t, broker(t, nil).ClientURL(), "")}, nothing, io.Discard, io.Discard,
		func(ctx context.Context, k *Kit) error {
			cancel()
			<-ctx.Done()
			return errors.New("lost the last message")
		})
	if code != ExitFailed {
		t.Errorf("the exit code is %d", code)
	}
}

func TestRoleThatNeverReturnsIsLeftBehind(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(written(t, broker(t, nil).ClientURL(), ""), nothing, nil)
	testbench.Must(t, err)
	log, flush, err := newLogger("normalize", nothing, io.Discard)
	testbench.Must(t, err)
	defer flush()
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	defer close(release)
	err = serve(ctx, "normalize", cfg, log, limits{grace: 20 * time.Millisecond, cleanup: longest}, func(context.Context, *Kit) error {
		cancel()
		<-release
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "stop role: it has not returned within 20ms") {
		t.Errorf("the error is %v", err)
	}
}
