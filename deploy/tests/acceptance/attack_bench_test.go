package acceptance

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/deploy/tools/local/supervise"
)

const (
	forgeries     = 10_000
	forgers       = 16                         // Connections that the forgeries come on.
	forgerPause   = forgers * time.Millisecond // Between two of one connection: a thousand a second in all.
	bursts        = 5                          // Of the largest ids.
	burst         = 600                        // Webhooks: 563 of them once stopped every provider.
	largestID     = 256                        // Bytes.
	burstPause    = 2 * time.Second
	quietPhase    = 15 * time.Second
	attackedLeast = 20 * time.Second // Some of what an attack leaves behind is watched too.
)

// BenchmarkRealWebhooksUnderAttack compares the real webhooks of an account, in the
// same run, without and with an attack on another account: how long they wait for
// their 200, and from that for their event. Two accounts `acme` are watched, of yapay
// and of picpay; forged webhooks go to another account of yapay, and the largest ids
// to another one of picpay. The ratios are printed, not judged; a webhook that never
// got its 200 or its event fails the benchmark. With -v it prints what the system says
// of itself, too.
//
// The attackers, the broker and what measures are one process, and share their
// processors with the roles: an attack costs the real webhooks more here than where
// strangers bring machines of their own. Most so in waves, which are as fast as the
// machine is.
func BenchmarkRealWebhooksUnderAttack(b *testing.B) {
	for _, c := range []struct {
		name   string
		limit  string // Webhooks per second that the gateway takes of each account.
		attack func(*stack) string
	}{
		{"strangers", "0", (*stack).sendStrangers},
		{"waves", "0", (*stack).sendWaves},
		{"forged", "0", (*stack).forge},
		{"limited", "50", (*stack).forge},
		{"largest", "0", (*stack).sendLargest},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				s := startWith(b, func(o *supervise.Options) { o.Env = append(os.Environ(), "GATEWAY_LIMIT_RATE="+c.limit) })
				s.stageInMemory()
				underAttack(b, s, c.attack)
			}
		})
	}
	b.Run("full", func(b *testing.B) {
		for b.Loop() {
			underFullDisk(b)
		}
	})
}

// stageInMemory makes the broker stage batches as deploy/compose.yaml does.
func (s *stack) stageInMemory() {
	s.t.Helper()
	memory, err := os.MkdirTemp("/dev/shm", "arauto-")
	testbench.Must(s.t, err)
	s.t.Cleanup(func() { _ = os.RemoveAll(memory) })
	testbench.Must(s.t, topology.StageBatches(filepath.Join(s.dir, "nats", server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT), memory))
}

// underAttack measures a quiet phase and one with an attack, on a stack of its own.
// It waits until the system has healed: every event is there, and no consumer has
// anything left to do.
func underAttack(b *testing.B, s *stack, attack func(*stack) string) {
	b.Helper()
	stop := s.trickle("quiet")
	s.rest(quietPhase)
	quiet := stop()
	s.settle(quiet)
	stop = s.trickle("attacked")
	began := time.Now()
	did := attack(s)
	took := time.Since(began)
	meanwhile := s.says()
	s.rest(attackedLeast - time.Since(began))
	attacked := stop()
	ended := time.Now()
	s.settle(attacked)
	s.drained()
	drained := time.Since(ended)
	report(b, quiet, attacked)
	b.Logf("%s, in %v; drained %v after the phase", did, took.Round(time.Millisecond), drained.Round(time.Millisecond))
	b.Logf("at the end of the attack:\n%s\nwhen all was drained:\n%s", meanwhile, s.says())
}

// sendStrangers has strangers open connections and send bodies, as
// TestBodiesOfStrangersTakeNoMemory does, in twenty groups a second apart.
func (s *stack) sendStrangers() string {
	const groups = 20
	n, statuses := crowd(s.t), map[string]int{}
	tick := time.NewTicker(attackedLeast / groups)
	defer tick.Stop()
	for range groups {
		s.sendWave(n/groups, statuses)
		<-tick.C
	}
	return fmt.Sprintf("%d strangers, answers %v", n, statuses)
}

