package scale_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/topology"
	"arauto/schemas/order"
	"arauto/schemas/providers"
	"arauto/workers/sweep/stale"
)

// silent is how many payments the second part of the benchmark makes due.
const silent = 5000

// BenchmarkSweepWalk prints what it costs the real sweep to look through
// 100,000 payments that are paid and have been heard of lately, as nearly all
// are in nearly every round: the time of a round and the memory of the process.
// Then every one of 5,000 payments has fallen silent and is made due.
func BenchmarkSweepWalk(b *testing.B) {
	for b.Loop() {
		p := build(b, 4*time.Minute)
		_, err := topology.Apply(p.Ctx, p.JS, topology.Settings{Replicas: 1, Store: 8 << 30, Providers: providers.All.Names()})
		p.Must(err)
		small := p.startSweep()
		none := small.round()
		small.end()
		p.paid(backlog)
		large := p.startSweep()
		took := large.round()
		large.end()

		few := build(b, time.Minute)
		few.paid(silent)
		due := few.makeDue()
		b.Logf("\na round over %d payments takes %.1f s, over none %.3f s; sweep's memory peaks at %.0f MiB, over none at %.0f\n"+
			"a round that finds each of %d payments silent and makes it due takes %.1f s",
			backlog, took.Seconds(), none.Seconds(), large.most/mebibytes, small.most/mebibytes, silent, due.Seconds())
		for unit, value := range map[string]float64{
			"ns/op": 0, "round-s@100k": took.Seconds(), "rss-MiB@100k": large.most / mebibytes, "rss-MiB@0": small.most / mebibytes,
			"due/s": silent / due.Seconds(),
		} {
			b.ReportMetric(value, unit)
		}
	}
}

// paid stores the order logs of payments that are paid.
func (p *plant) paid(count int) {
	p.T.Helper()
	p.publish(count, func(i int) *nats.Msg { return p.event(fmt.Sprintf("paid-%d", i), 1, order.Paid) })
}

// event is a transition of a payment as normalize announces it.
func (p *plant) event(payment string, transition uint64, status order.Status) *nats.Msg {
	e := order.Event{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Order: "o-" + payment,
		Transition: transition, Status: status, Confirmed: true, ProviderStatus: string(status),
		Amount: &order.Amount{Currency: "BRL", Value: 10000}, ObservedAt: time.Now().UTC(), Observation: transition,
	}
	return p.message(p.Tokens.Unit("sandbox", "default", payment).Event(p.Tokens.Token(e.Order), e.Status), e)
}

// makeDue is the time of a round two days from now.
func (p *plant) makeDue() time.Duration {
	p.T.Helper()
	took := p.lookAgain(p.sweeper(func() time.Time { return time.Now().Add(48 * time.Hour) }))
	if got := p.parked(); got != silent {
		p.T.Fatalf("%d payments were made due, want %d", got, silent)
	}
	return took
}

// sweeper is one in this process, with a clock of its own.
func (p *plant) sweeper(now func() time.Time) *stale.Sweeper {
	p.T.Helper()
	return p.bench().Stale(now, 400*24*time.Hour)
}

// lookAgain is the time of a sweeper's next round.
func (p *plant) lookAgain(s *stale.Sweeper) time.Duration {
	p.T.Helper()
	began := time.Now()
	p.Must(s.Round(p.Ctx))
	return time.Since(began)
}

// sweep is a running process of the role.
type sweep struct {
	*plant
	cmd   *exec.Cmd
	admin string
	rest  sync.WaitGroup
	most  float64 // Bytes that it has ever had resident when its first round was over.
}

// startSweep runs the real binary as the broker's user of its name.
func (p *plant) startSweep() *sweep {
	p.T.Helper()
	config := filepath.Join(p.dir, "arauto.yaml")
	p.Must(os.WriteFile(config, []byte(`profile: local
hash_key: a key for tests, 32 bytes long...
nats: {url: "nats://`+p.address+`", user: sweep, password: sweeppw}
sweep: {admin: "127.0.0.1:0"}
providers: {sandbox: {accounts: {default: {webhook_secrets: [secret], settings: {base_url: "http://127.0.0.1:1", token: t}}}}}
`), 0o600))
	s := &sweep{plant: p, cmd: exec.CommandContext(p.Ctx, filepath.Join(bin, "sweep"), "-config", config)}
	logs, err := s.cmd.StderrPipe()
	p.Must(err)
	p.Must(s.cmd.Start())
	reader := bufio.NewReader(logs)
	for s.admin == "" { // The line that says so may not be the first.
		line, err := reader.ReadBytes('\n')
		p.Must(err)
		var starting struct {
			Admin string `json:"admin"`
		}
		p.Must(json.Unmarshal(line, &starting))
		s.admin = starting.Admin
	}
	s.rest.Go(func() { _, _ = io.Copy(io.Discard, reader) }) // It ends with the process.
	return s
}

// round waits for the first round over silent payments and returns its time.
func (s *sweep) round() time.Duration {
	s.T.Helper()
	var took time.Duration
	s.Until("a round of sweep", func() bool {
		metrics := s.metrics()
		if number(metrics, `arauto_sweep_rounds_total{result="done",task="stale"}`) < 1 {
			return false
		}
		took = time.Duration(number(metrics, `arauto_sweep_round_seconds{task="stale"}`) * float64(time.Second))
		return true
	})
	s.most = s.status(s.cmd.Process.Pid, "VmHWM")
	return took
}

func (s *sweep) metrics() string {
	s.T.Helper()
	request, err := http.NewRequestWithContext(s.Ctx, http.MethodGet, "http://"+s.admin+"/metrics", http.NoBody)
	s.Must(err)
	request.Close = true
	client := &http.Client{Timeout: 5 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return ""
	}
	defer response.Body.Close() //nolint:errcheck // Only read from.
	body, err := io.ReadAll(response.Body)
	s.Must(err)
	return string(body)
}

// number is a metric's value, 0 for one that is not there.
func number(metrics, name string) float64 {
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(metrics)
	if m == nil {
		return 0
	}
	value, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0
	}
	return value
}

func (s *sweep) end() {
	s.T.Helper()
	s.Must(s.cmd.Process.Kill())
	s.rest.Wait()
	_ = s.cmd.Wait() // It says that it was killed.
}
