package scale_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
)

// console is the real binary as a process.
type console struct {
	*plant
	cmd    *exec.Cmd
	config string
	url    string
	client http.Client
}

// startConsole runs it as the broker's user of its name, with its index beside the broker's store.
func (p *plant) startConsole() *console {
	p.T.Helper()
	port := processtest.FreePorts(p.T, 1)[0]
	c := &console{plant: p, config: filepath.Join(p.dir, "console.yaml"), url: fmt.Sprintf("http://127.0.0.1:%d", port)}
	c.client.Transport = &http.Transport{MaxIdleConnsPerHost: 200}
	p.T.Cleanup(c.client.CloseIdleConnections)
	p.Must(os.WriteFile(c.config, []byte(`profile: local
hash_key: `+testbench.HashKey+`
nats: {url: "nats://`+p.address+`", user: console, password: consolepw}
console: {admin: "127.0.0.1:0", listen: "`+strings.TrimPrefix(c.url, "http://")+`", index: "`+filepath.Join(p.dir, "index")+`"}
providers: {sandbox: {accounts: {default: {webhook_secrets: [secret], settings: {base_url: "http://127.0.0.1:1", token: t}}}}}
`), 0o600))
	c.start()
	p.T.Cleanup(func() { c.end(syscall.SIGKILL) })
	return c
}

func (c *console) start() {
	c.T.Helper()
	c.cmd = exec.CommandContext(c.Ctx, filepath.Join(bin, "console"), "-config", c.config)
	c.Must(processtest.Start(c.cmd, filepath.Join(c.dir, "console.log"), nil))
	c.Until("the console to answer", func() bool {
		_, err := c.get(c.Ctx, "/")
		return err == nil
	})
}

// end ends the process with a signal.
func (c *console) end(signal syscall.Signal) {
	if c.cmd != nil {
		_ = c.cmd.Process.Signal(signal)
		_ = c.cmd.Wait() // It may say that it was killed.
		c.cmd = nil
	}
}

// restart stops it in order, starts it again on its index, and returns the most memory that it
// took until the list was there.
func (c *console) restart() float64 {
	c.T.Helper()
	c.end(syscall.SIGTERM)
	c.start()
	c.see("/payments")
	return c.peak()
}

// peak is the most memory that the process ever had resident, in bytes.
func (c *console) peak() float64 { return c.status(c.cmd.Process.Pid, "VmHWM") }

// busy is the processor time that a process has used.
func (c *console) busy(of *exec.Cmd) time.Duration {
	c.T.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", of.Process.Pid))
	c.Must(err)
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks time.Duration
	for _, field := range fields[11:13] { // utime and stime of proc(5), whose third field is the first here.
		n, err := strconv.Atoi(field)
		c.Must(err)
		ticks += time.Duration(n)
	}
	return ticks * time.Second / 100 // Linux counts in hundredths of a second for every program.
}

// build waits until the index has every payment.
func (c *console) build(payments int) time.Duration {
	c.T.Helper()
	began, last := time.Now(), numbered(payments-1)
	every := time.NewTicker(500 * time.Millisecond) // Asked more often, the page would be what is measured.
	defer every.Stop()
	for {
		text, err := c.get(c.Ctx, "/payments")
		if err == nil && strings.Contains(text, last) {
			return time.Since(began)
		}
		select {
		case <-every.C:
		case <-c.Ctx.Done():
			c.T.Fatalf("the index does not have %s: %v", last, err)
		}
	}
}

// pagesOfReader is how many pages one reader has open, below what the console allows.
const pagesOfReader = 10

// reader is the console as a reader with an address of its own sees it.
func (c *console) reader(n int) *console {
	one := *c
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+n))}} //nolint:gosec // Some dozens.
	one.client.Transport = &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: pagesOfReader}
	c.T.Cleanup(one.client.CloseIdleConnections)
	return &one
}

// get reads a page.
func (c *console) get(ctx context.Context, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, http.NoBody)
	if err != nil {
		return "", err
	}
	answer, err := c.client.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close() //nolint:errcheck // Only read from.
	text, err := io.ReadAll(answer.Body)
	if answer.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("GET %s: %s", path, answer.Status))
	}
	return string(text), err
}

// see is the time to the whole first response of a page.
func (c *console) see(path string) time.Duration {
	c.T.Helper()
	began := time.Now()
	_, err := c.get(c.Ctx, path)
	c.Must(err)
	return time.Since(began)
}

// open opens pages of every kind, which refresh themselves as console.js does: a page that hears
// a tick on /live reads itself again, as often as it says at most. The results of a search are not
// refreshed. stop closes the pages and returns how many were never refreshed although they should have been.
func (c *console) open(pages int) (stop func() int64) {
	c.T.Helper()
	ctx, cancel := context.WithCancel(c.Ctx)
	var still atomic.Int64
	var browsers, opened sync.WaitGroup
	opened.Add(pages)
	reader := c
	for i := range pages {
		kinds := kindsOfPages()
		path := kinds[i%len(kinds)].path
		if i%pagesOfReader == 0 {
			reader = c.reader(i / pagesOfReader)
		}
		as := reader
		browsers.Go(func() {
			refreshes, err := as.browse(ctx, path, opened.Done)
			if err != nil && ctx.Err() == nil {
				c.T.Errorf("%s: %v", path, err)
			}
			if refreshes == 0 {
				still.Add(1)
			}
		})
	}
	opened.Wait()
	return func() int64 {
		cancel()
		browsers.Wait()
		return still.Load()
	}
}

// everyOf is where a page says how often it is refreshed, in seconds.
var everyOf = regexp.MustCompile(`data-every="([1-9][0-9]*)"`)

// browse is one open page. It returns how often it was refreshed, -1 for a page that never is.
func (c *console) browse(ctx context.Context, path string, opened func()) (refreshes int, err error) {
	opened = sync.OnceFunc(opened)
	defer opened()
	text, err := c.get(ctx, path)
	says := everyOf.FindStringSubmatch(text)
	if err != nil || says == nil {
		return -1, err
	}
	every, err := time.ParseDuration(says[1] + "s")
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/live", http.NoBody)
	if err != nil {
		return 0, err
	}
	live, err := c.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer live.Body.Close() //nolint:errcheck // Only read from.
	opened()
	last := time.Now()
	for lines := bufio.NewScanner(live.Body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "event: tick") && time.Since(last) >= every-500*time.Millisecond {
			last = time.Now()
			if _, err := c.get(ctx, path); err != nil {
				return refreshes, err
			}
			refreshes++
		}
	}
	return refreshes, nil
}