// sendWaves has all of them come at once, again and again until the phase is over.
func (s *stack) sendWaves() string {
	n, statuses := crowd(s.t), map[string]int{}
	for began := time.Now(); time.Since(began) < attackedLeast; {
		s.sendWave(n, statuses)
	}
	return fmt.Sprintf("waves of %d strangers, answers %v", n, statuses)
}

func (s *stack) sendWave(n int, statuses map[string]int) {
	for _, conn := range s.invade(n) {
		statuses[s.refusal(conn)]++
		_ = conn.Close()
	}
}

// forge sends webhooks about payments that do not exist, to an account whose path
// key is known.
func (s *stack) forge() string {
	return fmt.Sprintf("%d forged webhooks, answers %v", forgeries, s.flood(forgeries, func() *http.Request {
		return s.webhook("yapay", "default", randomID(64))
	}))
}

// sendLargest sends bursts of the largest ids to an account whose secret is known.
func (s *stack) sendLargest() string {
	all := map[int]int{}
	for range bursts {
		for status, n := range s.flood(burst, func() *http.Request { return s.webhook("picpay", "default", randomID(largestID)) }) {
			all[status] += n
		}
		s.rest(burstPause)
	}
	return fmt.Sprintf("%d bursts of %d ids of %d bytes, answers %v", bursts, burst, largestID, all)
}

func randomID(size int) string {
	raw := make([]byte, size/2)
	_, _ = rand.Read(raw) // It never fails.
	return hex.EncodeToString(raw)
}

// flood sends so many requests, a thousand a second or as fast as they are answered,
// and counts the answers by status, 0 for none.
func (s *stack) flood(n int, next func() *http.Request) map[int]int {
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: forgers}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var sending sync.WaitGroup
	answers := map[int]int{}
	for sender := range forgers {
		sending.Go(func() {
			tick := time.NewTicker(forgerPause)
			defer tick.Stop()
			for i := sender; i < n; i += forgers {
				<-tick.C
				status, _ := send(client, next())
				mu.Lock()
				answers[status]++
				mu.Unlock()
			}
		})
	}
	sending.Wait()
	return maps.Clone(answers)
}

// send makes a request and returns the status of the answer, 0 for none.
func send(client *http.Client, request *http.Request) (int, error) {
	answer, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close() //nolint:errcheck // Only read from.
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

// webhook is one of yapay or picpay about a payment, with the credential of the
// local configuration.
func (s *stack) webhook(provider, account, payment string) *http.Request {
	prefix := ""
	if account != "default" {
		prefix = account + "-"
	}
	path, contentType, body := "/v1/picpay/"+account+"/notifications", "application/json", fmt.Sprintf(`{"referenceId":%q}`, payment)
	if provider == "yapay" {
		path, contentType, body = "/v1/yapay/"+account+"/"+prefix+"yapay-local-key/notifications", "application/x-www-form-urlencoded", "token_transaction="+payment
	}
	request, err := http.NewRequestWithContext(s.ctx, http.MethodPost, "http://"+s.at.Gateway+path, strings.NewReader(body))
	if err != nil {
		panic(err) // The address is a listener's.
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("X-Seller-Token", prefix+picpaySecret["x-seller-token"])
	return request
}

// telling are the metrics by which an operator may see an attack.
var telling = []string{
	"arauto_webhooks_total", "arauto_publish_failures_total", "arauto_webhook_connections_evicted_total",
	"arauto_lookup_answers_total", "arauto_lookup_outcomes_total",
}

// says is what the system says of itself. To need a person is no failure of status.
func (s *stack) says() string {
	status, ready := s.call(http.MethodGet, "http://"+s.at.Admin+"/readyz", "", nil, "")
	_, metrics := s.call(http.MethodGet, "http://"+s.at.Admin+"/metrics", "", nil, "")
	var counts strings.Builder
	for line := range strings.Lines(metrics) {
		for _, name := range telling {
			if strings.HasPrefix(line, name) && !strings.HasSuffix(line, " 0\n") {
				counts.WriteString(line)
			}
		}
	}
	text, _ := exec.CommandContext(s.ctx, filepath.Join(bin, "arauto"), "status", "--config", filepath.Join(s.dir, "arauto.yaml")).CombinedOutput()
	return fmt.Sprintf("/readyz: %d %.300s\narauto status:\n%s\n%s", status, ready, text, counts.String())
}
