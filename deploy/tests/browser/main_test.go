// Package browser walks through the console in a real browser, beside the real binaries.
package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

const root = "../../.."

// mains are what `make run` starts.
var mains = []string{
	"./deploy/tools/local", "./deploy/tools/simulator", "./gateway", "./workers/cmd/console", "./workers/cmd/expect", "./workers/cmd/lookup", "./workers/cmd/normalize", "./workers/cmd/sweep",
}

// longest is how long a test waits for what must come. It is no measure of speed.
const longest = 2 * time.Minute

// shared is what all tests of this package use: the system of `make run` and one browser. It
// is empty where there is no Chromium.
var shared struct {
	missing string // Why there is no browser, "" if there is one.
	bin     string
	dir     string            // Of the system: its configuration is there.
	at      map[string]string // Base URLs by part: gateway, simulator, console and admin; NATS as nats://.
	played  bool              // The payments of play are there.
	browser context.Context   //nolint:containedctx // That of chromedp.
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "browser:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	chromium := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			chromium = path
			break
		}
	}
	if chromium == "" {
		shared.missing = "this machine has no chromium; install it, or the console is not tried in a browser"
		return m.Run(), nil
	}
	folder, err := os.MkdirTemp("", "arauto-browser-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(folder)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	stop, err := startSystem(ctx, folder)
	if err != nil {
		return 0, err
	}
	defer stop()
	allocated, end := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.UserDataDir(filepath.Join(folder, "profile")), chromedp.DisableGPU, chromedp.NoSandbox,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("lang", "en"),
	)...)
	defer end()
	browser, quit := chromedp.NewContext(allocated)
	defer quit()
	if err := chromedp.Do(browser); err != nil {
		return 0, fmt.Errorf("start %s: %w", chromium, err)
	}
	shared.browser = browser
	return m.Run(), nil
}

// startSystem builds the real binaries and starts them on ports of their own.
func startSystem(ctx context.Context, folder string) (stop func(), err error) {
	shared.bin, shared.dir = filepath.Join(folder, "bin"), filepath.Join(folder, "data")
	build := exec.CommandContext(ctx, "go", append([]string{"build", "-ldflags=-w", "-o", shared.bin + string(filepath.Separator)}, mains...)...)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build binaries: %w\n%s", err, out)
	}
	local := exec.CommandContext(ctx, filepath.Join(shared.bin, "local"), "-dir", shared.dir,
		"-nats", "127.0.0.1:0", "-gateway", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-simulator", "127.0.0.1:0", "-console", "127.0.0.1:0")
	local.Env = append(os.Environ(), "DEMO=off", "SWEEP_EVERY=1s")
	local.Cancel = func() error { return local.Process.Signal(syscall.SIGTERM) }
	screen, err := local.StdoutPipe()
	if err != nil {
		return nil, err
	}
	local.Stderr = local.Stdout
	if err := local.Start(); err != nil {
		return nil, err
	}
	found, ended := make(chan map[string]string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		address, at := regexp.MustCompile(`^  (\w+) +((?:http|nats)://127\.0\.0\.1:\d+)`), map[string]string{}
		for s := bufio.NewScanner(screen); s.Scan(); {
			if m := address.FindStringSubmatch(s.Text()); m != nil {
				if at[m[1]] = m[2]; len(at) == 5 {
					found <- at
				}
			}
		}
	}()
	stop = func() {
		_ = local.Process.Signal(syscall.SIGTERM) // It may have ended.
		<-ended
		_ = local.Wait() // It was stopped.
	}
	select {
	case shared.at = <-found:
	case <-ended:
		return nil, errors.Join(errors.New("it does not say where its parts are"), local.Wait())
	case <-ctx.Done():
		stop()
		return nil, ctx.Err()
	}
	if err := ready(ctx, shared.at["admin"]+"/readyz"); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// ready waits for a 200.
func ready(ctx context.Context, url string) error {
	for {
		status, body, err := call(ctx, http.MethodGet, url, "")
		if err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %d %s, %w", url, status, body, errors.Join(err, ctx.Err()))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func call(ctx context.Context, method, url, body string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

// set makes or moves a payment at the simulator, which sends the webhook.
func set(t *testing.T, provider, account, payment string, state map[string]any) {
	t.Helper()
	state["notify"] = true
	steer(t, provider+"/"+account+"/payments/"+url.PathEscape(payment), state)
}

// fail lets a provider's look-ups fail until it is called with none.
func fail(t *testing.T, provider string, fault map[string]any) {
	t.Helper()
	steer(t, provider+"/fault", fault)
}

func steer(t *testing.T, path string, with map[string]any) {
	t.Helper()
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(with); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest) // That of the test has ended in a clean-up.
	defer cancel()
	status, answer, err := call(ctx, http.MethodPut, shared.at["simulator"]+"/_sim/"+path, body.String())
	if err != nil || status != http.StatusOK {
		t.Fatalf("%s: %d %s, %v", path, status, answer, err)
	}
}
