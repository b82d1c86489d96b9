package watch_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/teststorage"
)

const root = "../../.."

// mains are what `make run` starts.
var mains = []string{
	"./deploy/tools/local", "./deploy/tools/simulator", "./gateway", "./workers/cmd/console", "./workers/cmd/expect", "./workers/cmd/lookup", "./workers/cmd/normalize", "./workers/cmd/sweep",
}

// system is what `make run` starts, on ports of its own and with a busier demo.
type system struct {
	t     *testing.T
	ctx   context.Context
	admin string           // Base URL.
	polls <-chan time.Time // What is polled for must be there by then.
}

// start builds and starts the real binaries. They end with the test.
func start(t *testing.T) *system {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	t.Cleanup(cancel)
	bin := t.TempDir()
	build := exec.CommandContext(ctx, "go", append([]string{"build", "-o", bin + string(filepath.Separator)}, mains...)...)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build binaries: %v\n%s", err, out)
	}
	local := exec.CommandContext(ctx, filepath.Join(bin, "local"), "-dir", t.TempDir(),
		"-nats", "127.0.0.1:0", "-gateway", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-simulator", "127.0.0.1:0", "-console", "127.0.0.1:0")
	local.Env = append(os.Environ(), "DEMO=50ms", "SWEEP_EVERY=1s")
	local.Cancel = func() error { return local.Process.Signal(syscall.SIGTERM) }
	screen, err := local.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	local.Stderr = local.Stdout
	if err := local.Start(); err != nil {
		t.Fatal(err)
	}
	found, shown := make(chan string, 1), make(chan []string, 1)
	go func() {
		address, lines := regexp.MustCompile(`\badmin\b.*(http://127\.0\.0\.1:\d+)`), []string(nil)
		for s := bufio.NewScanner(screen); s.Scan(); {
			lines = append(lines, s.Text())
			if m := address.FindStringSubmatch(s.Text()); m != nil {
				select {
				case found <- m[1]:
				default:
				}
			}
		}
		shown <- lines
	}()
	t.Cleanup(func() {
		cancel()
		lines := <-shown
		_ = local.Wait() // It was stopped.
		if t.Failed() {
			t.Logf("the screen ended with:\n%s", strings.Join(lines[max(0, len(lines)-30):], "\n"))
		}
	})
	s := &system{t: t, ctx: ctx, polls: time.After(5 * time.Minute)}
	select {
	case s.admin = <-found:
	case <-ctx.Done():
		t.Fatal("it does not say where its admin port is")
	}
	return s
}

// get returns the body and content type of a 200.
func (s *system) get(url string) ([]byte, string, error) {
	request, err := http.NewRequestWithContext(s.ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, "", err
	}
	request.Header.Set("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5") // As Prometheus does.
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", answer.StatusCode, body)
	}
	return body, answer.Header.Get("Content-Type"), err
}

// processes are the base URLs of the admin ports of all roles, once all are ready.
func (s *system) processes() map[string]string {
	s.t.Helper()
	for {
		body, _, err := s.get(s.admin + "/readyz")
		var ready struct {
			Roles map[string]struct {
				Admin string `json:"admin"`
			} `json:"roles"`
		}
		if err == nil {
			err = json.Unmarshal(body, &ready)
		}
		if err == nil {
			all := map[string]string{}
			for role, at := range ready.Roles {
				if at.Admin != "" && role != "simulator" {
					all[role] = at.Admin
				}
			}
			if len(all) != 6 {
				s.t.Fatalf("the roles are %v, want six", all)
			}
			return all
		}
		s.pause("it to become ready", err)
	}
}

// pause waits for what a poll waits for.
func (s *system) pause(what string, last error) {
	s.t.Helper()
	select {
	case <-time.After(500 * time.Millisecond):
	case <-s.polls:
		s.t.Fatalf("waited in vain for %s: %v", what, last)
	}
}

// scrape stores the metrics of a process as Prometheus would, with the labels job and
// instance, as scraped at a time.
func (s *system) scrape(to *teststorage.TestStorage, job, base string, at time.Time) {
	s.t.Helper()
	body, contentType, err := s.get(base + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	parser, err := textparse.New(body, contentType, labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	appender := to.AppenderV2(s.ctx)
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			s.t.Fatalf("metrics of %s: %v", job, err)
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var l labels.Labels
		_, _, value := parser.Series()
		parser.Labels(&l)
		l = labels.NewBuilder(l).Set("job", job).Set("instance", string(bytes.TrimPrefix([]byte(base), []byte("http://")))).Labels()
		if _, err := appender.Append(0, l, 0, at.UnixMilli(), value, nil, nil, storage.AOptions{}); err != nil {
			s.t.Fatalf("store %s: %v", l, err)
		}
	}
	if err := appender.Commit(); err != nil {
		s.t.Fatal(err)
	}
}
